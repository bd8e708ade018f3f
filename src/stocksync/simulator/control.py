"""The control route: faults and call counts over HTTP, for a demo or a test in another process.

GET    /_control/faults     {"tushare.daily_basic": "http502:2"}
PUT    /_control/faults     switches on what the JSON object names, in that same form
DELETE /_control/faults     switches all off
GET    /_control/calls      {"tushare.daily_basic": 3}
DELETE /_control/calls      begins to count anew
"""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from stocksync.simulator.faults import Calls, FaultInvalid, Faults
from stocksync.simulator.http import Request, Response

PREFIX: Final = "/_control/"


class Control:
    """Answers everything under /_control/."""

    def __init__(self, faults: Faults, calls: Calls) -> None:
        """Control these two."""
        self._faults = faults
        self._calls = calls

    async def __call__(self, request: Request) -> Response:
        """Do what the request says and answer with how things stand."""
        match request.method, request.path.removeprefix(PREFIX):
            case "GET", "faults":
                return _json(self._faults.get())
            case "PUT", "faults":
                return self._put_faults(request.body)
            case "DELETE", "faults":
                self._faults.clear()
                return _json(self._faults.get())
            case "GET", "calls":
                return _json(self._calls.get())
            case "DELETE", "calls":
                self._calls.reset()
                return _json(self._calls.get())
            case _, "faults" | "calls":
                return _refusal(HTTPStatus.METHOD_NOT_ALLOWED, f"{request.method} is not for this route")
            case _:
                return _refusal(HTTPStatus.NOT_FOUND, f"no route {request.path}")

    def _put_faults(self, body: bytes) -> Response:
        try:
            self._faults.update(_texts(body))
        except FaultInvalid as error:
            return _refusal(HTTPStatus.BAD_REQUEST, str(error))
        return _json(self._faults.get())


def _texts(body: bytes) -> dict[str, str]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict) or not all(isinstance(fault, str) for fault in value.values()):
        raise FaultInvalid('send a JSON object such as {"tushare.daily_basic": "http502"}')
    return value


def _json(value: Mapping[str, object], status: int = HTTPStatus.OK) -> Response:
    return Response(
        status=status, body=json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace")
    )


def _refusal(status: HTTPStatus, text: str) -> Response:
    return _json({"error": text}, status)
