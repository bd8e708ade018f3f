"""Following the board: how a job stands now, then every change."""

import asyncio
from collections.abc import AsyncGenerator

from stocksync.domain.status import Job, SyncStats
from stocksync.sync.board import StatusBoard


async def changes(
    board: StatusBoard, job: Job | None, stop: asyncio.Event
) -> AsyncGenerator[SyncStats, None]:
    """Yield until `stop` is set. A slow reader misses steps in between, never the last one."""
    stopped = asyncio.create_task(stop.wait())
    try:
        while True:
            shown = board.get(job)
            yield shown
            changed = asyncio.create_task(_change(board, job, shown))
            await asyncio.wait({changed, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if stopped.done():
                changed.cancel()
                return
    finally:
        stopped.cancel()


async def _change(board: StatusBoard, job: Job | None, shown: SyncStats) -> None:
    await board.wait_for(lambda: board.get(job) is not shown)
