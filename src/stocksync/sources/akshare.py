"""AKShare: the exchanges' own lists, Eastmoney's market snapshot, its quarterly report (ROE and industry).

The library scrapes public sites, so it runs in a worker process (akshare_worker.py). Units as published:
values in CNY, turnover and return on equity in percent.

Left out on purpose: 市盈率-动态, which is neither pe nor pe_ttm; the lists' share counts, because Shenzhen's
are of the A shares alone; the lists' industries, because they are coarse words of another classification
that would come and go with the reports'. Those come with the return on equity.
"""

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from typing import Final

from stocksync.domain.calendar import (
    FINAL_AFTER,
    LOOK_BACK_DAYS,
    builtin_open_days,
    compact,
    days_with_final_figures,
    market_day,
)
from stocksync.domain.codes import Exchange, locate
from stocksync.domain.merge import DailyAnswer, ListAnswer, RoeAnswer
from stocksync.domain.stock import DailyMetrics, Dataset, StockListing, known, listing, scaled
from stocksync.domain.wire import MARKET_ZONE
from stocksync.errors import (
    BadRow,
    SourceEmpty,
    SourceNonsense,
    SourceNotFinal,
    SourceSkipped,
)
from stocksync.ports import Clock, Source
from stocksync.settings import Settings
from stocksync.sources.isolation import Caller, worker_for
from stocksync.sources.rows import Row, read_rows

QUOTES_FROM: Final = time(9, 15)
"""The opening auction begins: from now on the snapshot is that of the new day."""

_PER_YI: Final = 100_000_000
"""What CNY is divided by to become 亿元."""

_RATES: Final = ("turnover_rate", "volume_ratio", "pb")
_VALUES: Final = ("total_mv", "circ_mv")


class AkshareSource:
    """Implements ports.Source."""

    name = "akshare"
    description = "AKShare：沪深北交易所名单、东方财富行情与业绩报表（抓取公开网站，无需账号）"
    provides = frozenset({Dataset.STOCK_LIST, Dataset.DAILY_DATA, Dataset.ROE})
    exchanges = frozenset(Exchange)
    metrics = frozenset((*_RATES, *_VALUES))
    texts = frozenset({"industry"})

    def __init__(self, worker: Caller, clock: Clock, *, as_of: date | None = None) -> None:
        """Ask `worker`; with `as_of` the snapshot counts as that day's, as in a replay."""
        self._worker = worker
        self._clock = clock
        self._as_of = as_of

    async def check(self) -> None:
        await self._worker.call("check")

    async def open_days(self, start: date, end: date) -> Sequence[date]:
        raise SourceSkipped(f"{self.name} 不提供交易日历（{compact(start)}–{compact(end)}）")

    async def stock_list(self) -> ListAnswer:
        answer = await self._worker.call("stock_list")
        failed = {Exchange(suffix): why["message"] for suffix, why in answer["failed"].items()}
        read = await read_rows(answer["rows"], _listing)
        if not read.items:
            raise SourceNonsense(f"交易所名单的 {len(answer['rows'])} 行数据全部无法识别")
        return ListAnswer(
            source=self.name,
            exchanges=self.exchanges - failed.keys(),
            failed=failed,
            listings=read.items,
            rejects=read.rejects,
            dropped=read.dropped,
        )

    async def daily_data(self, day: date) -> DailyAnswer:
        self._require_snapshot_of(day)
        answer = await self._worker.call("snapshot")
        self._require_snapshot_of(day)  # it takes a minute, in which a new day may have begun
        if answer["day"] not in {compact(day), None}:
            raise SourceEmpty(f"行情快照是 {answer['day']} 的，没有 {compact(day)} 的数据")
        read = await read_rows(answer["rows"], _metrics)
        if not read.items:
            raise SourceNonsense(f"行情快照的 {len(answer['rows'])} 行数据全部无法识别")
        return DailyAnswer(
            source=self.name,
            day=day,
            metrics={item.code: item for item in read.items},
            dropped=answer["dropped"] + read.dropped + len(read.rejects),
        )

    async def roe(self, period: date) -> RoeAnswer:
        rows = await self._worker.call("report", compact(period))
        read = await read_rows(rows, _reported)
        values = {code: roe for code, roe, _ in read.items if roe is not None}
        if not values:
            raise SourceEmpty(f"业绩报表没有 {compact(period)} 的净资产收益率")
        return RoeAnswer(
            source=self.name,
            period=period,
            values=values,
            industries={code: industry for code, _, industry in read.items if industry is not None},
            dropped=len(rows) - len(values),
        )

    async def aclose(self) -> None:
        await self._worker.aclose()

    def _require_snapshot_of(self, day: date) -> None:
        """Let pass only while the snapshot is that of a whole day, and that day is the one asked for."""
        now = self._now()
        held = snapshot_day(now)
        if held == day:
            return
        if held is None and day >= _days_ended(now)[0]:
            raise SourceNotFinal("正在交易，行情快照不是收盘数据")
        raise SourceSkipped(f"行情快照没有历史数据，不是 {compact(day)} 的")

    def _now(self) -> datetime:
        if self._as_of is None:
            return self._clock.now()
        return datetime.combine(self._as_of, time.max, MARKET_ZONE)


def build_akshare(settings: Settings, clock: Clock) -> Source:
    """Build the source; its worker process starts with the first question."""
    worker = worker_for("akshare", {"STOCKSYNC_AKSHARE_REDIRECT": settings.akshare_redirect})
    return AkshareSource(worker, clock, as_of=settings.as_of)


def snapshot_day(now: datetime) -> date | None:
    """Tell of which day a snapshot taken at `now` has the final figures; None while the market trades.

    By the built-in calendar, before anything is asked; the site's own word on the date is checked after.
    """
    local = now.astimezone(MARKET_ZONE)
    trading = QUOTES_FROM <= local.time() < FINAL_AFTER
    if trading and builtin_open_days(local.date(), local.date()):
        return None
    return _days_ended(now)[0]


def _days_ended(now: datetime) -> list[date]:
    today = market_day(now)
    return days_with_final_figures(builtin_open_days(today - timedelta(days=LOOK_BACK_DAYS), today), now)


def _listing(row: Row) -> StockListing:
    code = row["code"]
    if locate(code).exchange != row["exchange"]:
        raise BadRow(code=code, field="exchange", value=row["exchange"], reason="交易所与代码不符")
    return listing(
        code=code,
        name=row["name"],
        area=row["area"],
        list_date=row["list_date"],
    )


def _metrics(row: Row) -> DailyMetrics:
    code = row["code"]
    locate(code)
    rates = {name: known(row[name]) for name in _RATES}
    values = {name: scaled(row[name], _PER_YI) for name in _VALUES}
    if not any((*rates.values(), *values.values())):
        raise BadRow(code=code, field="*", value=dict(row), reason="没有任何有效指标")
    return DailyMetrics(code=code, **rates, **values)


def _reported(row: Row) -> tuple[str, float | None, str | None]:
    code = row["code"]
    locate(code)
    return code, known(row["roe"]), listing(code=code, name=code, industry=row["industry"]).industry
