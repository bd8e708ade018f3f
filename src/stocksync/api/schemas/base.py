"""What all shapes share, and the shape of a problem."""

from http import HTTPStatus
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Count = Annotated[int, Field(ge=0)]


def _whole(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


JSON_INT: Final = BeforeValidator(_whole)
"""Makes a strict int what JSON Schema means by integer: 3 and 3.0, and neither "3" nor true. Put it last."""


class Shape(BaseModel):
    """Exactly these fields."""

    model_config = ConfigDict(extra="forbid")


class ProblemOut(BaseModel):
    """错误（RFC 9457），code 是稳定的错误代码。"""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    success: Literal[False]
    data: None
    message: str


def problems_doc(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Document that a route can answer with these problems, beside the ones that every route can."""
    schema = {"$ref": "#/components/schemas/ProblemOut"}
    return {
        status: {
            "model": ProblemOut,
            "description": HTTPStatus(status).phrase,
            "content": {"application/problem+json": {"schema": schema}},
        }
        for status in statuses
    }


def events_doc(*events: str, example: str | None = None) -> dict[str, Any]:
    """Document an answer as a stream of these events, each with one line of JSON as its data."""
    text = {"type": "string"}
    schema = {
        "type": "object",
        "required": ["event", "data"],
        "properties": {"event": {"enum": list(events)}, "data": text, "id": text},
    }
    return {"text/event-stream": {"schema": schema, **({"example": example} if example else {})}}
