"""How one run stands while it goes on: counters, log lines, and the steps that publish them."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from stocksync.aio import uninterrupted
from stocksync.domain.changes import Change
from stocksync.domain.journal import RunEvent
from stocksync.domain.merge import Listed
from stocksync.domain.status import (
    PHASES,
    REJECTS_SAMPLE,
    Attempt,
    Outcome,
    Phase,
    Progress,
    Reject,
    SourceCount,
    SyncStats,
)
from stocksync.domain.stock import Dataset
from stocksync.errors import StoreError, StoreUnavailable
from stocksync.ports import Clock, Fence, Journal, UpsertCount

TICK_SECONDS: Final = 0.15
"""A step at least this often, so that a reader sees a run move every 200 ms."""

PATIENCE_SECONDS: Final = 60.0
"""How long a run puts up with a database that is out of reach, before it is given up."""

Persist = Callable[[Fence, SyncStats, Journal], Coroutine[Any, Any, bool]]
"""Stores and shows one step; tells whether somebody asked to cancel. Raises LeaseLost, StoreError."""


class RunTracker:
    """The one place that changes the status of a running run. Each step has its own, larger revision."""

    def __init__(
        self, stats: SyncStats, fence: Fence, *, persist: Persist, clock: Clock, typical_ms: int | None
    ) -> None:
        """`typical_ms` is what the last good run took: the estimate until rows are being written."""
        self.stats = stats
        self.fence = fence
        self.cancel_requested = False
        self._persist = persist
        self._clock = clock
        self._typical_ms = typical_ms
        self._began = clock.monotonic()
        self._write_began: float | None = None
        self._step = stats.revision - fence.revision(0)
        self._events: list[RunEvent] = []
        self._rejects: list[Reject] = []
        self._changes: list[Change] = []
        self._first_event = 0
        self._first_reject = 0
        self._first_change = 0
        self._turn = asyncio.Lock()

    def log(self, event: str, message: str, *, level: str = "info", **data: Any) -> None:
        """Add a line to the run's log; it is stored with the next step."""
        self._events.append(
            RunEvent(at=self._clock.now(), event=event, message=message, level=level, data=data)
        )

    def enter(self, phase: Phase) -> None:
        """Go on to a phase."""
        if self.stats.phase is None or PHASES.index(phase) > PHASES.index(self.stats.phase):
            self.stats = replace(self.stats, phase=phase)
            self.log("phase_entered", f"进入阶段 {phase}", phase=phase)
        if phase is Phase.WRITE:
            self._write_began = self._clock.monotonic()

    def attempted(self, attempt: Attempt) -> None:
        """Note how a question to a source ended."""
        self.stats = replace(self.stats, attempts=(*self.stats.attempts, attempt))
        if attempt.outcome is Outcome.OK:
            self.used(attempt.dataset, attempt.source)
        self.log(
            "source_answered" if attempt.error is None else "source_failed",
            attempt.error or f"{attempt.source} 返回 {attempt.dataset} {attempt.rows} 行",
            level="info" if attempt.error is None else "warning",
            dataset=attempt.dataset,
            source=attempt.source,
            outcome=attempt.outcome,
            rows=attempt.rows,
            dropped=attempt.dropped,
            duration_ms=attempt.duration_ms,
        )

    def used(self, dataset: Dataset, source: str) -> None:
        """Note that the run rests on this source for this dataset."""
        label = f"{dataset}:{source}"
        if label not in self.stats.data_sources_used:
            labels = (*self.stats.data_sources_used, label)
            order = list(Dataset)  # datasets are fetched side by side; the labels come in the order of use
            labels = tuple(sorted(labels, key=lambda each: order.index(Dataset(each.partition(":")[0]))))
            self.stats = replace(self.stats, data_sources_used=labels)

    def listed(self, listed: Listed) -> None:
        """The list is known, and with it the total, who supplied each stock, and which rows are lost."""
        self.stats = replace(
            self.stats, total=listed.total, source_stats=listed.counts(), errors=len(listed.rejects)
        )
        self._reject([reject for _, reject in listed.rejects])

    def written(self, source: str, count: UpsertCount) -> None:
        """Count a batch, row by row."""
        before = self.stats.source_stats[source]
        stored = count.inserted + count.changed + count.unchanged
        self.stats = replace(
            self.stats,
            inserted=self.stats.inserted + count.inserted,
            updated=self.stats.updated + count.changed + count.unchanged,
            unchanged=self.stats.unchanged + count.unchanged,
            errors=self.stats.errors + len(count.rejects),
            source_stats={
                **self.stats.source_stats,
                source: SourceCount(total=before.total, success=before.success + stored),
            },
        )
        self._reject(count.rejects)

    def changed(self, changes: Iterable[Change]) -> None:
        """Note what happened in the market; it is stored with the next step."""
        self._changes.extend(changes)

    def _reject(self, rejects: Iterable[Reject]) -> None:
        self._rejects.extend(rejects)
        sample = (*self.stats.rejects_sample, *rejects)[:REJECTS_SAMPLE]
        self.stats = replace(self.stats, rejects_sample=sample)

    async def step(self) -> None:
        """Publish how the run stands now, as the next revision. Raises LeaseLost, StoreError."""
        async with self._turn:
            stats = self._next(self.stats)
            journal = self._take_journal()
            try:
                asked, cancelled = await uninterrupted(self._persist(self.fence, stats, journal))
            except (StoreError, asyncio.CancelledError):  # a cancellation hides the failure behind it
                self._put_back(journal)
                raise
            self.cancel_requested |= asked
            if cancelled is not None:
                raise cancelled

    async def offer(self) -> None:
        """Take a step if the store takes it now; how long an outage may last is the heartbeat's business.

        Raises LeaseLost, StoreInvalid.
        """
        with suppress(StoreUnavailable):
            await self.step()

    async def beat(self) -> None:
        """Keep the lease alive, and nothing else, until cancelled. Raises LeaseLost, StoreInvalid."""
        while True:
            await self._clock.sleep(TICK_SECONDS)
            await self.offer()

    async def tick(self) -> None:
        """Take a step every TICK_SECONDS until somebody asks to cancel. Raises LeaseLost, StoreInvalid.

        Raises StoreUnavailable only after PATIENCE_SECONDS of it: a lease that ran out meanwhile is still
        this run's until somebody takes over.
        """
        last_good = self._clock.monotonic()
        while not self.cancel_requested:
            await self._clock.sleep(TICK_SECONDS)
            try:
                await self.step()
            except StoreUnavailable:
                if self._clock.monotonic() - last_good > PATIENCE_SECONDS:
                    raise
            else:
                last_good = self._clock.monotonic()

    def last_step(self, stats: SyncStats) -> tuple[SyncStats, Journal]:
        """Give how the run ended its place in the sequence, and what is left to say."""
        self._step += 1
        progress = replace(self._progress(), eta_seconds=None)
        return replace(
            stats, revision=self.fence.revision(self._step), progress=progress
        ), self._take_journal()

    def _take_journal(self) -> Journal:
        journal = Journal(
            events=tuple(self._events),
            rejects=tuple(self._rejects),
            changes=tuple(self._changes),
            first_event=self._first_event,
            first_reject=self._first_reject,
            first_change=self._first_change,
        )
        self._first_event += len(self._events)
        self._first_reject += len(self._rejects)
        self._first_change += len(self._changes)
        self._events.clear()
        self._rejects.clear()
        self._changes.clear()
        return journal

    def _put_back(self, journal: Journal) -> None:
        """Say it again with the next step, in the same places: it may have been stored after all."""
        self._events[:0], self._rejects[:0] = journal.events, journal.rejects
        self._changes[:0] = journal.changes
        self._first_event, self._first_reject = journal.first_event, journal.first_reject
        self._first_change = journal.first_change

    def _next(self, stats: SyncStats) -> SyncStats:
        self._step += 1
        return replace(stats, revision=self.fence.revision(self._step), progress=self._progress())

    def _progress(self) -> Progress:
        now = self._clock.monotonic()
        elapsed_ms = round((now - self._began) * 1000)
        done, total = self.stats.processed, self.stats.total
        rate = None
        if self._write_began is not None and now > self._write_began and done:
            rate = round(done / (now - self._write_began), 1)
        return Progress(
            percent=round(100 * done / total, 1) if total else None,
            rate_per_s=rate,
            eta_seconds=self._eta(elapsed_ms, rate, total - done),
            elapsed_ms=elapsed_ms,
        )

    def _eta(self, elapsed_ms: int, rate: float | None, left: int) -> float | None:
        if rate:
            return round(left / rate, 1)
        if self._typical_ms is None or elapsed_ms >= self._typical_ms:
            return None
        return round((self._typical_ms - elapsed_ms) / 1000, 1)
