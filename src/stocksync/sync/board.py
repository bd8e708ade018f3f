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
        self._known = {job: never_ran(job) for job in Job}
        self._shown = dict(self._known)
        self._newest = newest(self._shown)
        self._stale_since: datetime | None = None
        self._changed = asyncio.Event()

    def get(self, job: Job | None = None) -> SyncStats:
        """Tell how a job stands; without one, the newest of the two, where a running one wins."""
        return self._newest if job is None else self._shown[job]

    def publish(self, stats: SyncStats) -> None:
        """Show a snapshot, unless a newer one of its job is shown already."""
        if stats.revision > self._known[stats.job].revision:
            self._known[stats.job] = stats
            self._show()

    def mark_stale(self, since: datetime | None) -> None:
        """Say on every snapshot that the store has been out of reach since then; None when it is back."""
        if since != self._stale_since:
            self._stale_since = since
            self._show()

    async def wait_for(self, holds: Callable[[], bool]) -> None:
        """Wait until something about the shown snapshots holds."""
        while not holds():
            await self._changed.wait()

    def _show(self) -> None:
        for job, stats in self._known.items():
            if stats.stale_since != self._stale_since:
                stats = replace(stats, stale_since=self._stale_since)  # noqa: PLW2901 - the same, as it is shown
            if stats != self._shown[job]:
                self._shown[job] = stats
        self._newest = newest(self._shown)
        self.wake()

    def wake(self) -> None:
        """Let whoever waits look again."""
        waiting, self._changed = self._changed, asyncio.Event()
        waiting.set()
