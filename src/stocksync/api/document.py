"""The OpenAPI document, where FastAPI's own is not exact enough."""

from typing import Any

from fastapi import FastAPI

from stocksync.api.schemas.status import STATUS_EXAMPLE

_PROBLEM = "application/problem+json"


def make_exact(api: FastAPI) -> None:
    """Complete the document when it is first asked for; FastAPI keeps the object that it built."""
    build = api.openapi

    def openapi() -> dict[str, Any]:
        document = build()
        # FastAPI drops every null from an example; half of a status is null, and that is what it should show.
        document["components"]["schemas"]["StatusEnvelope"]["examples"] = [STATUS_EXAMPLE]
        for unused in ("HTTPValidationError", "ValidationError"):
            document["components"]["schemas"].pop(unused, None)
        for operations in document["paths"].values():
            for operation in operations.values():
                for response in operation["responses"].values():
                    _only_problems(response)
        return document

    api.openapi = openapi  # type: ignore[method-assign] # FastAPI's documented way to extend it


def _only_problems(response: dict[str, Any]) -> None:
    """A problem has one media type; FastAPI adds application/json to whatever has a model."""
    content = response.get("content", {})
    if _PROBLEM in content:
        response["content"] = {_PROBLEM: content[_PROBLEM]}
    elif (
        content.get("application/json", {}).get("schema", {}).get("$ref", "").endswith("HTTPValidationError")
    ):
        response["content"] = {_PROBLEM: {"schema": {"$ref": "#/components/schemas/ProblemOut"}}}
