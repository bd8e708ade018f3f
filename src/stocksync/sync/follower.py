"""Following the store: what other processes do is shown here too, and a dead owner's run is closed."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from stocksync.errors import StoreError
from stocksync.ports import Clock, RunStore
from stocksync.sync.board import StatusBoard

if TYPE_CHECKING:
    from datetime import datetime

SWEEP_SECONDS: Final = 0.5
"""How often a process looks for a run whose lease ran out."""

_RETRY_SECONDS: Final = 1.0

_log = logging.getLogger(__name__)


class StoreFollower:
    """Keeps the board in step with the store, and says so on the board while the store is out of reach."""

    def __init__(self, runs: RunStore, board: StatusBoard, clock: Clock) -> None:
        self._runs = runs
        self._board = board
        self._clock = clock
        self._lost_at: datetime | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Follow until `aclose`."""
        self._tasks = [
            asyncio.create_task(self._persistently(self._follow)),
            asyncio.create_task(self._persistently(self._sweep)),
        ]

    async def aclose(self) -> None:
        """Stop following. Idempotent."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    async def _persistently(self, follow: Callable[[], Awaitable[None]]) -> None:
        """Go on through failures of the store; each loss and each return is logged once."""
        while True:
            try:
                await follow()
            except StoreError as exc:
                if self._lost_at is None:
                    _log.warning("the store is out of reach: %s", exc)
                    self._lost_at = self._clock.now()
                self._board.mark_stale(self._lost_at)
                await self._clock.sleep(_RETRY_SECONDS)

    async def _follow(self) -> None:
        async for stats in self._runs.watch():
            self._back()
            self._board.publish(stats)

    async def _sweep(self) -> None:
        while True:
            closed = await self._runs.rescue(self._clock.now())
            self._back()
            if closed is not None:
                _log.warning("closed run %s, whose owner died", closed.run_id)
            await self._clock.sleep(SWEEP_SECONDS)

    def _back(self) -> None:
        if self._lost_at is not None:
            _log.warning("the store is back")
            self._lost_at = None
        self._board.mark_stale(None)
