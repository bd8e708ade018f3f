"""Going on after a rescue: an interrupted run is followed by a new one, which writes what is missing."""

import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from stocksync.domain.status import Job, Reason, SyncStats, Trigger, never_ran, newest
from stocksync.errors import RunInProgress, StoreError, StoreUnavailable
from stocksync.ports import Clock, RunStore
from stocksync.sync.board import StatusBoard

STRIKES: Final = 3
"""After so many resumed runs that were interrupted too, it is the sync that kills its process: stop."""

_RETRY_SECONDS: Final = 1.0

_log = logging.getLogger(__name__)


class Resumption:
    """Watches the board for an interrupted run. Of many processes that resume, the slot lets one."""

    def __init__(
        self,
        runs: RunStore,
        board: StatusBoard,
        clock: Clock,
        *,
        start: Callable[[Job], Awaitable[object]],
    ) -> None:
        """`start` begins a run of a job. It raises RunInProgress, StoreError."""
        self._runs = runs
        self._board = board
        self._clock = clock
        self._start = start
        self._settled: str | None = None

    async def keep_going(self) -> None:
        """Resume whatever is interrupted, until cancelled."""
        while True:
            await self._board.wait_for(lambda: self._unsettled() is not None)
            dead = self._unsettled()
            if dead is not None and not await self._settle(dead):
                await self._clock.sleep(_RETRY_SECONDS)

    def _unsettled(self) -> SyncStats | None:
        shown = self._board.get()
        if shown.reason is not Reason.INTERRUPTED or shown.run_id == self._settled:
            return None
        return shown if shown.stale_since is None else None  # without the store nothing can be done

    async def _settle(self, dead: SyncStats) -> bool:
        """Resume a run unless another one has followed it already; False where the store is out of reach."""
        try:
            if await self._is_newest(dead) and not await self._struck_out(dead):
                with suppress(RunInProgress):  # another process was quicker
                    await self._start(dead.job)
        except StoreUnavailable:
            return False
        except StoreError as exc:
            _log.warning("run %s cannot be resumed: %s", dead.run_id, exc)
        self._settled = dead.run_id
        return True

    async def _is_newest(self, dead: SyncStats) -> bool:
        """Ask the store, because the board may not show yet what another process began."""
        stored = {job: await self._runs.latest(job) or never_ran(job) for job in Job}
        return newest(stored).run_id == dead.run_id

    async def _struck_out(self, dead: SyncStats) -> bool:
        recent = await self._runs.history(limit=STRIKES)
        lost = [run for run in recent if run.trigger is Trigger.RESCUE and run.reason is Reason.INTERRUPTED]
        if len(lost) < STRIKES:
            return False
        _log.warning("run %s is not resumed: the last %d were interrupted too", dead.run_id, STRIKES)
        return True
