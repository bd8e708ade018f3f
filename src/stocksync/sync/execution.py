"""One run from its first step to its last: whatever happens to it, how it ended is stored and true."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from stocksync.aio import uninterrupted
from stocksync.domain.status import COMPLETED, Reason, SyncStats, broken_invariants, fail, recount
from stocksync.errors import LeaseLost, RunFailed, StoreError, StoreUnavailable
from stocksync.ports import Clock, Journal, RunStore
from stocksync.sync.board import StatusBoard
from stocksync.sync.engine import SyncEngine
from stocksync.sync.tracker import PATIENCE_SECONDS, TICK_SECONDS, RunTracker

_HURRY_SECONDS: Final = 2.0
"""What is left for storing the end of a run once the process is to stop."""

_UNCERTAIN: Final = frozenset({Reason.STORE_UNAVAILABLE, Reason.CANCELLED})
"""A batch may have landed whose answer was lost."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RunExecution:
    """An acquired run. `prepare` is done first, as a part of the run: its failure is the run's."""

    engine: SyncEngine
    track: RunTracker
    runs: RunStore
    board: StatusBoard
    clock: Clock
    keep: timedelta
    closing: asyncio.Event
    prepare: Callable[[], Awaitable[None]]

    async def carry_out(self) -> None:
        """Run, and store how it ended, even if cancelled meanwhile. No error escapes from here: an edge."""
        ended = await self._ended()
        if ended is not None:
            await uninterrupted(self._finish(self._truthful(ended)))

    async def _ended(self) -> SyncStats | None:
        """How the run ended; None where it is not this process's any more."""
        try:
            return await self._outcome() or self._failed(Reason.CANCELLED, "同步任务已被取消")
        except LeaseLost:
            await uninterrupted(self._give_way())
            return None
        except asyncio.CancelledError:
            return self._failed(Reason.CANCELLED, "服务停止，同步任务已取消")
        except RunFailed as exc:
            return self._failed(Reason(exc.reason), str(exc))
        except StoreUnavailable as exc:
            return self._failed(Reason.STORE_UNAVAILABLE, f"数据库不可用，同步任务中止：{exc}")
        except StoreError as exc:
            return self._failed(Reason.ERROR, str(exc))
        except Exception as exc:
            _log.exception("run %s broke", self.track.fence.run_id)
            return self._failed(Reason.ERROR, f"内部错误（{type(exc).__name__}），详见服务日志")

    async def _outcome(self) -> SyncStats | None:
        """Run the engine beside its heartbeat; None where somebody asked to cancel."""
        work = asyncio.create_task(self._work())
        pulse = asyncio.create_task(self.track.tick())
        try:
            await asyncio.wait({work, pulse}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return work.result()
            pulse.result()
            return None
        finally:
            await self._wind_down(work, pulse)

    async def _work(self) -> SyncStats:
        await self.prepare()
        return await self.engine.run()

    async def _wind_down(self, work: asyncio.Task[SyncStats], pulse: asyncio.Task[None]) -> None:
        """End both; a batch that is under way is waited for, and until then the heart must go on beating."""
        if pulse.done():
            pulse = asyncio.create_task(self.track.beat())
        for task in (work, pulse):
            task.cancel()
            await asyncio.wait({task})
        await asyncio.gather(work, pulse, return_exceptions=True)

    def _failed(self, reason: Reason, message: str) -> SyncStats:
        return fail(self.track.stats, at=self.clock.now(), reason=reason, message=message)

    def _truthful(self, ended: SyncStats) -> SyncStats:
        """Refuse to call a run good whose numbers contradict each other: that is a bug, and it is said."""
        broken = broken_invariants(ended)
        if not broken or ended.status not in COMPLETED:
            return ended
        _log.error("run %s breaks its invariants: %s", ended.run_id, broken)
        return self._failed(Reason.ERROR, "内部错误：同步计数自相矛盾")

    async def _finish(self, ended: SyncStats) -> None:
        level = "info" if ended.reason is None else "error"
        self.track.log("run_finished", ended.message or "", level=level, status=ended.status)
        stats, journal = self.track.last_step(ended)
        try:
            stats = await self._stored(stats, journal)
        except LeaseLost:
            await self._give_way()
        except TimeoutError:
            # Nothing is shown that is not stored: whoever closes the run might tell another end of it.
            _log.error("gave up on storing the end of run %s; a rescue will close it", stats.run_id)
        else:
            self.board.publish(stats)
            await self._prune()

    async def _stored(self, stats: SyncStats, journal: Journal) -> SyncStats:
        """Store how the run ended, and give it. Raises LeaseLost, TimeoutError."""
        async with asyncio.timeout(PATIENCE_SECONDS) as limit:
            hurry = asyncio.create_task(self._hurry(limit))
            try:
                return await self._store_persistently(stats, journal)
            finally:
                hurry.cancel()

    async def _hurry(self, limit: asyncio.Timeout) -> None:
        await self.closing.wait()
        soon = asyncio.get_running_loop().time() + _HURRY_SECONDS
        if not limit.expired():
            limit.reschedule(min(soon, limit.when() or soon))

    async def _store_persistently(self, stats: SyncStats, journal: Journal) -> SyncStats:
        """Try as often as a step would come: whoever finds the lease overdue waits for longer than that."""
        is_told = False
        while True:
            try:
                counted = await self._recounted(stats)
                return await self.runs.finish(self.track.fence, counted, journal)
            except StoreError as exc:
                if not is_told:
                    _log.warning("the end of run %s cannot be stored yet: %s", stats.run_id, exc)
                is_told = True
                await self.clock.sleep(TICK_SECONDS)

    async def _recounted(self, stats: SyncStats) -> SyncStats:
        """Count a run whose last batch is uncertain by what the rows say."""
        if stats.reason not in _UNCERTAIN:
            return stats
        return recount(stats, await self.engine.store.stocks.marks(stats.run_id or ""))

    async def _prune(self) -> None:
        """Let old runs go; if that fails now, the next run does it."""
        if self.closing.is_set():
            return
        try:
            await self.runs.prune(self.clock.now() - self.keep)
        except StoreError as exc:
            _log.warning("old runs could not be deleted: %s", exc)

    async def _give_way(self) -> None:
        """Somebody took over, and closes this run: leave nothing behind, and see how it stands."""
        run_id = self.track.fence.run_id
        _log.warning("run %s was taken over", run_id)
        try:
            await self.engine.store.stocks.retract(self.track.fence)
            stats = await self.runs.latest(self.track.stats.job)
        except StoreError as exc:
            _log.warning("run %s could not be looked up: %s", run_id, exc)
            return
        if stats is not None:
            self.board.publish(stats)
