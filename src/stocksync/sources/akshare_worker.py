"""What runs in AKShare's worker process: the library's calls as plain functions over plain data.

`sources.isolation` runs these; the server process never imports this module, for the library brings pandas
(0.6 s and 106 MiB). Every function raises SourceError and nothing else.
"""

import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any, Final

import requests
from akshare.stock import stock_info as lists
from akshare.stock_feature import stock_hist_em as quotes
from akshare.stock_feature import stock_yjbb_em as reports
from akshare.utils import func as paging

from stocksync.errors import SourceEmpty, SourceError, SourceNonsense
from stocksync.sources.akshare_errors import as_source_error
from stocksync.sources.akshare_requests import install
from stocksync.sources.akshare_shapes import (
    BSE,
    REPORT,
    SPOT,
    SSE,
    Shape,
    check_places,
    check_whole,
    declares_nothing,
    records,
)

REDIRECT_VARIABLE: Final = "STOCKSYNC_AKSHARE_REDIRECT"

_wire = install(os.environ.get(REDIRECT_VARIABLE))
paging.request_with_retry = partial(paging.request_with_retry, max_retries=1)  # `install` retries, for all
for _module in (lists, reports, paging):
    _module.get_tqdm = partial(_module.get_tqdm, enable=False)  # a worker has nobody to show a bar to
if _wire.redirect is not None:
    paging.time = SimpleNamespace(sleep=lambda _seconds: None)  # a replica needs no politeness

Rows = list[dict[str, Any]]

_QUOTES_URL: Final = "https://82.push2.eastmoney.com/api/qt/clist/get"
_DAY_QUERY: Final = {"pn": "1", "pz": "20", "np": "1", "fid": "f12", "fs": "m:1 t:2", "fields": "f12,f297"}
_DAY_TIMEOUT: Final = 8
"""Seconds: a check as a whole has ten."""

_LISTED: Final = ("code", "name", "list_date", "area", "industry", "total_share", "float_share")
_SSE_COLUMNS: Final = {"证券代码": "code", "证券简称": "name", "上市日期": "list_date"}
_SZSE_COLUMNS: Final = {
    "A股代码": "code",
    "A股简称": "name",
    "A股上市日期": "list_date",
    "A股总股本": "total_share",
    "A股流通股本": "float_share",
    "所属行业": "industry",
}
_BSE_COLUMNS: Final = {
    "证券代码": "code",
    "证券简称": "name",
    "上市日期": "list_date",
    "总股本": "total_share",
    "流通股本": "float_share",
    "所属行业": "industry",
    "地区": "area",
}
_SPOT_COLUMNS: Final = {
    "代码": "code",
    "名称": "name",
    "最新价": "price",
    "总市值": "total_mv",
    "流通市值": "circ_mv",
    "换手率": "turnover_rate",
    "量比": "volume_ratio",
    "市净率": "pb",
    "市盈率-动态": "pe_dynamic",
}
_REPORT_COLUMNS: Final = {"股票代码": "code", "净资产收益率": "roe", "所处行业": "industry"}

_SIX_DIGITS: Final = re.compile(r"[0-9]{6}\Z", re.ASCII)
_EIGHT_DIGITS: Final = re.compile(r"[0-9]{8}\Z", re.ASCII)
_MOST_ODD: Final = 0.1
"""The share of rows that may look odd before the columns are taken to be others than they were."""


@contextmanager
def _edge(what: str, shape: Shape | None = None) -> Iterator[None]:
    """Where the library's errors, and those of all that it calls, become ours."""
    _wire.begin()
    try:
        yield
    except SourceError:
        raise
    except Exception as exc:  # a scraper fails with whatever its parsing runs into
        raise as_source_error(what, exc, empty=declares_nothing(shape, _wire.first_body)) from exc


def _fresh(function: Callable[..., Any], *args: str) -> Any:
    """Call a function of the library as if for the first time: some keep their answer for ever."""
    forget = getattr(function, "cache_clear", None)
    if forget is not None:
        forget()
    return function(*args).copy()


def check() -> None:
    """Make one cheap request to the host that bans first."""
    _day_of_quotes()


def _day_of_quotes() -> str | None:
    """Ask of which trade date the quotes are, "YYYYMMDD"; None where the site does not say any more.

    The library's snapshot has no date: this one request of our own, for twenty stocks, tells it.
    """
    with _edge("东方财富行情", SPOT):
        answer = requests.get(_QUOTES_URL, params=_DAY_QUERY, timeout=_DAY_TIMEOUT).json()
        days = (str(row.get("f297")) for row in answer["data"]["diff"])
        return max((day for day in days if _EIGHT_DIGITS.match(day)), default=None)


def stock_list() -> dict[str, Any]:
    """List the A shares of the three exchanges; one that fails is told and does not spoil the others.

    Rows carry `exchange` (SH, SZ, BJ), list_date "YYYYMMDD" and plain shares (Shenzhen: A shares alone).
    Raises the first exchange's error if none answers.
    """
    rows: Rows = []
    failed: dict[str, SourceError] = {}
    for exchange, ask in _EXCHANGES.items():
        try:
            listed = ask()
        except SourceError as exc:
            failed[exchange] = exc
        else:
            rows += [dict.fromkeys(_LISTED) | row | {"exchange": exchange} for row in listed]
    if len(failed) == len(_EXCHANGES):
        raise next(iter(failed.values()))
    told = {exchange: {"error": exc.code, "message": str(exc)} for exchange, exc in failed.items()}
    return {"rows": rows, "failed": told}


def _sse() -> Rows:
    rows: Rows = []
    for board in ("主板A股", "科创板"):
        what = f"上交所{board}名单"
        with _edge(what, SSE):
            listed = records(_fresh(lists.stock_info_sh_name_code, board), _SSE_COLUMNS)
            check_whole(what, SSE, _wire.first_body, [row["code"] for row in listed])
            rows += _with_codes(what, listed)
    return rows


def _szse() -> Rows:
    what = "深交所名单"
    with _edge(what):
        rows = records(_fresh(lists.stock_info_sz_name_code, "A股列表"), _SZSE_COLUMNS)
        for row in rows:
            row |= {"code": str(row["code"]).zfill(6), "list_date": _digits(row["list_date"])}
            row |= {name: _number(row[name]) for name in ("total_share", "float_share")}
        return _with_codes(what, rows)


def _bse() -> Rows:
    what = "北交所名单"
    with _edge(what, BSE):
        rows = records(_fresh(lists.stock_info_bj_name_code), _BSE_COLUMNS)
        check_places(what, BSE, _wire.first_body)
        check_whole(what, BSE, _wire.first_body, [row["code"] for row in rows])
        return _with_codes(what, rows)


_EXCHANGES: Final[Mapping[str, Callable[[], Rows]]] = {"SH": _sse, "SZ": _szse, "BJ": _bse}


def snapshot() -> dict[str, Any]:
    """Give the market as it stands now: values in CNY, rates in percent, unknown is None.

    `day` is the trade date of the quotes, "YYYYMMDD", or None where the site does not tell. Rows with neither
    price nor market value are delisted or not yet listed: dropped, and counted.
    """
    what = "东方财富行情"
    day = _day_of_quotes()
    with _edge(what, SPOT):
        rows = records(_fresh(quotes.stock_zh_a_spot_em), _SPOT_COLUMNS)
        check_places(what, SPOT, _wire.first_body)
        check_whole(what, SPOT, _wire.first_body, [row["code"] for row in rows])
        quoted = [row for row in rows if row["price"] is not None or row["total_mv"] is not None]
        _check_values(what, quoted)
        _with_codes(what, quoted)
        return {"rows": quoted, "dropped": len(rows) - len(quoted), "day": day}


def report(period: str) -> Rows:
    """Give return on equity (percent) and industry of all who reported for a quarter end, "YYYYMMDD"."""
    what = "东方财富业绩报表"
    with _edge(what, REPORT):
        rows = records(_fresh(reports.stock_yjbb_em, period), _REPORT_COLUMNS)
        check_places(what, REPORT, _wire.first_body)
        check_whole(what, REPORT, _wire.first_body, [row["code"] for row in rows])
        _refuse_if_many(what, sum(1 for row in rows if row["roe"] is None), rows, "没有净资产收益率", 0.9)
        return _with_codes(what, rows)


def _with_codes(what: str, rows: Rows) -> Rows:
    """Let rows pass whose columns hold what they should; a few odd ones the source rejects by name."""
    if not rows:
        raise SourceEmpty(f"{what}没有返回任何股票")
    odd = sum(1 for row in rows if not _SIX_DIGITS.match(str(row["code"])))
    _refuse_if_many(what, odd, rows, "的代码不是六位数字")
    odd = sum(1 for row in rows if not isinstance(row.get("name", ""), str))
    _refuse_if_many(what, odd, rows, "的名称不是文本")
    days = [row["list_date"] for row in rows if row.get("list_date") is not None]
    odd = sum(1 for day in days if not _EIGHT_DIGITS.match(str(day)))
    _refuse_if_many(what, odd, rows, "的上市日期不是日期")
    return rows


def _check_values(what: str, rows: Rows) -> None:
    """Refuse market values that cannot be what their column says."""
    pairs = [(row["total_mv"], row["circ_mv"]) for row in rows]
    known = [(total, circ) for total, circ in pairs if total is not None and circ is not None]
    if not known:
        raise SourceNonsense(f"{what}没有任何总市值和流通市值")
    odd = sum(1 for total, circ in known if not 0 < circ * 0.99 <= total)
    _refuse_if_many(what, odd, known, "的总市值小于流通市值")


def _refuse_if_many(
    what: str, odd: int, rows: Sequence[object], reason: str, most: float = _MOST_ODD
) -> None:
    if odd > most * len(rows):
        raise SourceNonsense(f"{what}的列发生变化：{len(rows)} 行中 {odd} 行{reason}")


def _digits(value: object) -> object:
    """Write "1991-04-03" as "19910403"."""
    return value.replace("-", "") if isinstance(value, str) else value


def _number(value: object) -> object:
    """Read a number with thousands separators, "19,405,918,198"; None for anything else."""
    try:
        number = float(str(value).replace(",", ""))
    except ValueError:
        return None
    return number if math.isfinite(number) else None


CALLS: Final[Mapping[str, Callable[..., object]]] = {
    "check": check,
    "stock_list": stock_list,
    "snapshot": snapshot,
    "report": report,
}
"""What the worker can be asked for."""
