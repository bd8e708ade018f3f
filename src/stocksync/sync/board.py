"""The snapshot that everyone reads: how both jobs stand, as this process knows it, without any I/O."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from stocksync.domain.status import Job, SyncStats, never_ran, newest


class StatusBoard:
    """Holds the newest snapshot of each job and wakes whoever waits for the next one.

    Equal snapshots are the same object for as long as nothing changes, so a reader may cache by identity.
    """

    def __init__(self) -> None:
        self._snapshots = {job: never_ran(job) for job in Job}
        self._newest = newest(self._snapshots)
        self._changed = asyncio.Event()

    def get(self, job: Job | None = None) -> SyncStats:
        """Tell how a job stands; without one, the newest of the two, where a running one wins."""
        return self._newest if job is None else self._snapshots[job]

    def publish(self, stats: SyncStats) -> None:
        """Show a snapshot, unless a newer one of its job is shown already."""
        if stats.revision > self._snapshots[stats.job].revision:
            self._show({stats.job: stats})

    def mark_stale(self, since: datetime | None) -> None:
        """Say on every snapshot that the store has been out of reach since then; None when it is back."""
        if self._newest.stale_since != since:
            self._show({job: replace(stats, stale_since=since) for job, stats in self._snapshots.items()})

    async def wait_for(self, holds: Callable[[], bool]) -> None:
        """Wait until something about the shown snapshots holds."""
        while not holds():
            await self._changed.wait()

    def _show(self, snapshots: dict[Job, SyncStats]) -> None:
        self._snapshots |= snapshots
        self._newest = newest(self._snapshots)
        waiting, self._changed = self._changed, asyncio.Event()
        waiting.set()
