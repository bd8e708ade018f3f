"""A replica of BaoStock's server: login, the calendar, the list, industries and the whole market's day.

A call is counted, and a fault taken, per request: a list of several pages is several. Faults that cannot
happen on this protocol (rate limits, Beijing missing) leave the answer as it is.
"""

import asyncio
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from stocksync.domain.wire import MARKET_ZONE
from stocksync.simulator.baostock_tables import APIS, Api, ParameterInvalid
from stocksync.simulator.baostock_wire import Answer, FrameInvalid, Request, damage, encode, record
from stocksync.simulator.faults import Calls, Faults, Kind
from stocksync.simulator.http import Response
from stocksync.simulator.http_faults import on_the_wire
from stocksync.simulator.market import Market
from stocksync.simulator.pace import Pace, delay_seconds
from stocksync.simulator.tables import spoil

NAME: Final = "baostock"
CALLS: Final = ("login", "query_stock_basic", "query_stock_industry", "query_trade_dates", "query_daily")

_LOGIN, _LOGGED_IN = "00", "01"
_LOGOUT, _LOGGED_OUT = "02", "03"
_EXCEPTION: Final = "04"
_ACCOUNT: Final = ("anonymous", "123456")
_MOST_PER_PAGE: Final = 10_000
_KEPT_FRAMES: Final = 16
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,8}\Z")

_SUCCESS: Final = ("0", "success")
_Refusal = tuple[str, str]
_NOT_LOGGED_IN: Final = ("10001001", "用户未登陆")
_BAD_PASSWORD: Final = ("10001002", "用户名或密码错误")
_BAD_PARAMETER: Final = ("10004006", "参数错误")
_REFUSALS: Final[Mapping[Kind, _Refusal]] = {
    Kind.NOT_LOGGED_IN: _NOT_LOGGED_IN,
    Kind.BAD_TOKEN: _BAD_PASSWORD,
    Kind.LOGIN_LIMIT: ("10001005", "账号登陆数达到上限"),
    Kind.NO_PERMISSION: ("10001006", "用户权限不足"),
    Kind.BANNED: ("10001011", "黑名单用户"),
    Kind.UNKNOWN_CODE: ("10009999", "未知错误"),
}


class _Refused(Exception):
    """The protocol's own way to say no."""

    def __init__(self, refusal: _Refusal) -> None:
        super().__init__(refusal[1])
        self.refusal = refusal


class BaostockReplica:
    """Opens a session a connection; the frames of the last answers are kept for all of them."""

    def __init__(self, market: Market, faults: Faults, calls: Calls, *, pace: Pace = Pace.FAST) -> None:
        """Serve `market` to whoever logs in as the library does."""
        self._market = market
        self._faults = faults
        self._calls = calls
        self._pace = pace
        self._frames: dict[object, bytes] = {}

    def open_session(self) -> "BaostockSession":
        """Begin a connection: nobody is logged in on it."""
        return BaostockSession(self)

    async def begin(self, call: str) -> Kind | None:
        """Count a call, take its time, and tell what it must suffer."""
        self._calls.count(NAME, call)
        fault = self._faults.take(NAME, call) if call in CALLS else None
        await asyncio.sleep(delay_seconds(self._pace, NAME, call))
        return fault

    async def rows(self, api: Api, request: Request, fault: Kind | None) -> bytes:
        """Encode the rows that were asked for, or find them among the last frames."""
        key = (request, fault, self._market.edition)
        kept = self._frames.get(key)
        if kept is not None:
            return kept
        # In a thread, because a day takes a tenth of a second and the client may share this event loop.
        frame = await asyncio.to_thread(self._encode, api, request, fault)
        self._frames[key] = frame
        if len(self._frames) > _KEPT_FRAMES:
            del self._frames[next(iter(self._frames))]
        return frame

    def _encode(self, api: Api, request: Request, fault: Kind | None) -> bytes:
        method, user, *rest = request.fields
        page, per_page = _paging(rest) if api.paged else (1, 0)
        arguments = rest[-api.arguments :]
        newest = api.call == "query_daily" and arguments[0] == self._market.latest_day.isoformat()
        table = spoil(api.table(self._market, arguments), fault, newest=newest)
        head = (*_SUCCESS, method, user)
        if not api.paged:
            return encode(api.answer, (*head, record(table.rows), ",".join(table.fields)))
        shown = 1 if fault is Kind.REPEATED else page
        rows = table.rows[(shown - 1) * per_page : shown * per_page]
        pages = (str(page), str(per_page))
        return encode(api.answer, (*head, *pages, record(rows), *arguments, ", ".join(table.fields)))


class BaostockSession:
    """One connection. Implements baostock_wire.Session."""

    def __init__(self, replica: BaostockReplica) -> None:
        """Begin logged out."""
        self._replica = replica
        self._logged_in = False

    async def answer(self, frame: bytes) -> Answer:
        """Answer one request, as well or as badly as the faults have it."""
        try:
            request = Request.read(frame)
        except FrameInvalid:
            return Answer(frame=encode(_EXCEPTION, ("10004019", "消息格式不正确")))
        fault = await self._replica.begin(_call(request))
        try:
            healthy = await self._healthy(request, fault)
        except _Refused as refused:
            healthy = encode(_EXCEPTION, refused.refusal)
        except ParameterInvalid as error:
            healthy = encode(_EXCEPTION, (error.code, error.text))
        return _spoiled(healthy, fault)

    async def _healthy(self, request: Request, fault: Kind | None) -> bytes:
        if fault is not None and fault in _REFUSALS:
            self._logged_in = self._logged_in and fault is not Kind.NOT_LOGGED_IN
            raise _Refused(_REFUSALS[fault])
        if request.type == _LOGIN:
            return self._log_in(request.fields)
        if request.type == _LOGOUT:
            return self._log_out(request.fields)
        api = APIS.get(request.type)
        if api is None:
            raise _Refused(("10004020", "错误的消息类型"))
        if not self._logged_in:
            raise _Refused(_NOT_LOGGED_IN)
        if len(request.fields) != (4 if api.paged else 2) + api.arguments:
            raise _Refused(_BAD_PARAMETER)
        return await self._replica.rows(api, request, fault)

    def _log_in(self, fields: Sequence[str]) -> bytes:
        if fields[1:3] != _ACCOUNT:
            raise _Refused(_BAD_PASSWORD)
        self._logged_in = True
        return encode(_LOGGED_IN, (*_SUCCESS, "login", fields[1], _moment()))

    def _log_out(self, fields: Sequence[str]) -> bytes:
        self._logged_in = False
        return encode(_LOGGED_OUT, (*_SUCCESS, "logout", *fields[1:2], _moment()))


def _call(request: Request) -> str:
    if request.type in APIS:
        return APIS[request.type].call
    return {_LOGIN: "login", _LOGOUT: "logout"}.get(request.type, "unknown")


def _paging(rest: Sequence[str]) -> tuple[int, int]:
    page, per_page = rest[:2]
    if not _NUMBER.match(page) or not _NUMBER.match(per_page):
        raise ParameterInvalid(*_BAD_PARAMETER)
    return int(page), min(int(per_page), _MOST_PER_PAGE)


def _moment() -> str:
    """Write the server's time to the millisecond, seventeen digits."""
    return datetime.now(MARKET_ZONE).strftime("%Y%m%d%H%M%S%f")[:-3]


def _spoiled(healthy: bytes, fault: Kind | None) -> Answer:
    if fault in {Kind.BADFRAME, Kind.BADJSON}:
        return Answer(frame=damage(healthy))
    response = on_the_wire(fault, Response(body=healthy))
    if response.content_type == "text/html":
        return Answer(frame=_http(response), last=True)
    return Answer(frame=healthy, delivery=response.delivery)


def _http(response: Response) -> bytes:
    """Write an HTTP answer whole: what something in between sends that takes this for a browser."""
    return (
        f"HTTP/1.1 {int(response.status)} \r\nContent-Type: text/html\r\n"
        f"Content-Length: {len(response.body)}\r\nConnection: close\r\n\r\n"
    ).encode() + response.body
