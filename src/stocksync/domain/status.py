"""How a sync stands: SyncStats, its legal steps and the invariants that people put money on."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

from stocksync.domain.stock import Dataset

REJECTS_SAMPLE: Final = 20
"""How many rejected rows a status carries; the run keeps them all."""

STEPS_PER_TOKEN: Final = 1_000_000
"""revision = lease token × STEPS_PER_TOKEN + step: one increasing sequence per store."""


class Job(StrEnum):
    """What can be run. Both write the same stocks, so they share one slot."""

    MULTI = "stock_basics_multi_source"
    SINGLE = "stock_basics"


class SyncStatus(StrEnum):
    """The six words of the wire; there are no others."""

    IDLE = "idle"
    NEVER_RUN = "never_run"
    RUNNING = "running"
    SUCCESS = "success"
    SUCCESS_WITH_ERRORS = "success_with_errors"
    FAILED = "failed"


COMPLETED: Final = frozenset({SyncStatus.SUCCESS, SyncStatus.SUCCESS_WITH_ERRORS})
FINAL: Final = COMPLETED | {SyncStatus.FAILED}


class Reason(StrEnum):
    """Why a run failed."""

    ERROR = "error"
    ALL_SOURCES_FAILED = "all_sources_failed"
    INCOMPLETE_DATA = "incomplete_data"
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"
    INTERRUPTED = "interrupted"
    STORE_UNAVAILABLE = "store_unavailable"


class Trigger(StrEnum):
    """Who asked for the run."""

    API = "api"
    CLI = "cli"
    SCHEDULE = "schedule"
    STARTUP = "startup"
    RESCUE = "rescue"


class Phase(StrEnum):
    """Where a run is, in this order."""

    STARTING = "starting"
    STOCK_LIST = "stock_list"
    TRADE_DATE = "trade_date"
    DAILY_DATA = "daily_data"
    MERGE = "merge"
    WRITE = "write"
    RECONCILE = "reconcile"
    DONE = "done"


PHASES: Final = tuple(Phase)


class Outcome(StrEnum):
    """How one question to one source ended."""

    OK = "ok"
    EMPTY = "empty"
    INCOMPLETE = "incomplete"
    NOT_FINAL = "not_final"
    DENIED = "denied"
    RATE_LIMITED = "rate_limited"
    BANNED = "banned"
    TIMEOUT = "timeout"
    ERROR = "error"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One question to one source. `rows` are usable, `dropped` out of scope; `error` is for people."""

    dataset: Dataset
    source: str
    outcome: Outcome
    rows: int = 0
    dropped: int = 0
    duration_ms: int
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reject:
    """A row that could not be stored, and why."""

    code: str
    field: str
    value: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceCount:
    """How many stocks a source listed, and how many of them are stored."""

    total: int = 0
    success: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far and how fast; None where unknown. Frozen when the revision is made."""

    percent: float | None = None
    rate_per_s: float | None = None
    eta_seconds: float | None = None
    elapsed_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncStats:
    """The status object: one frozen snapshot per revision. Wire form: domain.wire."""

    job: Job
    status: SyncStatus
    run_id: str | None = None
    revision: int = 0
    reason: Reason | None = None
    trigger: Trigger | None = None
    phase: Phase | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    stale_since: datetime | None = None
    total: int = 0
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    errors: int = 0
    last_trade_date: str | None = None
    data_sources_used: tuple[str, ...] = ()
    source_stats: Mapping[str, SourceCount] = field(default_factory=dict)
    message: str | None = None
    progress: Progress = Progress()
    attempts: tuple[Attempt, ...] = ()
    rejects_sample: tuple[Reject, ...] = ()

    @property
    def running(self) -> bool:
        """Whether the run still goes on."""
        return self.status is SyncStatus.RUNNING

    @property
    def final(self) -> bool:
        """Whether the run has ended, one way or another."""
        return self.status in FINAL

    @property
    def processed(self) -> int:
        """Rows whose fate is known: stored, found up to date, or rejected."""
        return self.inserted + self.updated + self.errors


def never_ran(job: Job) -> SyncStats:
    """Tell how a job stands before its first run."""
    status = SyncStatus.NEVER_RUN if job is Job.MULTI else SyncStatus.IDLE
    return SyncStats(job=job, status=status)


def begin(*, job: Job, run_id: str, trigger: Trigger, started_at: datetime) -> SyncStats:
    """Build the first snapshot of a run. Its revision comes from the lease."""
    return SyncStats(
        job=job, status=SyncStatus.RUNNING, run_id=run_id, trigger=trigger,
        phase=Phase.STARTING, started_at=started_at, progress=Progress(elapsed_ms=0),
    )  # fmt: skip


def complete(stats: SyncStats, *, at: datetime, message: str) -> SyncStats:
    """End a run that went through: `success`, or `success_with_errors` where rows were rejected.

    A run in which every single row was rejected stored nothing: it failed, whatever else went well.
    """
    if stats.errors and not stats.inserted + stats.updated:
        return fail(stats, at=at, reason=Reason.ERROR, message=message)
    status = SyncStatus.SUCCESS_WITH_ERRORS if stats.errors else SyncStatus.SUCCESS
    return replace(_ended(stats, at), status=status, phase=Phase.DONE, message=message)


def fail(stats: SyncStats, *, at: datetime, reason: Reason, message: str) -> SyncStats:
    """End a run that did not go through. It keeps its phase: that is where it broke off."""
    return replace(_ended(stats, at), status=SyncStatus.FAILED, reason=reason, message=message)


def _ended(stats: SyncStats, at: datetime) -> SyncStats:
    at = max(at, stats.started_at or at)  # who closes a run may be on a host whose clock is behind
    elapsed = round((at - stats.started_at).total_seconds() * 1000) if stats.started_at else None
    progress = replace(stats.progress, eta_seconds=None, elapsed_ms=elapsed)
    return replace(stats, finished_at=at, progress=progress)


def recount(stats: SyncStats, marks: Mapping[str, tuple[int, int]]) -> SyncStats:
    """Correct the counters of a run whose owner died by what the store really holds of it.

    `marks` gives for each source how many stored rows bear the run's mark: (created, changed). The owner
    may have died between storing a batch and counting it. Rows that needed no write bear no mark, so what
    was counted is never taken back. The invariants hold for the result.
    """
    inserted = max(stats.inserted, sum(created for created, _ in marks.values()))
    changed = max(stats.updated - stats.unchanged, sum(changed for _, changed in marks.values()))
    updated = changed + stats.unchanged
    counts = {
        source: replace(count, success=max(count.success, sum(marks.get(source, (0, 0)))))
        for source, count in stats.source_stats.items()
    }
    uncounted = inserted + updated - sum(count.success for count in counts.values())
    for source, count in counts.items():
        more = min(uncounted, count.total - count.success)
        counts[source] = replace(count, success=count.success + more)
        uncounted -= more
    return replace(stats, inserted=inserted, updated=updated, source_stats=counts)


def broken_invariants(stats: SyncStats) -> list[str]:
    """Name every promise of a single snapshot that this one breaks; empty for a truthful one."""
    totals = sum(count.total for count in stats.source_stats.values())
    successes = sum(count.success for count in stats.source_stats.values())
    completed = stats.status in COMPLETED
    rules = {
        "a completed run: total = inserted + updated + errors": not completed
        or stats.total == stats.processed,
        "never more processed than there is": stats.processed <= stats.total,
        "sum of source totals = total": totals == stats.total,
        "sum of source successes = inserted + updated": successes == stats.inserted + stats.updated,
        "success means no errors": stats.status is not SyncStatus.SUCCESS or stats.errors == 0,
        "success_with_errors means errors, and something stored": (
            stats.status is not SyncStatus.SUCCESS_WITH_ERRORS
            or (stats.errors > 0 and stats.inserted + stats.updated > 0)
        ),
        "no source has more successes than stocks": all(
            0 <= count.success <= count.total for count in stats.source_stats.values()
        ),
        "unchanged is a part of updated": 0 <= stats.unchanged <= stats.updated,
        "a reason exactly where a run failed": (stats.reason is not None)
        == (stats.status is SyncStatus.FAILED),
        "finished_at exactly where a run ended": (stats.finished_at is not None) == stats.final,
        "no duplicate in data_sources_used": len(set(stats.data_sources_used))
        == len(stats.data_sources_used),
    }
    return [rule for rule, holds in rules.items() if not holds]


def broken_steps(before: SyncStats, after: SyncStats) -> list[str]:
    """Name every promise that the step between two snapshots of one job breaks."""
    if before.run_id != after.run_id:
        return [] if after.revision > before.revision else ["a new run has a larger revision"]
    counters = ("total", "inserted", "updated", "unchanged", "errors")
    rules = {
        "revision increases": after.revision > before.revision,
        "a run that ended stays ended": not before.final,
        "counters never decrease": all(getattr(after, name) >= getattr(before, name) for name in counters),
        "total is set once": before.total in (0, after.total),
        "phases go forward": _rank(before.phase) <= _rank(after.phase),
        "attempts are only added": after.attempts[: len(before.attempts)] == before.attempts,
    }
    return [rule for rule, holds in rules.items() if not holds]


def _rank(phase: Phase | None) -> int:
    return -1 if phase is None else PHASES.index(phase)


def newest(snapshots: Mapping[Job, SyncStats]) -> SyncStats:
    """Of the two jobs the one to show: a running one wins, then the larger revision, then the default job."""
    return max(snapshots.values(), key=lambda stats: (stats.running, stats.revision, stats.job is Job.MULTI))
