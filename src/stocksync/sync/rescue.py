"""Telling a dead owner from one that could not reach the database: two looks, with time to renew in between.

Of STOCKSYNC_RESCUE_SECONDS the lease takes LEASE_SHARE. Noticing that it ran out takes a sweep, the second
look comes GRACE_SHARE later, or a sweep after that; what is left is for closing the run.
"""

from dataclasses import dataclass
from typing import Final

from stocksync.domain.status import SyncStats
from stocksync.ports import Clock, RunStore

LEASE_SHARE: Final = 0.75
GRACE_SHARE: Final = 0.1


@dataclass(slots=True)
class Suspicion:
    """Which lease was found overdue, and since when. An owner that lives renews it within `grace` seconds."""

    grace: float
    _token: int | None = None
    _since: float = 0.0

    def confirmed(self, token: int | None, *, asked: float, answered: float) -> bool:
        """Take in what a look found, and tell whether the owner had his chance since an earlier one.

        A look may wait for the database, so only the time between two looks counts as a chance.
        """
        if token is None or token != self._token:
            self._token, self._since = token, answered
            return False
        return asked - self._since >= self.grace

    def drop(self) -> None:
        """Begin anew: the database was out of reach, so the owner had no chance."""
        self._token = None


async def close_dead_run(runs: RunStore, clock: Clock, *, grace: float) -> SyncStats | None:
    """Close the run of a dead owner, after two looks; costs nothing where no lease is overdue.

    Raises StoreError.
    """
    token = await runs.overdue()
    if token is None:
        return None
    await clock.sleep(grace)
    if await runs.overdue() != token:
        return None
    return await runs.rescue(clock.now())
