"""One database, and what else is kept in it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Protocol

from stocksync.domain.health import SourceHealth
from stocksync.domain.stock import Dataset
from stocksync.ports.logs import OperationLogStore
from stocksync.ports.runs import RunStore
from stocksync.ports.stocks import StockStore


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
