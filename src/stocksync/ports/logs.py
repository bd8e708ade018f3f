"""The operation log."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Protocol


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
