"""The replica of Tushare Pro's HTTP API.

The shape follows a raw answer of the real one: the order of its members, compact JSON, Chinese unescaped. The
texts of refusals are as its users report them; the numeric code of an unknown API is unverified.
"""

import asyncio
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final
from uuid import uuid4

from stocksync.domain.calendar import compact
from stocksync.simulator.faults import Calls, Faults, Kind
from stocksync.simulator.http import Request, Response
from stocksync.simulator.http_faults import on_the_wire, page
from stocksync.simulator.market import Market
from stocksync.simulator.pace import Pace, delay_seconds
from stocksync.simulator.tables import Table, spoil
from stocksync.simulator.tushare_tables import APIS, ParameterInvalid

NAME: Final = "tushare"
CALLS: Final = frozenset(APIS)

_ROWS_PER_CALL: Final = 6000
_ROE_POINTS: Final = 5000
_KEPT_PAGES: Final = 16
_KEPT_APIS: Final = frozenset({"stock_basic", "daily_basic"})  # large, and they change with the open day only
_CHUNK: Final = 500
_SEE_ALSO: Final = "权限的具体详情访问：https://tushare.pro/document/1?doc_id=108。"

_NUMBER: Final = re.compile(r"[0-9]{1,9}\Z")
_Json = dict[str, Any]


class _Refused(Exception):
    """The protocol's own way to say no, with status 200."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


_BAD_TOKEN: Final = (40101, "您的token不对，请确认。")
_REFUSALS: Final[Mapping[Kind, tuple[int, str]]] = {
    Kind.BAD_TOKEN: _BAD_TOKEN,
    Kind.NO_PERMISSION: (40203, "抱歉，您没有接口({api})访问权限，" + _SEE_ALSO),
    Kind.MINUTE_LIMIT: (40203, "抱歉，您每分钟最多访问该接口200次，" + _SEE_ALSO),
    Kind.HOUR_LIMIT: (40203, "抱歉，您每小时最多访问该接口20次，" + _SEE_ALSO),
    Kind.DAY_LIMIT: (40203, "抱歉，您每天最多访问该接口2次，" + _SEE_ALSO),
    Kind.UNKNOWN_CODE: (50101, "系统繁忙，请稍后重试。"),
}


@dataclass(frozen=True, slots=True)
class _Call:
    """One call as its body states it; every parameter as text, the way the real one reads them."""

    api: str
    token: str
    params: Mapping[str, str]
    fields: tuple[str, ...]

    @classmethod
    def read(cls, body: _Json, path: str) -> "_Call":
        """Read the body; an API named by the path goes before one named in it."""
        named = path.rpartition("/")[2]
        params, fields = body.get("params"), body.get("fields")
        return cls(
            api=named or _text(body.get("api_name")),
            token=_text(body.get("token")),
            params={name: _text(value) for name, value in params.items()} if isinstance(params, dict) else {},
            fields=tuple(part for field in _text(fields).split(",") if (part := field.strip())),
        )

    def number(self, name: str) -> int:
        """Read `limit` or `offset`; 0 where absent."""
        text = self.params.get(name) or "0"
        if not _NUMBER.match(text):
            raise ParameterInvalid(name)
        return int(text)


def _text(value: object) -> str:
    return "" if value is None else str(value)


class TushareReplica:
    """Answers `POST /` with api_name in the body, `POST /{api_name}` and `POST /dataapi/{api_name}`."""

    def __init__(
        self, market: Market, faults: Faults, calls: Calls, *, token: str, points: int, pace: Pace = Pace.FAST
    ) -> None:
        """Serve `market` to whoever has `token`; fewer than 5000 points carry no permission for ROE."""
        self._market = market
        self._faults = faults
        self._calls = calls
        self._token = token
        self._points = points
        self._pace = pace
        self._pages: dict[object, bytes] = {}

    async def __call__(self, request: Request) -> Response:
        """Answer one request, as well or as badly as the faults have it."""
        body = _json_object(request.body)
        if request.path.removeprefix("/dataapi").count("/") > 1:
            return page(HTTPStatus.NOT_FOUND)
        if request.method != "POST":
            return page(HTTPStatus.METHOD_NOT_ALLOWED)
        if body is None:
            return page(HTTPStatus.BAD_REQUEST)
        call = _Call.read(body, request.path.removeprefix("/dataapi"))
        known = call.api in CALLS
        fault = self._faults.take(NAME, call.api) if known else None
        self._calls.count(NAME, call.api if known else "unknown")
        await asyncio.sleep(delay_seconds(self._pace, NAME, call.api))
        return on_the_wire(fault, await self._answer(call, fault))

    async def _answer(self, call: _Call, fault: Kind | None) -> Response:
        try:
            self._admit(call, fault)
            data = await self._page(call, fault)
        except _Refused as refusal:
            return _envelope(refusal.code, refusal.text, b"null")
        except ParameterInvalid as error:
            return _envelope(-1, f"参数校验失败，{error}参数不正确", b"null")
        return _envelope(0, "", data)

    def _admit(self, call: _Call, fault: Kind | None) -> None:
        if fault is not None and fault in _REFUSALS:
            raise _refusal(fault, call.api)
        if call.token != self._token:
            raise _Refused(*_BAD_TOKEN)
        if call.api not in CALLS:
            raise _Refused(-1, "请指定正确的接口名")
        if call.api == "fina_indicator_vip" and self._points < _ROE_POINTS:
            raise _refusal(Kind.NO_PERMISSION, call.api)

    async def _page(self, call: _Call, fault: Kind | None) -> bytes:
        """Encode the rows that were asked for, or find them among the last pages."""
        key = (call.api, tuple(sorted(call.params.items())), call.fields, fault, self._market.edition)
        kept = self._pages.get(key)
        if kept is not None:
            return kept
        # In a thread, because a day takes a tenth of a second and the client may share this event loop.
        encoded = await asyncio.to_thread(self._encode, call, fault)
        if call.api in _KEPT_APIS:
            self._pages[key] = encoded
            if len(self._pages) > _KEPT_PAGES:
                del self._pages[next(iter(self._pages))]
        return encoded

    def _encode(self, call: _Call, fault: Kind | None) -> bytes:
        limit = min(call.number("limit") or _ROWS_PER_CALL, _ROWS_PER_CALL)
        return _encode(self._table(call, fault), call.number("offset"), limit)

    def _table(self, call: _Call, fault: Kind | None) -> Table:
        api = APIS[call.api]
        table = api.table(self._market, call.params)
        # The real one leaves out fields that it does not have.
        wanted = [field for field in call.fields or api.default_fields if field in table.fields]
        latest = compact(self._market.latest_day)
        newest = call.api == "daily_basic" and call.params.get("trade_date") == latest
        return spoil(table.select(wanted), fault, newest=newest)


def _refusal(kind: Kind, api: str) -> _Refused:
    code, text = _REFUSALS[kind]
    return _Refused(code, text.format(api=api))


def _json_object(body: bytes) -> _Json | None:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _encode(table: Table, offset: int, limit: int) -> bytes:
    """Encode one page. In chunks: json holds the interpreter lock for as long as one of its calls takes."""
    rows = [list(row) for row in table.rows[offset : offset + limit]]
    chunks = [_dump(rows[start : start + _CHUNK])[1:-1] for start in range(0, len(rows), _CHUNK)]
    more = b"true" if offset + limit < len(table.rows) else b"false"
    head = b'{"fields":' + _dump(table.fields) + b',"items":['
    return head + b",".join(chunks) + b'],"has_more":' + more + b',"count":-1}'


def _envelope(code: int, text: str, data: bytes) -> Response:
    head = f'{{"request_id":"{uuid4()}","code":{code},"data":'.encode()
    return Response(body=head + data + b',"msg":' + _dump(text) + b"}")


def _dump(value: object) -> bytes:
    # A lone surrogate has no UTF-8 form; escaped, as JSON allows, it reaches the client as what it is.
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")
