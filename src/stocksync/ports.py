"""Every port of the house: what the core asks of a source, a store and a clock. Types only."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, Final, Protocol

from stocksync.domain.changes import Change, ChangeKind
from stocksync.domain.codes import Exchange
from stocksync.domain.health import SourceHealth
from stocksync.domain.journal import LogLine, RunEvent
from stocksync.domain.merge import DailyAnswer, ListAnswer, RoeAnswer, StockRef
from stocksync.domain.status import STEPS_PER_TOKEN, Job, Reject, SyncStats, SyncStatus, Trigger
from stocksync.domain.stock import Dataset, StockBasic


class Clock(Protocol):
    """Time, so that a test can own it."""

    def now(self) -> datetime:
        """Tell the wall clock's time, aware."""
        ...

    def monotonic(self) -> float:
        """Tell seconds that never go back, for measuring durations."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Let others run for that long."""
        ...


class Source(Protocol):
    """One upstream. Every method raises SourceError (errors.py) and nothing else, save cancellation.

    A method makes no promise about time: the caller sets the deadline and cancels.
    """

    @property
    def name(self) -> str:
        """The name in settings, attempts and attribution."""
        ...

    @property
    def description(self) -> str:
        """One Chinese line for people."""
        ...

    @property
    def provides(self) -> frozenset[Dataset]:
        """Which datasets this source can be asked for."""
        ...

    @property
    def exchanges(self) -> frozenset[Exchange]:
        """For which exchanges it declares a whole list and whole daily data."""
        ...

    @property
    def metrics(self) -> frozenset[str]:
        """Which fields of DailyMetrics its daily data declares."""
        ...

    @property
    def texts(self) -> frozenset[str]:
        """Which of the texts "area" and "industry" it supplies, with its list or its reports."""
        ...

    async def check(self) -> None:
        """Make one real, cheap call that proves that the source can be used now."""
        ...

    async def open_days(self, start: date, end: date) -> Sequence[date]:
        """List the market's open days from `start` to `end`, both included, in order."""
        ...

    async def stock_list(self) -> ListAnswer:
        """List every A share; rows that cannot be read are rejected by name, out-of-scope rows dropped."""
        ...

    async def daily_data(self, day: date) -> DailyAnswer:
        """Give the metrics of one trade date. Raises SourceEmpty where the day is not published."""
        ...

    async def roe(self, period: date) -> RoeAnswer:
        """Give the return on equity of one quarter end, in percent."""
        ...

    async def aclose(self) -> None:
        """Let go of connections. Idempotent."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Fence:
    """The right to write, as it was when the slot was acquired. A later token fences this one off."""

    token: int
    owner: str
    run_id: str

    @property
    def first_revision(self) -> int:
        """The revision of the run's start; step 0 closes the run that this one displaced."""
        return self.revision(1)

    def revision(self, step: int) -> int:
        """Place a step of this run in the store's one sequence of revisions."""
        if not 0 <= step < STEPS_PER_TOKEN:
            raise ValueError(f"step {step} is outside one token's range")
        return self.token * STEPS_PER_TOKEN + step


@dataclass(frozen=True, slots=True, kw_only=True)
class UpsertCount:
    """What became of a batch, row by row: inserted + changed + unchanged + len(rejects) = rows given.

    `changes` are what the rows that were written say about the market (domain.changes.compare).
    """

    inserted: int = 0
    changed: int = 0
    unchanged: int = 0
    rejects: tuple[Reject, ...] = ()
    changes: tuple[Change, ...] = ()


class StockStore(Protocol):
    """The table stock_basic_info. Raises StoreError; every write raises LeaseLost once fenced off."""

    async def ensure_writable(self) -> None:
        """Wait until rows can be written safely: the unique key (code, source) is in force.

        Raises StoreInvalid, naming the command that repairs it, where what is stored prevents that.
        """
        ...

    async def upsert(self, rows: Sequence[StockBasic], fence: Fence) -> UpsertCount:
        """Bring rows up to date by (code, source), writing only what differs. Idempotent, atomic per row.

        Unknown values never overwrite known ones (domain.stock.overlay). A row that the database refuses
        is rejected by name, and the rest lands. The counts are exact whatever had to be tried again.
        """
        ...

    async def marks(self, run_id: str) -> Mapping[str, tuple[int, int]]:
        """Count by source the rows that a run has (created, changed), as the rows themselves say."""
        ...

    async def retract(self, fence: Fence) -> None:
        """Take back what an owner stored after he had been displaced, where fencing could not prevent it."""
        ...

    async def absent(
        self, source: str, exchanges: frozenset[Exchange], listed: frozenset[str]
    ) -> Sequence[StockRef]:
        """List the source's rows on these exchanges whose code is not in `listed` and not yet retired."""
        ...

    async def retire(
        self, source: str, *, gone: Sequence[str], renumbered: Sequence[str], fence: Fence
    ) -> None:
        """Mark rows that are no longer listed, and delete those whose stock lives on under another code."""
        ...

    async def get(self, code: str, source: str) -> StockBasic | None:
        """Read one stored row."""
        ...

    async def listed_counts(self, source: str) -> Mapping[Exchange, int]:
        """Count the source's listed rows by exchange: what its last good lists named."""
        ...

    async def count(self, source: str | None = None) -> int:
        """Count the stored rows that are listed, of one source or of all."""
        ...


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


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationLog:
    """One record of operation_logs: who did what, whether it was accepted, how it ended.

    `id` and `created_at` are the store's; two records that say the same are equal.
    """

    action_type: str
    action: str
    success: bool
    timestamp: datetime
    details: Mapping[str, Any] = field(default_factory=dict)
    error_message: str | None = None
    duration_ms: int | None = None
    user_id: str | None = None
    username: str | None = None
    ip_address: str | None = None
    user_agent: str | None = None
    session_id: str | None = None
    run_id: str | None = None
    id: str = field(default="", compare=False)
    created_at: datetime | None = field(default=None, compare=False)


LONGEST_KEYWORD: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFilter:
    """Which records: all that are given must hold, and nothing given means every record.

    `start` is included and `end` is not. `keyword` is plain text, looked for without regard to case in
    action, username, error_message, ip_address and the texts within details.
    """

    start: datetime | None = None
    end: datetime | None = None
    action_type: str | None = None
    success: bool | None = None
    keyword: str | None = None

    def __post_init__(self) -> None:
        """Refuse what no search could take. Raises ValueError."""
        keyword = self.keyword or ""
        if len(keyword) > LONGEST_KEYWORD or "\0" in keyword:
            raise ValueError(f"a keyword has at most {LONGEST_KEYWORD} characters and no NUL")


EVERY_LOG: Final = LogFilter()


@dataclass(frozen=True, slots=True, kw_only=True)
class LogStats:
    """How many records of each kind; `by_hour` has 24 counts, by the hour in the market's zone."""

    total: int
    succeeded: int
    by_type: Mapping[str, int]
    by_hour: tuple[int, ...]


class OperationLogStore(Protocol):
    """The table operation_logs. Raises StoreError.

    Newest first means: by timestamp, then the later one of two. Whoever looks through many records has a
    limited time for it, and is told by SearchTimedOut.
    """

    async def create(self, log: OperationLog) -> str:
        """Store a record and return its id."""
        ...

    async def complete(
        self, log_id: str, *, error_message: str | None, duration_ms: int, details: Mapping[str, Any]
    ) -> None:
        """Set in place how an action ended, well unless there is an error; `details` are added by name.

        A record that was deleted meanwhile stays deleted. Idempotent.
        """
        ...

    async def get(self, log_id: str) -> OperationLog | None:
        """Read one record; None for an id that none has, or none can have."""
        ...

    async def search(
        self, wanted: LogFilter = EVERY_LOG, *, limit: int, offset: int = 0
    ) -> Sequence[OperationLog]:
        """List records, newest first. Raises SearchTimedOut."""
        ...

    async def count(self, wanted: LogFilter = EVERY_LOG) -> int:
        """Count records. Raises SearchTimedOut."""
        ...

    async def stats(self, wanted: LogFilter = EVERY_LOG) -> LogStats:
        """Count records by what they are. Raises SearchTimedOut."""
        ...

    def pages(self, wanted: LogFilter = EVERY_LOG) -> AsyncIterator[Sequence[OperationLog]]:
        """Read any number of records, newest first, a page at a time, while others write.

        No record comes twice; one that is written or deleted meanwhile may come or not. Raises SearchTimedOut
        where a single page takes too long.
        """
        ...

    async def delete(self, wanted: LogFilter = EVERY_LOG, *, keep: str = "") -> int:
        """Delete records, save the one with the id `keep`, and count them."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyUse:
    """What an idempotency key stands for: a request, by its fingerprint, and the run that answers it.

    `accepted` is False where that is another run, which was going on already.
    """

    fingerprint: str
    run_id: str
    claimed_at: datetime
    accepted: bool = True


class IdempotencyStore(Protocol):
    """The idempotency keys of requests, shared by all processes. Raises StoreError."""

    async def claim(self, key: str, use: KeyUse, *, expired: datetime) -> KeyUse | None:
        """Take a key for a request, atomically; None where that succeeded, else what it stands for.

        A key that was claimed before `expired` is free again.
        """
        ...

    async def replace(self, key: str, before: KeyUse, after: KeyUse | None) -> bool:
        """Let a key stand for another run, or for nothing; False where it is not `before`'s any more."""
        ...


class CalendarStore(Protocol):
    """The open days that sources told, kept for the day on which none answers. Raises StoreError."""

    async def keep(self, start: date, end: date, open_days: Sequence[date]) -> None:
        """Replace what is known from `start` to `end`."""
        ...

    async def open_days(self, start: date, end: date) -> Sequence[date]:
        """List the kept open days from `start` to `end`, in order."""
        ...


class HealthStore(Protocol):
    """The health of the sources, shared by all processes. Raises StoreError."""

    async def get(self, source: str, dataset: Dataset) -> SourceHealth:
        """Read one; a source that was never asked is healthy."""
        ...

    async def put(self, health: SourceHealth) -> None:
        """Replace one."""
        ...

    async def all(self) -> Sequence[SourceHealth]:
        """Read every one that was ever put, by source and dataset."""
        ...


class Store(Protocol):
    """One database, opened; closing it is the business of whoever opened it."""

    @property
    def stocks(self) -> StockStore:
        """The stocks."""
        ...

    @property
    def runs(self) -> RunStore:
        """The runs and the slot."""
        ...

    @property
    def logs(self) -> OperationLogStore:
        """The operation log."""
        ...

    @property
    def calendar(self) -> CalendarStore:
        """The kept calendar."""
        ...

    @property
    def health(self) -> HealthStore:
        """How the sources do."""
        ...

    @property
    def keys(self) -> IdempotencyStore:
        """The idempotency keys."""
        ...

    async def ping(self) -> None:
        """Prove that the database answers. Raises StoreUnavailable."""
        ...

    async def aclose(self) -> None:
        """Finish what is under way and let go. Idempotent."""
        ...
