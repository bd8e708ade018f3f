"""The runs, and the one slot that they share."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

from stocksync.domain.changes import Change, ChangeKind
from stocksync.domain.journal import LogLine, RunEvent
from stocksync.domain.status import Job, Reject, SyncStats, SyncStatus, Trigger
from stocksync.ports.stocks import Fence


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    """What a run has to say since its last step: log lines, rejected rows and changes of the market.

    `first_event`, `first_reject` and `first_change` are their places among all of the run's, counted from 0:
    a line that is stored a second time, because nobody knew whether the first time succeeded, is still one.
    """

    events: tuple[RunEvent, ...] = ()
    rejects: tuple[Reject, ...] = ()
    changes: tuple[Change, ...] = ()
    first_event: int = 0
    first_reject: int = 0
    first_change: int = 0


LEVELS: Final = ("info", "warning", "error")
"""What a line's `level` can be, the least first."""

FIRST: Final = -1
"""The place before a log's first line."""

LAST: Final = 2**31 - 1
"""The last place that a line can have."""

ROWS_AT_ONCE: Final = 1000
"""As many rows of a run are read at once, unless a caller wants fewer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFilter:
    """Which runs are meant: those that are in every set which is not empty, and that began in the period."""

    statuses: frozenset[SyncStatus] = frozenset()
    jobs: frozenset[Job] = frozenset()
    triggers: frozenset[Trigger] = frozenset()
    since: datetime | None = None
    """Began at this moment or later."""
    until: datetime | None = None
    """Began before this moment."""


ALL_RUNS: Final = RunFilter()


class RunStore(Protocol):
    """Runs, the one slot they share, and how they stand. Raises StoreError.

    Time is the database's own: a lease that has run out has run out for everybody.
    """

    async def acquire(self, run: SyncStats, *, owner: str, ttl: timedelta, force: bool) -> Fence:
        """Take the slot for `run`, atomically over all processes, and store it with its first revision.

        A run whose lease has run out is closed `failed` / `interrupted` first. Raises RunInProgress while
        another one holds the slot, unless `force`: then that one ends `failed` / `superseded`.
        """
        ...

    async def advance(self, fence: Fence, stats: SyncStats, journal: Journal, *, ttl: timedelta) -> bool:
        """Store progress and renew the lease. Tells whether somebody asked to cancel. Raises LeaseLost.

        A lease that ran out is still its owner's for as long as nobody took over: while the database was out
        of reach the owner could not renew it.
        """
        ...

    async def finish(self, fence: Fence, stats: SyncStats, journal: Journal) -> SyncStats:
        """Store how the run ended, complete its operation log record, free the slot. Raises LeaseLost.

        Gives the end as it is stored; may be called again where the answer was lost.
        """
        ...

    async def overdue(self) -> int | None:
        """Tell the token of a lease that ran out although the database answers; None where all is well.

        Look twice before calling `rescue`: right after an outage the owner may be about to renew.
        """
        ...

    async def rescue(self, now: datetime) -> SyncStats | None:
        """Close the run of a dead owner as `failed` / `interrupted` and return it; None where all is well.

        Of many processes that call this one gets the run.
        """
        ...

    async def request_cancel(self, run_id: str) -> bool:
        """Ask the owner of a running run to end it; False where it does not hold the slot any more."""
        ...

    async def latest(self, job: Job) -> SyncStats | None:
        """Tell how a job stands; None before its first run."""
        ...

    async def newest(self) -> int:
        """Tell the newest revision of both jobs, cheaply; 0 before the first run."""
        ...

    async def get(self, run_id: str) -> SyncStats | None:
        """Read one run."""
        ...

    async def history(
        self, which: RunFilter = ALL_RUNS, *, limit: int, offset: int = 0, before: int | None = None
    ) -> Sequence[SyncStats]:
        """List runs by revision, the newest first; with `before`, only those of a smaller revision.

        A run that has ended keeps its place, and whatever begins later comes before it: a list that is
        continued before the revision of its last record neither skips nor repeats a run.
        """
        ...

    async def run_count(self, which: RunFilter = ALL_RUNS) -> int:
        """Count the runs that are meant."""
        ...

    async def events(
        self,
        run_id: str,
        *,
        after: int = FIRST,
        limit: int = ROWS_AT_ONCE,
        levels: Collection[str] = LEVELS,
    ) -> Sequence[LogLine]:
        """Read a run's log after a line, in order."""
        ...

    async def rejects(self, run_id: str, *, limit: int = ROWS_AT_ONCE, offset: int = 0) -> Sequence[Reject]:
        """Read the rejected rows of a run, in order."""
        ...

    async def reject_count(self, run_id: str) -> int:
        """Count the rejected rows of a run."""
        ...

    async def changes(
        self, run_id: str, *, kind: ChangeKind | None = None, limit: int = ROWS_AT_ONCE, offset: int = 0
    ) -> Sequence[Change]:
        """Read what a run changed in the market, in order; with `kind`, only that."""
        ...

    async def change_counts(self, run_id: str) -> Mapping[ChangeKind, int]:
        """Count what a run changed in the market, by kind; what did not happen is missing."""
        ...

    async def prune(self, before: datetime) -> int:
        """Delete runs that ended before a moment, with all that they said; count them."""
        ...

    def watch(self) -> AsyncIterator[SyncStats]:
        """Yield how both jobs stand now, then every change, whoever made it. Raises StoreUnavailable."""
        ...
