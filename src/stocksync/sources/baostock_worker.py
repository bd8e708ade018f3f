"""BaoStock's library. Runs in a worker process only (isolation.py): the server never imports this module.

The library has one socket and one user a process, no time-outs, and hides errors: so every answer is read to
its end and checked here, and foreign errors become ours in `_ours`. Tables are {"fields": [...], "rows":
[[...], ...]}, every value as BaoStock sends it: a text, "" where unknown.
"""

import importlib
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from types import SimpleNamespace
from typing import Any, Final

from stocksync.errors import (
    SourceBanned,
    SourceDenied,
    SourceError,
    SourceNonsense,
    SourceRateLimited,
    SourceSkipped,
    SourceUnreachable,
)

_BASIC: Final = ("code", "code_name", "ipoDate", "outDate", "type", "status")
_INDUSTRY: Final = ("code", "industry")
_CALENDAR: Final = ("calendar_date", "is_trading_day")
_DAILY: Final = ("date", "code", "turn", "peTTM", "pbMRQ", "psTTM")
_CHECK_DAY: Final = "2026-01-05"

_OK: Final = "0"
_NOT_LOGGED_IN: Final = "10001001"
_NETWORK: Final = "10002"
_SYSTEM: Final = "10005001"
_BLACKLISTED: Final = "10001011"
_LOGIN_LIMIT: Final = "10001005"
_ACCOUNT: Final = frozenset({"10001002", "10001004", "10001006", "10001007", "10001012"})
"""Wrong password, client too old, no permission, not activated, malformed API key."""

_FOREIGN: Final = (AttributeError, LookupError, OSError, RecursionError, TypeError, ValueError)
"""What the library raises while it takes apart an answer that is not its protocol's."""

Rows = list[list[Any]]
Table = dict[str, list[Any]]
Ask = Callable[[Any], Any]


class _Refused(Exception):
    """An error code, of the server or of the library itself."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text[:120]


class _Socket(socket.socket):
    """Says so when the other side has closed the connection: the library would spin, at 100 % CPU, for ever.

    Should a later version take its sockets from elsewhere, the caller's deadline still ends the process.
    """

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        data = super().recv(bufsize, flags)
        if not data:
            raise ConnectionResetError("the server closed the connection")
        return data


class _Library:
    """The library with its one session of this process."""

    def __init__(self) -> None:
        self._bs: Any = None
        self._logged_in = False

    def rows(self, call: str, ask: Ask, columns: Sequence[str], *, paged: bool = True) -> Rows:
        """Give every row of an answer, its values in the order of `columns`.

        Asks once more, logged in anew, where the session has ended: the server says so, or the connection of
        an earlier call turns out to be gone.
        """
        was_logged_in = self._logged_in
        try:
            return self._ask(call, ask, columns, paged=paged)
        except _Refused as refused:
            gone = was_logged_in and refused.code.startswith(_NETWORK)
            if refused.code != _NOT_LOGGED_IN and not gone:
                raise
        return self._ask(call, ask, columns, paged=paged)

    def _ask(self, call: str, ask: Ask, columns: Sequence[str], *, paged: bool) -> Rows:
        self._log_in()
        self._logged_in = False  # until the answer is whole: after any error the session is not to be trusted
        answer = ask(self._bs)
        _check(answer)
        rows = _all_pages(answer, self._page_size()) if paged else answer.data
        rows = _select(call, list(answer.fields), rows, columns)
        self._logged_in = True
        return rows

    def _log_in(self) -> None:
        if self._bs is None:
            self._bs = _import()
        if not self._logged_in:
            _check(self._bs.login())
            self._logged_in = True

    def _page_size(self) -> int:
        return int(self._bs.common.contants.BAOSTOCK_PER_PAGE_COUNT)


def _import() -> Any:
    """Import the library, pointed at the address of the environment, if one is set."""
    try:
        library = importlib.import_module("baostock")
        sockets = importlib.import_module("baostock.util.socketutil")
    except ImportError as exc:
        raise SourceSkipped("未安装 baostock（pip install 'stocksync[baostock]'）") from exc
    sockets.socket = SimpleNamespace(  # type: ignore[attr-defined] # the name by which it makes its sockets
        socket=_Socket, AF_INET=socket.AF_INET, SOCK_STREAM=socket.SOCK_STREAM
    )
    address = os.environ.get("STOCKSYNC_BAOSTOCK_ADDRESS")
    if address:
        host, _, port = address.rpartition(":")
        if not host or not port.isdecimal():
            raise SourceNonsense("STOCKSYNC_BAOSTOCK_ADDRESS 应为 主机:端口")
        library.common.contants.BAOSTOCK_SERVER_IP = host
        library.common.contants.BAOSTOCK_SERVER_PORT = int(port)
    return library


def _check(answer: Any) -> None:
    if answer.error_code != _OK:
        raise _Refused(str(answer.error_code), str(answer.error_msg))


def _all_pages(answer: Any, page_size: int) -> Rows:
    """Read a paged answer to its end. The library's own get_data() fails from the second page on.

    Its next() returns False for a page that failed, too: either the error code tells, or that the last page
    it has is a full one, which only an empty or a shorter page may follow.
    """
    rows: Rows = []
    while answer.error_code == _OK and answer.next():
        rows.append(answer.get_row_data())
        if len(rows) > page_size and rows[-1] == rows[-1 - page_size]:
            raise SourceNonsense("BaoStock 重复返回同一页")
    _check(answer)
    if len(answer.data) == page_size:
        raise SourceUnreachable(f"BaoStock 在第 {len(rows)} 行之后中断")
    return rows


def _select(call: str, names: Sequence[str], rows: Sequence[Any], columns: Sequence[str]) -> Rows:
    if not rows:
        return []
    missing = [column for column in columns if column not in names]
    if missing:
        raise SourceNonsense(f"{call} 缺少字段：{'、'.join(missing)}")
    if any(not isinstance(row, list) or len(row) != len(names) for row in rows):
        raise SourceNonsense(f"{call} 的行与字段数不符")
    places = [names.index(column) for column in columns]
    return [[row[place] for place in places] for row in rows]


_library = _Library()


def _check_usable() -> None:
    """Log in and ask for one day of the calendar."""
    open_days(_CHECK_DAY, _CHECK_DAY)


def open_days(start: str, end: str) -> list[str]:
    """List the open days from `start` to `end`; all three are "YYYY-MM-DD"."""
    rows = _library.rows("query_trade_dates", lambda bs: bs.query_trade_dates(start, end), _CALENDAR)
    if any(is_open not in ("0", "1") for _, is_open in rows):
        raise SourceNonsense("query_trade_dates 的开市标志异常")
    return [day for day, is_open in rows if is_open == "1"]


def stock_list() -> Table:
    """Give all securities that BaoStock knows, listed or not, with their industry (null: none is known)."""
    securities = _library.rows("query_stock_basic", lambda bs: bs.query_stock_basic(), _BASIC)
    industries = _library.rows("query_stock_industry", lambda bs: bs.query_stock_industry(), _INDUSTRY)
    industry = {code: text for code, text in industries}  # noqa: C416 - dict() wants tuples
    return {
        "fields": [*_BASIC, "industry"],
        "rows": [[*security, industry.get(security[0])] for security in securities],
    }


def daily_data(day: str) -> Table:
    """Give the whole market's figures of one day, in ONE request: asking stock by stock gets users banned."""
    rows = _library.rows("query_daily", lambda bs: bs.query_daily_history_k_AStock(day), _DAILY, paged=False)
    return {"fields": list(_DAILY), "rows": rows}


def _named(refused: _Refused) -> SourceError:
    """Name an error code."""
    code, text = refused.code, f"{refused.text}（{refused.code}）"
    if code == _BLACKLISTED:
        return SourceBanned(f"BaoStock 已将本机列入黑名单：{text}")
    if code == _LOGIN_LIMIT:
        return SourceRateLimited(f"BaoStock 登录数达到上限：{text}")
    if code in _ACCOUNT:
        return SourceDenied(f"BaoStock 拒绝登录或访问：{text}")
    if code.startswith(_NETWORK) or code == _SYSTEM:
        return SourceUnreachable(f"BaoStock 连接或服务器故障：{text}")
    return SourceNonsense(f"BaoStock 返回错误：{text}")


def _ours(call: Callable[..., object]) -> Callable[..., object]:
    """Turn whatever the library does into our errors: the only place."""

    @wraps(call)
    def guarded(*arguments: object) -> object:
        try:
            return call(*arguments)
        except _Refused as refused:
            raise _named(refused) from refused
        except _FOREIGN as exc:
            raise SourceNonsense(f"BaoStock 的应答无法解析（{type(exc).__name__}）") from exc

    return guarded


CALLS: Final[Mapping[str, Callable[..., object]]] = {
    "check": _ours(_check_usable),
    "open_days": _ours(open_days),
    "stock_list": _ours(stock_list),
    "daily_data": _ours(daily_data),
}
