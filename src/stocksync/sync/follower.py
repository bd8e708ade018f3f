"""Following the store: what other processes do is shown here too, and a dead owner's run is closed.

The sweep is what counts as contact with the store: a watch may hang without a word while the store is out of
reach. Whenever contact was lost, how both jobs stand is read anew and the watch is begun anew.
"""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, Final

from stocksync.aio import stop
from stocksync.domain.status import Job
from stocksync.errors import StoreError
from stocksync.ports import Clock, RunStore
from stocksync.sync.board import StatusBoard
from stocksync.sync.rescue import Suspicion

SWEEP_SECONDS: Final = 0.3
"""How often a process looks at the store."""

LOST_SECONDS: Final = 1.0
"""Without contact for longer than this, what is shown may be out of date, and that is said."""

_LOOK_SECONDS: Final = 5.0
"""A look that was not answered by then failed; the next one may find another way."""

_WATCHDOG_SECONDS: Final = 0.1
_STOP_SECONDS: Final = 0.5

_log = logging.getLogger(__name__)


class StoreFollower:
    """Keeps the board in step with the store, and says so on the board while the store is out of reach."""

    def __init__(self, runs: RunStore, board: StatusBoard, clock: Clock, *, grace: float) -> None:
        """`grace` is what a lease that ran out is given before its owner counts as dead, seconds."""
        self._runs = runs
        self._board = board
        self._clock = clock
        self._pause = min(SWEEP_SECONDS, grace)
        self._suspicion = Suspicion(grace)
        self._contact = clock.monotonic()
        self._contact_at = clock.now()
        self._lost = False
        self._why = ""
        self._watching: asyncio.Task[None] | None = None
        self._behind = False
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Follow until `aclose`; how the jobs stand was read just now."""
        self._in_contact()
        self._spawn(self._sweep())
        self._spawn(self._guard())

    async def aclose(self) -> None:
        """Stop following. Idempotent."""
        await stop(self._tasks, within=_STOP_SECONDS)

    async def _sweep(self) -> None:
        while True:
            try:
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._look()
            except (StoreError, TimeoutError) as exc:
                self._lose_track(str(exc))
            await self._clock.sleep(self._pause)

    async def _look(self) -> None:
        asked = self._clock.monotonic()
        token = await self._runs.overdue()
        behind = await self._runs.newest() > max(self._board.get(job).revision for job in Job)
        if self._watching is None or self._watching.done() or (behind and self._behind):
            await self._catch_up()
        self._behind = behind
        self._in_contact()
        if self._suspicion.confirmed(token, asked=asked, answered=self._contact):
            await self._rescue()

    async def _catch_up(self) -> None:
        """Read what a watch has missed, or was too slow to tell, and begin a new one."""
        if self._watching is not None:
            self._watching.cancel()
        for job in Job:
            stats = await self._runs.latest(job)
            if stats is not None:
                self._board.publish(stats)
        self._watching = self._spawn(self._watch())

    async def _watch(self) -> None:
        try:
            async for stats in self._runs.watch():
                self._board.publish(stats)
        except StoreError as exc:
            _log.debug("the watch broke off, the next look catches up: %s", exc)

    async def _rescue(self) -> None:
        closed = await self._runs.rescue(self._clock.now())
        self._suspicion.drop()
        if closed is not None:
            _log.warning("closed run %s, whose owner died", closed.run_id)
            self._board.publish(closed)

    async def _guard(self) -> None:
        """Say it when there was no contact for too long, also where a look just hangs."""
        while True:
            asked = self._clock.monotonic()
            await self._clock.sleep(_WATCHDOG_SECONDS)
            now = self._clock.monotonic()
            if now - asked > LOST_SECONDS / 2:
                continue  # the event loop was busy, and a look that was answered had no turn either
            if now - self._contact > LOST_SECONDS:
                self._lose_contact()

    def _lose_contact(self) -> None:
        if self._lost:
            return
        self._lost = True
        _log.warning("the store is out of reach: %s", self._why or "no answer")
        self._lose_track(self._why)
        self._board.mark_stale(self._contact_at)

    def _lose_track(self, why: str) -> None:
        """From here on something may happen unseen, and an owner cannot renew his lease."""
        self._why = why
        self._suspicion.drop()
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None

    def _in_contact(self) -> None:
        self._contact, self._contact_at = self._clock.monotonic(), self._clock.now()
        self._why = ""
        if self._lost:
            self._lost = False
            _log.warning("the store is back")
        self._board.mark_stale(None)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
