"""BaoStock: the stock list with industries, the calendar and the whole market's ratios of a day.

It covers Shanghai and Shenzhen, and needs no account. Units as published: turn in percent of the float, the
ratios as they are. The library itself runs in a worker process (baostock_worker.py).
"""

import re
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Final

from stocksync.domain.codes import Exchange, locate
from stocksync.domain.merge import DailyAnswer, ListAnswer, RoeAnswer
from stocksync.domain.stock import DailyMetrics, Dataset, StockListing, known, listing
from stocksync.errors import BadRow, OutOfScope, SourceEmpty, SourceNonsense, SourceSkipped
from stocksync.ports import Clock, Source
from stocksync.settings import Settings
from stocksync.sources.isolation import Caller, worker_for
from stocksync.sources.rows import Row, read_rows, require_usable

_STOCK: Final = "1"
_LISTED: Final = "1"
_ISO_DAY: Final = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})", re.ASCII)
_RATIOS: Final = {"pe_ttm": "peTTM", "pb_mrq": "pbMRQ", "ps_ttm": "psTTM"}


class BaostockSource:
    """Implements ports.Source."""

    name = "baostock"
    description = "BaoStock 免费接口：沪深名单与行业、日历、估值与换手率（无需账号）"
    provides = frozenset({Dataset.STOCK_LIST, Dataset.TRADE_DATE, Dataset.DAILY_DATA})
    exchanges = frozenset({Exchange.SSE, Exchange.SZSE})
    metrics = frozenset({"turnover_rate", *_RATIOS})
    texts = frozenset({"industry"})

    def __init__(self, worker: Caller) -> None:
        self._worker = worker

    async def check(self) -> None:
        await self._worker.call("check")

    async def open_days(self, start: date, end: date) -> Sequence[date]:
        answer = await self._worker.call("open_days", start.isoformat(), end.isoformat())
        try:
            days = sorted(date.fromisoformat(text) for text in answer)
        except (TypeError, ValueError) as exc:
            raise SourceNonsense("query_trade_dates 的日期格式异常") from exc
        if not days:
            raise SourceEmpty("query_trade_dates 没有返回任何交易日")
        return days

    async def stock_list(self) -> ListAnswer:
        rows = _rows(await self._worker.call("stock_list"))
        read = await read_rows(rows, _listing)
        require_usable("query_stock_basic", rows, read.items)
        return ListAnswer(
            source=self.name,
            exchanges=self.exchanges,
            listings=read.items,
            rejects=read.rejects,
            dropped=read.dropped,
        )

    async def daily_data(self, day: date) -> DailyAnswer:
        rows = _rows(await self._worker.call("daily_data", day.isoformat()))
        if not rows:
            raise SourceEmpty(f"BaoStock 尚未发布 {day.isoformat()} 的数据")
        if any(row["date"] != day.isoformat() for row in rows):
            raise SourceNonsense(f"应答中混有 {day.isoformat()} 以外日期的数据")
        read = await read_rows(rows, _metrics)
        require_usable("query_daily", rows, read.items)
        return DailyAnswer(
            source=self.name,
            day=day,
            metrics={item.code: item for item in read.items},
            dropped=read.dropped + len(read.rejects),
        )

    async def roe(self, period: date) -> RoeAnswer:
        raise SourceSkipped(f"{self.name} 不提供净资产收益率（{period.isoformat()}）")

    async def aclose(self) -> None:
        await self._worker.aclose()


def build_baostock(settings: Settings, clock: Clock) -> Source:  # noqa: ARG001 - a builder's signature
    """Build the source; its worker process starts with the first question."""
    worker = worker_for("baostock", {"STOCKSYNC_BAOSTOCK_ADDRESS": settings.baostock_address})
    return BaostockSource(worker)


def _rows(table: Mapping[str, Sequence[Any]]) -> list[Row]:
    """Name the values of a table as baostock_worker gives it, whose rows are as long as its fields."""
    return [dict(zip(table["fields"], row, strict=True)) for row in table["rows"]]


def _code(row: Row) -> str:
    """Read "sh.600000". The prefix must be the code's own: sh.000001 is an index, sz.000001 a bank.

    Beijing is not declared, so its rows are out of scope should any come.
    """
    text = row["code"]
    prefix, _, code = text.partition(".") if isinstance(text, str) else ("", "", "")
    exchange = locate(code).exchange
    if exchange is Exchange.BSE:
        raise OutOfScope(f"{text}: BaoStock 的北交所数据不予采用")
    if exchange.lower() != prefix:
        raise BadRow(code=code, field="code", value=text, reason="交易所前缀与代码不符")
    return code


def _listing(row: Row) -> StockListing:
    if row["type"] != _STOCK or row["status"] != _LISTED:
        raise OutOfScope("指数、基金、债券或已退市")
    return listing(
        code=_code(row),
        name=row["code_name"],
        industry=row["industry"],
        list_date=_compact(row["ipoDate"]),
    )


def _compact(day: object) -> object:
    """Write "1999-11-10" as "19991110"; anything else stays what it is, for `listing` to refuse."""
    match = _ISO_DAY.fullmatch(day) if isinstance(day, str) else None
    return "".join(match.groups()) if match else day


def _metrics(row: Row) -> DailyMetrics:
    """Read a day's row. A suspended stock has no turnover, and keeps the ratios of its last price."""
    code = _code(row)
    figures = {name: _positive(row[column]) for name, column in _RATIOS.items()}
    turnover = known(row["turn"])
    if turnover is None and not any(figures.values()):
        raise BadRow(code=code, field="*", value=dict(row), reason="没有任何有效指标")
    return DailyMetrics(code=code, turnover_rate=turnover, **figures)


def _positive(value: object) -> float | None:
    """Read a ratio. BaoStock writes a loss maker's as negative; here, as with Tushare, it has none."""
    ratio = known(value)
    return ratio if ratio is not None and ratio > 0 else None
