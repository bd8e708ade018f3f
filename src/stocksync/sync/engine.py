"""The story of one run: fetch, merge, write, reconcile, conclude."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from stocksync.aio import cooperative, uninterrupted
from stocksync.domain.calendar import compact
from stocksync.domain.codes import Exchange
from stocksync.domain.merge import ListAnswer, Listed, Market, merge, renumbered, unite
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
        market = await self._fetch()
        self.track.enter(Phase.MERGE)
        listed = unite(market.lists)
        self.track.enter(Phase.WRITE)
        await self._write(listed, market)
        self.track.enter(Phase.RECONCILE)
        await self._reconcile(listed)
        return self._conclude(listed, market)

    async def _fetch(self) -> Market:
        """Ask for everything at once; only the daily data must wait for the day that it is asked for."""
        fetch = Fetch(self.sources, self.store, self.clock, self.settings, self.track)
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

    async def _write(self, listed: Listed, market: Market) -> None:
        """Write batch after batch; while the database is busy with one, the next one is prepared."""
        await self.track.offer()
        room = asyncio.Semaphore(WRITERS)
        try:
            async with asyncio.TaskGroup() as writers:
                async for source, batch in self._batches(listed, market):
                    await room.acquire()
                    writer = writers.create_task(self._write_batch(source, batch))
                    writer.add_done_callback(lambda _: room.release())
        except ExceptionGroup as group:
            raise group.exceptions[0] from group

    async def _write_batch(self, source: str, batch: Sequence[StockBasic]) -> None:
        count, cancelled = await uninterrupted(self.store.stocks.upsert(batch, self.track.fence))
        self.track.written(source, count)
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
