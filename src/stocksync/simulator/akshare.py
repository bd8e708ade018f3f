"""The replicas of the sites that the akshare library reads, each under its own host's name as first folder.

`http://127.0.0.1:PORT/query.sse.com.cn/sseQuery/commonQuery.do?...`: where STOCKSYNC_AKSHARE_REDIRECT leads.
"""

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qsl

from stocksync.simulator.eastmoney import report_page, report_table, spot_page, spot_table
from stocksync.simulator.exchanges import (
    Params,
    bse_page,
    bse_table,
    sse_page,
    sse_table,
    szse_page,
    szse_table,
)
from stocksync.simulator.faults import Calls, Faults, Kind
from stocksync.simulator.http import Request, Response
from stocksync.simulator.http_faults import on_the_wire, page
from stocksync.simulator.market import Market
from stocksync.simulator.pace import Pace, delay_seconds
from stocksync.simulator.tables import Table, spoil
from stocksync.simulator.xlsx import CONTENT_TYPE as XLSX

NAME: Final = "akshare"

_KEPT_TABLES: Final = 8
_FRONT: Final = re.compile(r"/\d+\.push2\.eastmoney\.com/")  # one of many front servers, all alike


@dataclass(frozen=True, slots=True)
class _Site:
    """One address: how its table is made, how a page of it is written, what tells the pages apart."""

    call: str
    table: Callable[[Market, Params], Table]
    page: Callable[[Table, Params], bytes]
    content_type: str
    chooses: str | None = None
    """The parameter on which the table depends."""
    pages: Mapping[str, str] | None = None
    """The parameter that names the page, with the first one's value."""


_SITES: Final[Mapping[str, _Site]] = {
    "/query.sse.com.cn/sseQuery/commonQuery.do": _Site(
        "sse", sse_table, sse_page, "application/json;charset=UTF-8", "STOCK_TYPE"
    ),
    "/www.szse.cn/api/report/ShowReport": _Site("szse", szse_table, szse_page, XLSX),
    "/www.bse.cn/nqxxController/nqxxCnzq.do": _Site(
        "bse", bse_table, bse_page, "text/html;charset=utf-8", pages={"page": "0"}
    ),
    "/push2.eastmoney.com/api/qt/clist/get": _Site(
        "spot", spot_table, spot_page, "application/json; charset=UTF-8", "fields", {"pn": "1"}
    ),
    "/datacenter-web.eastmoney.com/api/data/v1/get": _Site(
        "yjbb", report_table, report_page, "application/json;charset=UTF-8", "filter", {"pageNumber": "1"}
    ),
}
_HOSTS: Final = frozenset(path.split("/")[1] for path in _SITES)

CALLS: Final = frozenset(site.call for site in _SITES.values())


def serves(path: str) -> bool:
    """Whether a path leads to one of the hosts of these replicas."""
    return _plain(path).split("/")[1] in _HOSTS


def _plain(path: str) -> str:
    return _FRONT.sub("/push2.eastmoney.com/", path, count=1)


class AkshareReplica:
    """Answers GET and, for Beijing, POST, at the addresses of all the sites."""

    def __init__(self, market: Market, faults: Faults, calls: Calls, *, pace: Pace = Pace.FAST) -> None:
        """Serve `market` to whoever asks."""
        self._market = market
        self._faults = faults
        self._calls = calls
        self._pace = pace
        self._tables: dict[object, Table] = {}

    async def __call__(self, request: Request) -> Response:
        """Answer one request, as well or as badly as the faults have it."""
        site = _SITES.get(_plain(request.path))
        if site is None:
            return page(HTTPStatus.NOT_FOUND)
        fault = self._faults.take(NAME, site.call)
        self._calls.count(NAME, site.call)
        await asyncio.sleep(delay_seconds(self._pace, NAME, site.call))
        params = dict(parse_qsl(request.query) + parse_qsl(request.body.decode("latin-1")))
        if fault is Kind.REPEATED:
            params |= site.pages or {}
        if fault is Kind.BANNED:
            fault = Kind.CLOSE  # these sites' way to say it
        try:
            # In a thread, because the client may share this event loop.
            body = await asyncio.to_thread(self._body, site, params, fault)
        except ValueError:  # a page that is no number, a date that is none
            return page(HTTPStatus.BAD_REQUEST)
        return on_the_wire(fault, Response(body=body, content_type=site.content_type))

    def _body(self, site: _Site, params: Params, fault: Kind | None) -> bytes:
        chosen = params.get(site.chooses, "") if site.chooses else ""
        key = (site.call, chosen, fault, self._market.edition)
        table = self._tables.get(key)
        if table is None:
            table = spoil(site.table(self._market, params), fault, newest=site.call == "spot")
            self._tables[key] = table
            for old in list(self._tables)[:-_KEPT_TABLES]:
                self._tables.pop(old, None)
        return site.page(table, params)
