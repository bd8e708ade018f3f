"""Eastmoney's two JSON interfaces: the market snapshot (push2, clist) and the quarterly report (data centre).

Keys and their order are the real ones. Values are in CNY, rates in percent with two decimals; "-" is unknown.
"""

import math
import re
from collections.abc import Iterator, Mapping
from datetime import date
from itertools import islice
from typing import Any, Final

from stocksync.domain import codes
from stocksync.domain.calendar import compact
from stocksync.errors import RowError
from stocksync.simulator.exchanges import Params, dump, objects, plain_code, shares
from stocksync.simulator.market import DayMetrics, Market, Stock
from stocksync.simulator.tables import Row, Table

_SPOT: Final = (
    "f1", "f2", "f3", "f4", "f5", "f6", "f7", "f8", "f9", "f10", "f11", "f12", "f13", "f14", "f15", "f16",
    "f17", "f18", "f20", "f21", "f22", "f23", "f24", "f25", "f62", "f115", "f128", "f140", "f141", "f136",
    "f152", "f297",
)  # fmt: skip
_REPORT: Final = (
    "SECURITY_CODE", "SECURITY_NAME_ABBR", "TRADE_MARKET_CODE", "TRADE_MARKET", "SECURITY_TYPE_CODE",
    "SECURITY_TYPE", "UPDATE_DATE", "REPORTDATE", "BASIC_EPS", "DEDUCT_BASIC_EPS", "TOTAL_OPERATE_INCOME",
    "PARENT_NETPROFIT", "WEIGHTAVG_ROE", "YSTZ", "SJLTZ", "BPS", "MGJYXJJE", "XSMLL", "YSHZ", "SJLHZ",
    "ASSIGNDSCRPT", "PAYYEAR", "PUBLISHNAME", "ZXGXL", "NOTICE_DATE", "ORG_CODE", "TRADE_MARKET_ZJG", "ISNEW",
    "QDATE", "DATATYPE", "DATAYEAR", "DATEMMDD", "EITIME", "SECUCODE", "BOARD_NAME", "ORI_BOARD_CODE",
    "BOARD_CODE",
)  # fmt: skip
_GHOST_SHARE: Final = 300 / 5450
"""Delisted and not yet listed shares in the snapshot, as a share of the market."""

_B_SHARE_SHARE: Final = 80 / 5450
_GHOST_PREFIXES: Final = ("600", "000", "002", "300", "688", "920")
_REPORT_DATE: Final = re.compile(r"REPORTDATE='(\d{4}-\d{2}-\d{2})'")
_SPOT_PAGE: Final = 100
"""Rows that the real one gives for one page at most, whatever was asked."""

_MOST_REPORTS: Final = 500
_EMPTY_REPORT: Final = {
    "version": None, "result": None, "success": False, "message": "返回数据为空", "code": 9201,
}  # fmt: skip


def spot_table(market: Market, params: Params) -> Table:
    """Quote every A share as of the newest day, among those that are no longer, or not yet, traded.

    The keys of a row keep their order, whatever order they are asked in; f140 and f141 come with f128.
    """
    table = _all_quotes(market)
    wanted = set(params.get("fields", "").split(","))
    wanted |= {"f140", "f141"} if "f128" in wanted else set()
    return table.select([field for field in table.fields if field in wanted])


def _all_quotes(market: Market) -> Table:
    latest = {metrics.ts_code: metrics for metrics in market.metrics(market.latest_day)}
    today = int(compact(market.latest_day))
    rows = [_spot_row(stock.symbol, stock.name, latest.get(stock.ts_code), today) for stock in market.stocks]
    rows += [_spot_row(code, f"退市{code[3:]}", None, "-") for code in _ghosts(market)]
    rows.sort(key=lambda row: str(row[11]), reverse=True)  # fid=f12, po=1: by code, downwards
    return Table(fields=_SPOT, rows=rows, code="f12", vital="f20", spell=plain_code)


def _spot_row(code: str, name: str, day: DayMetrics | None, today: int | str) -> Row:
    identity = {"f1": 2, "f12": code, "f13": int(code.startswith("6")), "f14": name, "f152": 2, "f297": today}
    known = {**identity, **(_quote(day) if day else {})}
    return tuple(known.get(field, "-") for field in _SPOT)


def _quote(day: DayMetrics) -> dict[str, float | int | str]:
    """Quote a stock that traded. The replica does not know yesterday: the price stood still."""
    price = dict.fromkeys(("f2", "f15", "f16", "f17", "f18"), _two(day.close))
    moves = dict.fromkeys(("f3", "f4", "f7", "f11", "f22", "f24", "f25", "f62"), 0.0)
    figures = {
        "f5": 1000, "f6": 1_000_000.0,
        "f8": _two(day.turnover_rate), "f9": _two(day.pe_ttm), "f10": _two(day.volume_ratio),
        "f20": _or_dash(shares(day.total_mv)), "f21": _or_dash(shares(day.circ_mv)),
        "f23": _two(day.pb), "f115": _two(day.pe_ttm),
    }  # fmt: skip
    return {**price, **moves, **figures}


def _two(value: float | None) -> float | str:
    return "-" if value is None else round(value, 2)


def _or_dash(value: int | None) -> int | str:
    return "-" if value is None else value


def _ghosts(market: Market) -> list[str]:
    """Codes that this market does not list, as many of them as the real snapshot holds."""
    count = math.ceil(len(market.stocks) * _GHOST_SHARE)
    taken = {stock.symbol for stock in market.stocks}
    return list(islice((code for code in _ghost_codes() if code not in taken), count))


def _ghost_codes() -> Iterator[str]:
    for number in range(989, 0, -1):
        yield from (f"{prefix}{number:03d}" for prefix in _GHOST_PREFIXES)


def spot_page(table: Table, params: Params) -> bytes:
    """Write one page; a page behind the last, like an empty market, has no data at all."""
    number, size = int(params.get("pn") or 1), min(int(params.get("pz") or 20), _SPOT_PAGE)
    rows = table.rows[(number - 1) * size : number * size]
    data = {"total": len(table.rows), "diff": objects(table.fields, rows)} if rows else None
    return dump({"rc": 0, "rt": 6, "svr": 177617930, "lt": 1, "full": 1, "dlmkts": "", "data": data})


def report_table(market: Market, params: Params) -> Table:
    """List everyone who reported for a quarter's end, B shares among them."""
    match = _REPORT_DATE.search(params.get("filter", ""))
    period = date.fromisoformat(match[1]) if match else date.min
    roe = market.roe(period)
    reported = [stock for stock in market.stocks if stock.ts_code in roe]
    rows = [_report_row(stock, period, roe[stock.ts_code]) for stock in reported]
    rows += [_b_share_row(number, period) for number in range(math.ceil(len(reported) * _B_SHARE_SHARE))]
    rows.sort(key=lambda row: str(row[0]), reverse=True)  # sortColumns=UPDATE_DATE,SECURITY_CODE, downwards
    return Table(fields=_REPORT, rows=rows, code="SECURITY_CODE", vital="WEIGHTAVG_ROE", spell=plain_code)


def _report_row(stock: Stock, period: date, roe: float) -> Row:
    return _row_of(stock.symbol, stock.name, stock.industry, period, roe)


def _b_share_row(number: int, period: date) -> Row:
    prefix = "200" if number % 2 else "900"
    return _row_of(f"{prefix}{number % 1000:03d}", f"虚幻{number}B", "元器件", period, 1.5)


def _row_of(code: str, name: str, industry: str | None, period: date, roe: float) -> Row:
    known: Mapping[str, Any] = {
        "SECURITY_CODE": code, "SECURITY_NAME_ABBR": name, "TRADE_MARKET_CODE": "069001001001",
        "TRADE_MARKET": "上交所主板", "SECURITY_TYPE_CODE": "058001001", "SECURITY_TYPE": "A股",
        "UPDATE_DATE": f"{period} 00:00:00", "REPORTDATE": f"{period} 00:00:00", "BASIC_EPS": 0.5,
        "TOTAL_OPERATE_INCOME": 1_000_000_000.0, "PARENT_NETPROFIT": 100_000_000.0, "WEIGHTAVG_ROE": roe,
        "BPS": 5.0, "PUBLISHNAME": industry, "NOTICE_DATE": f"{period} 00:00:00", "ISNEW": "1",
        "QDATE": f"{period.year}Q{period.month // 3}", "DATAYEAR": str(period.year),
        "EITIME": f"{period} 00:00:00", "SECUCODE": _secucode(code),
    }  # fmt: skip
    return tuple(known.get(field) for field in _REPORT)


def _secucode(code: str) -> str:
    try:
        return codes.full_symbol(code)
    except RowError:
        return f"{code}.{'SH' if code.startswith('9') else 'SZ'}"


def report_page(table: Table, params: Params) -> bytes:
    """Write one page, or that there is nothing."""
    number, size = int(params.get("pageNumber") or 1), min(int(params.get("pageSize") or 50), _MOST_REPORTS)
    rows = table.rows[(number - 1) * size : number * size]
    if not rows:
        return dump(_EMPTY_REPORT)
    result = {
        "pages": math.ceil(len(table.rows) / size),
        "data": objects(table.fields, rows),
        "count": len(table.rows),
    }
    version = compact(date.today())  # noqa: DTZ011 - no date of the market: a label
    return dump({"version": version, "result": result, "success": True, "message": "ok", "code": 0})
