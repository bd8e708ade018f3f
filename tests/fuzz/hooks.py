"""What the fuzzer is told: nobody has minutes to wait for an answer, and every stream must end."""

from typing import Any

import schemathesis

LONGEST_WAIT = 0.05
LONGEST_STREAM = 1
STREAMS = ("/events", "/log")


@schemathesis.hook
def map_query(context: schemathesis.HookContext, query: Any) -> Any:
    """Shorten valid waits, and bound the life of streams; what is invalid stays as it is."""
    if not isinstance(query, dict):
        query = {}
    if _number(query.get("wait")) > LONGEST_WAIT:
        query["wait"] = LONGEST_WAIT
    is_stream = context.operation is not None and context.operation.path.endswith(STREAMS)
    if is_stream and ("max_seconds" not in query or _number(query["max_seconds"]) > LONGEST_STREAM):
        query["max_seconds"] = LONGEST_STREAM
    return query


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: Any, kwargs: Any) -> None:  # noqa: ARG001 - likewise
    """The same for the cases that are made without the hook above: the ones that cover each boundary."""
    case.query = map_query(context, case.query)


@schemathesis.hook
def map_headers(context: schemathesis.HookContext, headers: Any) -> Any:  # noqa: ARG001 - the hook's shape
    """Ask for no waiting by header either."""
    if isinstance(headers, dict) and "wait" in str(headers.get("Prefer")):
        del headers["Prefer"]
    return headers


def _number(value: object) -> float:
    try:
        return float(str(value))
    except ValueError:
        return 0.0
