"""The story of one run: fetch, merge, write, reconcile, conclude."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from typing import Final

from stocksync.aio import cooperative, uninterrupted
from stocksync.domain.calendar import (
    LOOK_BACK_DAYS,
    builtin_open_days,
    compact,
    covers,
    days_with_final_figures,
    latest_report_period,
    market_day,
)
from stocksync.domain.merge import (
    DailyAnswer,
    ListAnswer,
    Listed,
    Market,
    RoeAnswer,
    merge,
    renumbered,
    unite,
)
from stocksync.domain.status import Outcome, Phase, Reason, SyncStats, complete, fail
from stocksync.domain.stock import Dataset, StockBasic
from stocksync.domain.wire import MARKET_ZONE
from stocksync.errors import RunFailed, SourceEmpty, SourceError, SourceIncomplete
from stocksync.ports import Clock, Source, Store
from stocksync.settings import Settings
from stocksync.sync.fallback import Panel, judge_daily, judge_list
from stocksync.sync.tracker import RunTracker

BATCH: Final = 500
"""Rows a write: some milliseconds, so that cancelling is quick and progress moves."""

MOST_DAYS_BACK: Final = 5
"""Open days tried before the newest one counts as unpublished for good."""

_BUILTIN: Final = "builtin"


@dataclass(frozen=True, slots=True)
class SyncEngine:
    """Everything that one run works with. `sources` are in the order in which this run asks them."""

    sources: Sequence[Source]
    store: Store
    clock: Clock
    settings: Settings
    track: RunTracker

    async def run(self) -> SyncStats:
        """Carry the run out and tell how it ended. Raises RunFailed, StoreError, LeaseLost."""
        market = await self._fetch()
        self.track.enter(Phase.MERGE)
        listed = unite(market.lists)
        self.track.enter(Phase.WRITE)
        await self._write(listed, market)
        self.track.enter(Phase.RECONCILE)
        await self._reconcile(listed)
        return self._conclude(market)

    async def _fetch(self) -> Market:
        """Ask for everything at once; only the daily data must wait for the day that it is asked for."""
        self.track.enter(Phase.STOCK_LIST)
        try:
            async with asyncio.TaskGroup() as tasks:
                listing = tasks.create_task(self._stock_list())
                days = tasks.create_task(self._trade_days())
                daily = tasks.create_task(self._daily_data(days, listing))
                roe = tasks.create_task(self._roe())
                await listing
                self.track.enter(Phase.TRADE_DATE)
                await days
                self.track.enter(Phase.DAILY_DATA)
        except ExceptionGroup as group:
            raise group.exceptions[0] from group
        dailies = [answer for answer in (daily.result(),) if answer is not None]
        return Market(lists=[listing.result()], dailies=dailies, roe=roe.result())

    async def _stock_list(self) -> ListAnswer:
        async def judge(source: Source, answer: ListAnswer) -> None:
            last = await self.store.runs.last_listing_count(source.name)
            at_least = None if last is None else round(last * (1 - self.settings.max_shrink))
            judge_list(source, answer, minimum=self.settings.min_stocks, at_least=at_least)

        answer = await self._panel().first(Dataset.STOCK_LIST, lambda source: source.stock_list(), judge)
        if answer is None:
            raise RunFailed(
                f"股票列表获取失败，未写入任何数据。{self._what_failed(Dataset.STOCK_LIST)}",
                reason=Reason.ALL_SOURCES_FAILED,
            )
        self.track.listed(unite([answer]))
        return answer

    async def _trade_days(self) -> Sequence[date]:
        """The open days with final figures, newest first: a source's, the kept or the built-in calendar's."""
        now = self._market_now()
        today = market_day(now)
        start = today - timedelta(days=LOOK_BACK_DAYS)

        async def judge(_source: Source, answer: Sequence[date]) -> None:
            await self.store.calendar.keep(start, max(answer), answer)

        answer = await self._panel().first(
            Dataset.TRADE_DATE, lambda source: source.open_days(start, today), judge
        )
        if answer is None:
            answer = await self._calendar_without_sources(start, today)
        return days_with_final_figures(answer, now)

    async def _calendar_without_sources(self, start: date, today: date) -> Sequence[date]:
        kept = await self.store.calendar.open_days(start, today)
        if covers(kept, today):
            # What was kept may end before today; the table says which days came after it.
            newer = builtin_open_days(kept[-1] + timedelta(days=1), today)
            self.track.used(Dataset.TRADE_DATE, "store")
            return [*kept, *newer]
        self.track.used(Dataset.TRADE_DATE, _BUILTIN)
        return builtin_open_days(start, today)

    async def _daily_data(
        self, days: asyncio.Task[Sequence[date]], listing: asyncio.Task[ListAnswer]
    ) -> DailyAnswer | None:
        candidates = (await days)[:MOST_DAYS_BACK]
        for source in self.sources:
            answer = await self._published(source, candidates, listing)
            if answer is not None:
                return answer
        return None

    async def _published(
        self, source: Source, days: Sequence[date], listing: asyncio.Task[ListAnswer]
    ) -> DailyAnswer | None:
        """Walk back from the newest day to the last one that the source has published whole.

        The newest day may be missing or half there, because it is published in the evening; an older one
        that is incomplete will not get better.
        """

        async def judge(source: Source, answer: DailyAnswer) -> None:
            listed = frozenset(item.code for item in (await listing).listings)
            judge_daily(source, answer, listed=listed, coverage=self.settings.min_coverage)

        for n, day in enumerate(days):

            async def ask(source: Source, day: date = day) -> DailyAnswer:
                return await source.daily_data(day)

            try:
                return await self._panel().question(Dataset.DAILY_DATA, source, ask, judge)
            except SourceEmpty:
                continue
            except SourceIncomplete:
                if n:
                    return None
            except SourceError:
                return None
        return None

    async def _roe(self) -> RoeAnswer | None:
        """Return on equity is welcome where somebody has it, and never decides how a run ends."""

        async def accept(_source: Source, _answer: RoeAnswer) -> None:
            pass

        period = latest_report_period(market_day(self._market_now()))
        return await self._panel().first(Dataset.ROE, lambda source: source.roe(period), accept)

    def _panel(self) -> Panel:
        return Panel(self.sources, self.clock, self.settings.dataset_timeout, self.track.attempted)

    async def _write(self, listed: Listed, market: Market) -> None:
        await self.track.step()
        async for source, batch in self._batches(listed, market):
            count, cancelled = await uninterrupted(self.store.stocks.upsert(batch, self.track.fence))
            self.track.written(source, count)
            if cancelled is not None:
                raise cancelled
            await self.track.step()

    async def _batches(
        self, listed: Listed, market: Market
    ) -> AsyncIterator[tuple[str, Sequence[StockBasic]]]:
        """Merge as the rows are needed: a batch has one source, so that its count has one too."""
        pending: dict[str, list[StockBasic]] = {}
        async for stock in cooperative(merge(listed, market)):
            batch = pending.setdefault(stock.source, [])
            batch.append(stock)
            if len(batch) == BATCH:
                yield stock.source, pending.pop(stock.source)
        for source, batch in pending.items():
            yield source, batch

    async def _reconcile(self, listed: Listed) -> None:
        """Retire what a complete list no longer names: renumbered stocks leave no ghost, gone ones a mark."""
        for source, exchanges in listed.exchanges.items():
            absent = await self.store.stocks.absent(source, exchanges, listed.codes(source))
            moves = renumbered(absent, listed)
            gone = [ref.code for ref in absent if ref.code not in moves]
            if not absent:
                continue
            await self.store.stocks.retire(source, gone=gone, renumbered=list(moves), fence=self.track.fence)
            self.track.log(
                "stocks_retired",
                f"{source} 不再列出 {len(gone)} 只股票，{len(moves)} 只已更换代码",
                source=source,
                gone=gone,
                renumbered=moves,
            )

    def _conclude(self, market: Market) -> SyncStats:
        now, stats = self.clock.now(), self.track.stats
        counts = (
            f"共 {stats.total} 只：新增 {stats.inserted}，更新 {stats.updated}（{stats.unchanged} 只无变化）"
        )
        if stats.errors:
            counts += f"，失败 {stats.errors}"
        if not market.dailies:
            message = f"每日指标获取失败，仅更新了股票列表，已有指标保持不变。{counts}。"
            message += self._what_failed(Dataset.DAILY_DATA)
            return fail(stats, at=now, reason=Reason.INCOMPLETE_DATA, message=message)
        day = compact(market.dailies[0].day)
        return complete(
            replace(stats, last_trade_date=day), at=now, message=f"同步完成，{counts}，交易日 {day}"
        )

    def _what_failed(self, dataset: Dataset) -> str:
        """Name every source that was asked and why it failed."""
        reasons = [
            f"{attempt.source}：{attempt.error}"
            for attempt in self.track.stats.attempts
            if attempt.dataset is dataset and attempt.outcome is not Outcome.OK
        ]
        return "；".join(reasons)

    def _market_now(self) -> datetime:
        """The moment whose figures are wanted: now, or the evening of STOCKSYNC_AS_OF for a replay."""
        as_of = self.settings.as_of
        return self.clock.now() if as_of is None else datetime.combine(as_of, time.max, MARKET_ZONE)
