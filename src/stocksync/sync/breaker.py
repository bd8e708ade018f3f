"""Cooling down: a source that bans or fails is left alone for a while, per dataset, over all processes.

State lives in the store, so that a restart or a second process does not hammer an upstream that has just
shut us out. A source in its cool-down is skipped at once, which is the next one's turn.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from stocksync.domain.health import SourceHealth
from stocksync.domain.stock import Dataset
from stocksync.domain.wire import MARKET_ZONE
from stocksync.errors import (
    SourceBanned,
    SourceError,
    SourceNonsense,
    SourceRateLimited,
    SourceSkipped,
    SourceTimeout,
    SourceUnreachable,
)
from stocksync.ports import Clock, HealthStore

Cooldown = tuple[timedelta, timedelta]

BAN: Final = (timedelta(hours=1), timedelta(hours=6))
"""First and longest cool-down after a ban, doubling in between: bans last for hours."""

LIMIT: Final = (timedelta(hours=1), timedelta(hours=1))
"""After a limit of calls an hour or a day; a minute's limit is waited for within the call."""

TROUBLE: Final = (timedelta(minutes=5), timedelta(hours=1))
"""After PATIENCE failures in a row of a kind that the next call may not have."""

PATIENCE: Final = 3

_TROUBLE: Final = (SourceTimeout, SourceUnreachable, SourceNonsense)


@dataclass(frozen=True, slots=True)
class Breaker:
    """Decides who may be asked, and learns from how it went. Raises StoreError."""

    store: HealthStore
    clock: Clock

    async def require_closed(self, source: str, dataset: Dataset) -> None:
        """Raise SourceSkipped while the source cools down for this dataset."""
        health = await self.store.get(source, dataset)
        if health.open_until is not None and breaker_state(health, self.clock.now()) is BreakerState.OPEN:
            until = health.open_until.astimezone(MARKET_ZONE)
            raise SourceSkipped(f"{source} 冷却中，{until:%m-%d %H:%M} 后再试（{health.last_error}）")

    async def failed(self, source: str, dataset: Dataset, error: SourceError) -> None:
        """Remember a failure, and open where that is called for."""
        if isinstance(error, SourceSkipped):
            return  # it was not asked
        before = await self.store.get(source, dataset)
        await self.store.put(after_failure(before, error, self.clock.now()))

    async def succeeded(self, source: str, dataset: Dataset, *, latency_ms: int, rows: int) -> None:
        """Forget the failures: one good answer closes the breaker."""
        before = await self.store.get(source, dataset)
        now = self.clock.now()
        after = replace(before, last_success_at=now, latency_ms=latency_ms, rows=rows)
        await self.store.put(replace(after, failures=0, open_until=None))


class BreakerState(StrEnum):
    """Whether a source is asked for a dataset: always, not now, or once, to see whether it is well again."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


def breaker_state(health: SourceHealth, now: datetime) -> BreakerState:
    """Tell whether the next run would ask."""
    if health.open_until is None:
        return BreakerState.CLOSED
    return BreakerState.OPEN if health.open_until > now else BreakerState.HALF_OPEN


def after_failure(health: SourceHealth, error: SourceError, now: datetime) -> SourceHealth:
    """Decide how a failure changes the health of a source for a dataset.

    A refused token or permission opens nothing: whoever mends it wants to try at once. What is empty,
    incomplete or not final yet is an answer, and no reason not to ask again.
    """
    health = replace(health, last_error=str(error), last_error_at=now)
    if isinstance(error, SourceBanned):
        return _counted(health, now, BAN, patience=1)
    if isinstance(error, SourceRateLimited):
        return _counted(health, now, LIMIT, patience=1)
    if isinstance(error, _TROUBLE):
        return _counted(health, now, TROUBLE, patience=PATIENCE)
    return health


def _counted(health: SourceHealth, now: datetime, times: Cooldown, *, patience: int) -> SourceHealth:
    failures = health.failures + 1
    if failures < patience:
        return replace(health, failures=failures)
    first, longest = times
    doublings = min(failures - patience, 10)  # far beyond the longest
    return replace(health, failures=failures, open_until=now + min(first * 2**doublings, longest))
