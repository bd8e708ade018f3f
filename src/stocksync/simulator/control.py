"""The control route: faults, events and call counts over HTTP, for a demo or a test in another process.

GET    /_control/faults     {"tushare.daily_basic": "http502:2"}
PUT    /_control/faults     switches on what the JSON object names, in that same form
DELETE /_control/faults     switches all off
GET    /_control/market     {"600000": "rename:某股份", "600001": "delist"}, see living.py
PUT    /_control/market     lets happen what the JSON object names, in that same form
DELETE /_control/market     makes it all unhappen
GET    /_control/calls      {"tushare.daily_basic": 3}
DELETE /_control/calls      begins to count anew
"""

import json
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Final

from stocksync.simulator.faults import Calls, FaultInvalid, Faults
from stocksync.simulator.http import Request, Response
from stocksync.simulator.living import LivingMarket
from stocksync.simulator.market import MarketInvalid

PREFIX: Final = "/_control/"


class Control:
    """Answers everything under /_control/."""

    def __init__(self, faults: Faults, calls: Calls, market: LivingMarket) -> None:
        """Control these three."""
        self._look: Mapping[str, Callable[[], Mapping[str, object]]] = {
            "faults": faults.get,
            "market": market.get,
            "calls": calls.get,
        }
        self._change = {"faults": faults.update, "market": market.happen}
        self._clear = {"faults": faults.clear, "market": market.undo, "calls": calls.reset}

    async def __call__(self, request: Request) -> Response:
        """Do what the request says and answer with how things stand."""
        name = request.path.removeprefix(PREFIX)
        if name not in self._look:
            return _refusal(HTTPStatus.NOT_FOUND, f"no route {request.path}")
        try:
            match request.method:
                case "GET":
                    pass
                case "DELETE":
                    self._clear[name]()
                case "PUT" if name in self._change:
                    self._change[name](_texts(request.body))
                case _:
                    text = f"{request.method} is not for this route"
                    return _refusal(HTTPStatus.METHOD_NOT_ALLOWED, text)
        except (FaultInvalid, MarketInvalid) as error:
            return _refusal(HTTPStatus.BAD_REQUEST, str(error))
        return _json(self._look[name]())


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
