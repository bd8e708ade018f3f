"""One run at a time over all processes: start, force, cancel, and the status that all of them serve."""

import asyncio
import logging
import secrets
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final

from stocksync.aio import stop, uninterrupted
from stocksync.audit import ActionType, Actor, OperationLogService, log_operation
from stocksync.domain.status import COMPLETED, Job, SyncStats, Trigger, begin
from stocksync.domain.wire import MARKET_ZONE
from stocksync.errors import (
    NoRunInProgress,
    RunInProgress,
    RunNotFound,
    StoreUnavailable,
    UnknownSource,
)
from stocksync.ports import Clock, Fence, Journal, Source, Store
from stocksync.settings import Settings
from stocksync.sync.board import StatusBoard
from stocksync.sync.engine import SyncEngine
from stocksync.sync.execution import RunExecution
from stocksync.sync.follower import StoreFollower
from stocksync.sync.requests import RunRecords, RunRequest, Started
from stocksync.sync.rescue import GRACE_SHARE, LEASE_SHARE, close_dead_run
from stocksync.sync.resume import Resumption
from stocksync.sync.tracker import RunTracker

_RECENT_RUNS: Final = 10

_CLOSE_SECONDS: Final = 2.5
"""For ending a run when the process is to stop; what hangs on the database for longer is left to a rescue."""

_ITSELF: Final = Actor(username="stocksync")
"""Who starts what nobody asked for."""

_log = logging.getLogger(__name__)


class MultiSourceBasicsSyncService:
    """The service behind API and CLI. Open it once a process, close it before the store."""

    def __init__(
        self,
        *,
        store: Store,
        sources: dict[str, Source],
        audit: OperationLogService,
        clock: Clock,
        settings: Settings,
        resume: bool = False,
    ) -> None:
        """With `resume`, a run that was interrupted is followed by a new one of its job."""
        self.board = StatusBoard()
        self._store = store
        self._sources = sources
        self._audit = audit
        self._records = RunRecords(audit, store.runs)
        self._clock = clock
        self._settings = settings
        self._resumes = resume
        self._lease = timedelta(seconds=settings.rescue_seconds * LEASE_SHARE)
        self._grace = settings.rescue_seconds * GRACE_SHARE
        self._tasks: set[asyncio.Task[None]] = set()
        self._unstored: set[str] = set()
        self._closing = asyncio.Event()
        self._follower = StoreFollower(store.runs, self.board, clock, grace=self._grace)

    async def open(self) -> None:
        """Close the run of a dead owner, learn how both jobs stand, and keep following. Raises StoreError."""
        await close_dead_run(self._store.runs, self._clock, grace=self._grace)
        await self._refresh()
        self._follower.start()
        if self._resumes:
            resumption = Resumption(self._store.runs, self.board, self._clock, start=self._resume)
            self._keep(asyncio.create_task(resumption.keep_going()))

    async def aclose(self) -> None:
        """Cancel this process's run, store that, and stop following. Idempotent."""
        self._closing.set()
        await asyncio.sleep(0)  # a run that was begun just now takes its first step
        if not await stop(self._tasks, within=_CLOSE_SECONDS):
            _log.error("a run could not be ended in time; a rescue will close it")
        await self._follower.aclose()

    async def get_status(self, job: Job | None = None) -> SyncStats:
        """Tell how a job stands, from memory; without one, the newest of the two."""
        return self.board.get(job)

    async def run_full_sync(self, *, force: bool = False, preferred_sources: Sequence[str] = ()) -> SyncStats:
        """Start a run, wait for its end and tell how it went. Raises RunInProgress unless `force`."""
        request = RunRequest(
            force=force, preferred_sources=tuple(preferred_sources), trigger=Trigger.API, actor=Actor()
        )
        started = await self.start(request)
        if not started.accepted:
            raise RunInProgress("同步任务正在运行中")
        return await self.wait(started.stats, seconds=None)

    async def start(self, request: RunRequest) -> Started:
        """Start a run, or tell which one goes on; always recorded. Raises UnknownSource, StoreError."""
        asked = self._clock.monotonic()
        try:
            return Started(await self._begin(request), accepted=True)
        except RunInProgress as exc:
            await self._records.refused(request, exc, after_ms=self._since(asked))
            return Started(await self._refresh(), accepted=False)
        except UnknownSource as exc:
            await self._records.refused(request, exc, after_ms=self._since(asked))
            raise

    def new_run_id(self) -> str:
        """Make an id that no other run has: the market's time, so that people can read it, and chance."""
        return f"{self._clock.now().astimezone(MARKET_ZONE):%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"

    async def wait(self, run: SyncStats, *, seconds: float | None) -> SyncStats:
        """Wait at most so long for the end of a run of any process, and tell how it stands then.

        Raises StoreUnavailable where this process's own run has ended and that could not be stored.
        """

        def over() -> bool:
            shown = self.board.get(run.job)
            return shown.run_id != run.run_id or shown.final or run.run_id in self._unstored

        try:
            async with asyncio.timeout(seconds):
                await self.board.wait_for(over)
        except TimeoutError:
            pass
        shown = self.board.get(run.job)
        if run.run_id in self._unstored and not shown.final:
            raise StoreUnavailable("同步已结束，但数据库不可用，结果未能保存")
        return shown if shown.run_id == run.run_id else await self.get_run(run.run_id or "")

    async def get_run(self, run_id: str) -> SyncStats:
        """Tell about one run of any time. Raises RunNotFound, StoreError."""
        stats = await self._store.runs.get(run_id)
        if stats is None:
            raise RunNotFound(f"没有编号为 {run_id} 的同步任务")
        return stats

    async def cancel(self, actor: Actor, run_id: str | None = None) -> SyncStats:
        """Ask for the end of the run that goes on in any process; with `run_id`, of that one only.

        Raises NoRunInProgress, StoreError.
        """
        began = self._clock.monotonic()
        stats = await self._refresh()
        wanted = stats.running and run_id in (None, stats.run_id)
        asked = wanted and await self._store.runs.request_cancel(stats.run_id or "")
        error = None if asked else "当前没有正在运行的同步任务"
        await log_operation(
            self._audit,
            actor,
            action_type=ActionType.DATA_IMPORT,
            action="取消股票基础信息同步",
            details={"run_id": stats.run_id} if asked else {},
            error_message=error,
            duration_ms=self._since(began),
        )
        if error:
            raise NoRunInProgress(error)
        return stats

    @property
    def sources(self) -> dict[str, Source]:
        """The sources that are switched on, in order of trust."""
        return dict(self._sources)

    async def _begin(self, request: RunRequest) -> SyncStats:
        """Take the slot and let the run go. Raises RunInProgress, UnknownSource, StoreError."""
        if self._closing.is_set():
            raise StoreUnavailable("服务正在停止，不接受新的同步任务")
        sources = self._ordered(request)
        if not request.force:  # to acquire is to take a lease that ran out, and its owner may still live
            await close_dead_run(self._store.runs, self._clock, grace=self._grace)
        # Once the slot is taken somebody must run, or it would stay taken: no cancellation in between.
        tracker, cancelled = await uninterrupted(self._acquire(request))
        task = asyncio.create_task(self._execution(tracker, sources, request).carry_out())
        self._keep(task)
        task.add_done_callback(lambda _: self._check_stored(tracker.stats))
        if self._closing.is_set() or cancelled is not None:
            # After its first step: a task that is cancelled before would never run, and so never end the run.
            asyncio.get_running_loop().call_soon(task.cancel)
        if cancelled is not None:
            raise cancelled
        return tracker.stats

    async def _resume(self, job: Job) -> SyncStats:
        return await self._begin(RunRequest(job=job, trigger=Trigger.RESCUE, actor=_ITSELF))

    def _check_stored(self, run: SyncStats) -> None:
        """Release who waits for the end of a run that is over, and was not shown as ended."""
        shown = self.board.get(run.job)
        if shown.run_id == run.run_id and not shown.final:
            self._unstored.add(run.run_id or "")
            self.board.wake()

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _ordered(self, request: RunRequest) -> list[Source]:
        """The sources in this run's order: preferred ones first; a single-source job has only the first."""
        unknown = [name for name in request.preferred_sources if name not in self._sources]
        if unknown:
            usable = "、".join(self._sources)
            raise UnknownSource(f"未知或未启用的数据源：{'、'.join(unknown)}。可用的数据源：{usable}")
        names = list(dict.fromkeys((*request.preferred_sources, *self._sources)))
        sources = [self._sources[name] for name in names]
        return sources if request.job is Job.MULTI else sources[:1]

    async def _acquire(self, request: RunRequest) -> RunTracker:
        run_id = request.run_id or self.new_run_id()
        stats = begin(job=request.job, run_id=run_id, trigger=request.trigger, started_at=self._clock.now())
        typical_ms = await self._typical_ms(request.job)
        fence = await self._store.runs.acquire(
            stats, owner=secrets.token_hex(8), ttl=self._lease, force=request.force
        )
        stats = replace(stats, revision=fence.first_revision)
        self.board.publish(stats)
        return RunTracker(
            stats, fence, persist=self._persist_status, clock=self._clock, typical_ms=typical_ms
        )

    async def _typical_ms(self, job: Job) -> int | None:
        """What the last good run of this job took, milliseconds."""
        recent = await self._store.runs.history(limit=_RECENT_RUNS)
        good = (run for run in recent if run.job is job and run.status in COMPLETED)
        return next((run.progress.elapsed_ms for run in good), None)

    def _execution(self, tracker: RunTracker, sources: Sequence[Source], request: RunRequest) -> RunExecution:
        return RunExecution(
            engine=SyncEngine(sources, self._store, self._clock, self._settings, tracker),
            track=tracker,
            runs=self._store.runs,
            board=self.board,
            clock=self._clock,
            keep=timedelta(days=self._settings.keep_runs_days),
            closing=self._closing,
            prepare=lambda: self._records.accepted(request, tracker.fence.run_id),
        )

    async def _persist_status(self, fence: Fence, stats: SyncStats, journal: Journal) -> bool:
        """Store one step of a run, then show it: what a reader sees has happened for everybody."""
        cancel_requested = await self._store.runs.advance(fence, stats, journal, ttl=self._lease)
        self.board.publish(stats)
        return cancel_requested

    async def _refresh(self) -> SyncStats:
        """Read how both jobs stand from the store, and give the newest."""
        for job in Job:
            stats = await self._store.runs.latest(job)
            if stats is not None:
                self.board.publish(stats)
        return self.board.get()

    def _since(self, began: float) -> int:
        """Milliseconds since the clock's `began`."""
        return round((self._clock.monotonic() - began) * 1000)
