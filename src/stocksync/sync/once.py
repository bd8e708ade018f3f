"""Starting a run at most once for a key: whoever repeats a request whose answer was lost gets its run.

The run's id is chosen when the key is claimed, so that a process that dies in between leaves no doubt: either
the run exists, or it never will, and the key may be taken again.
"""

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from stocksync.errors import IdempotencyInProgress, IdempotencyKeyReused, RunNotFound, StocksyncError
from stocksync.ports import Clock, IdempotencyStore, KeyUse
from stocksync.sync.requests import RunRequest, Started
from stocksync.sync.runner import MultiSourceBasicsSyncService

KEEP: Final = timedelta(hours=24)
"""How long a key stands for its request."""

ABANDONED: Final = timedelta(seconds=30)
"""A claim without a run is given up after this: starting takes seconds, whatever the database does."""

_PATIENCE_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class StartOnce:
    """Starts runs for keys, over all processes of one store."""

    service: MultiSourceBasicsSyncService
    keys: IdempotencyStore
    clock: Clock

    async def start(self, key: str, fingerprint: str, request: RunRequest) -> Started:
        """Start a run, or give the one that the key stands for already (`replayed`).

        Raises IdempotencyKeyReused, IdempotencyInProgress, UnknownSource, StoreError.
        """
        deadline = self.clock.monotonic() + _PATIENCE_SECONDS
        while True:
            now = self.clock.now()
            use = KeyUse(fingerprint=fingerprint, run_id=self.service.new_run_id(), claimed_at=now)
            held = await self.keys.claim(key, use, expired=now - KEEP)
            if held is None:
                return await self._first(key, use, request)
            if held.fingerprint != fingerprint:
                raise IdempotencyKeyReused("该 Idempotency-Key 已用于另一个请求")
            try:
                stats = await self.service.get_run(held.run_id)
                return Started(stats, accepted=held.accepted, replayed=True)
            except RunNotFound:
                if now - held.claimed_at > ABANDONED and await self.keys.replace(key, held, use):
                    return await self._first(key, use, request)
            if self.clock.monotonic() > deadline:
                raise IdempotencyInProgress("相同 Idempotency-Key 的请求正在处理，请稍后重试")
            await self.clock.sleep(_LOOK_SECONDS)

    async def _first(self, key: str, use: KeyUse, request: RunRequest) -> Started:
        """Start the run that the key was claimed for; a request that was refused leaves the key free."""
        try:
            started = await self.service.start(replace(request, run_id=use.run_id))
        except StocksyncError:
            await self.keys.replace(key, use, None)
            raise
        if not started.accepted and started.stats.run_id:
            await self.keys.replace(key, use, replace(use, run_id=started.stats.run_id, accepted=False))
        return started
