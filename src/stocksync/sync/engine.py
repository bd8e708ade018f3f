"""The story of one run: fetch, merge, write, reconcile, conclude."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from stocksync.aio import cooperative, uninterrupted
from stocksync.domain.calendar import compact
from stocksync.domain.changes import Departures, Newcomers, departures, newcomers
from stocksync.domain.codes import Exchange
from stocksync.domain.merge import ListAnswer, Listed, Market, merge, unite
from stocksync.domain.status import Outcome, Phase, Reason, SyncStats, complete, fail
from stocksync.domain.stock import Dataset, StockBasic
from stocksync.errors import RunFailed
from stocksync.ports import Clock, Source, Store
from stocksync.settings import Settings
from stocksync.sync.fallback import exchange_names
from stocksync.sync.fetch import Fetch
from stocksync.sync.tracker import RunTracker

BATCH: Final = 500
"""Rows a write: some milliseconds, so that cancelling is quick and progress moves."""

WRITERS: Final = 2
"""Batches under way at once: one is compared with what is stored while the other is being written."""


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
        await self.store.stocks.ensure_writable()
        fetch = Fetch(self.sources, self.store, self.clock, self.settings, self.track)
        market = await self._fetch(fetch)
        self.track.enter(Phase.MERGE)
        listed = unite(market.lists)
        leaving = await self._leaving(listed)
        self.track.enter(Phase.WRITE)
        await self._write(listed, market, newcomers(listed, fetch.stored, leaving))
        self.track.enter(Phase.RECONCILE)
        await self._reconcile(listed, leaving)
        return self._conclude(listed, market)

    async def _fetch(self, fetch: Fetch) -> Market:
        """Ask for everything at once; only the daily data must wait for the day that it is asked for."""
        self.track.enter(Phase.STOCK_LIST)
        try:
            async with asyncio.TaskGroup() as tasks:
                lists = tasks.create_task(self._lists(fetch))
                days = tasks.create_task(fetch.trade_days())
                dailies = tasks.create_task(fetch.dailies(days, lists))
                roe = tasks.create_task(fetch.roe())
                await lists
                self.track.enter(Phase.TRADE_DATE)
                await days
                self.track.enter(Phase.DAILY_DATA)
        except ExceptionGroup as group:
            raise group.exceptions[0] from group
        return Market(lists=lists.result(), dailies=dailies.result(), roe=roe.result())

    async def _lists(self, fetch: Fetch) -> Sequence[ListAnswer]:
        lists = await fetch.stock_lists()
        if not lists:
            message = f"股票列表获取失败，未写入任何数据。{self._what_failed(Dataset.STOCK_LIST)}"
            raise RunFailed(message, reason=Reason.ALL_SOURCES_FAILED)
        return lists

    async def _leaving(self, listed: Listed) -> Sequence[Departures]:
        """What the complete lists no longer name; known before the write, which must not call it new."""
        found = [
            departures(
                source, await self.store.stocks.absent(source, exchanges, listed.codes(source)), listed
            )
            for source, exchanges in listed.exchanges.items()
        ]
        return [each for each in found if each.gone or each.moves]

    async def _write(self, listed: Listed, market: Market, fresh: Newcomers) -> None:
        """Write batch after batch; while the database is busy with one, the next one is prepared."""
        await self.track.offer()
        room = asyncio.Semaphore(WRITERS)
        try:
            async with asyncio.TaskGroup() as writers:
                async for source, batch in self._batches(listed, market):
                    await room.acquire()
                    writer = writers.create_task(self._write_batch(source, batch, fresh))
                    writer.add_done_callback(lambda _: room.release())
        except ExceptionGroup as group:
            raise group.exceptions[0] from group

    async def _write_batch(self, source: str, batch: Sequence[StockBasic], fresh: Newcomers) -> None:
        count, cancelled = await uninterrupted(self.store.stocks.upsert(batch, self.track.fence))
        self.track.written(source, count)
        self.track.changed(fresh.true_changes(count.changes))
        if cancelled is not None:
            raise cancelled
        await self.track.offer()

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

    async def _reconcile(self, listed: Listed, leaving: Sequence[Departures]) -> None:
        """Retire what a complete list no longer names: renumbered stocks leave no ghost, gone ones a mark."""
        for each in leaving:
            gone = [ref.code for ref in each.gone]
            await self.store.stocks.retire(
                each.source, gone=gone, renumbered=list(each.moves), fence=self.track.fence
            )
            self.track.changed(each.changes(listed))
            self.track.log(
                "stocks_retired",
                f"{each.source} 不再列出 {len(gone)} 只股票，{len(each.moves)} 只已更换代码",
                source=each.source,
                gone=gone,
                renumbered=each.moves,
            )

    def _conclude(self, listed: Listed, market: Market) -> SyncStats:
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
        stats = replace(stats, last_trade_date=day)
        unlisted = self._promised(market) - frozenset().union(*listed.exchanges.values())
        if unlisted:
            message = f"{exchange_names(unlisted)}的名单缺失，其已有数据保持不变。{counts}。"
            message += self._what_failed(Dataset.STOCK_LIST)
            return fail(stats, at=now, reason=Reason.INCOMPLETE_DATA, message=message)
        return complete(stats, at=now, message=f"同步完成，{counts}，交易日 {day}")

    def _promised(self, market: Market) -> frozenset[Exchange]:
        """The exchanges for which the winner of the list declares to have one."""
        winner = market.lists[0].source
        return next(source.exchanges for source in self.sources if source.name == winner)

    def _what_failed(self, dataset: Dataset) -> str:
        """Name every source that was asked and why it failed."""
        reasons = [
            f"{attempt.source}：{attempt.error}"
            for attempt in self.track.stats.attempts
            if attempt.dataset is dataset and attempt.outcome is not Outcome.OK
        ]
        return "；".join(reasons)
