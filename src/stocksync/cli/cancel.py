"""The verb `cancel`: ends the run that goes on, whichever process owns it."""

import asyncio

from stocksync.cli.desk import open_desk
from stocksync.cli.outcome import ExitCode
from stocksync.cli.output import note
from stocksync.cli.session import prepare
from stocksync.domain.status import SyncStats
from stocksync.settings import Settings


def cancel(*, store: str | None, server: str | None) -> int:
    """Ask for it, without waiting for the end."""
    stats = asyncio.run(_cancel(prepare(store, server)))
    note(f"已请求取消同步任务 {stats.run_id}")
    return ExitCode.SUCCESS


async def _cancel(settings: Settings) -> SyncStats:
    async with open_desk(settings) as desk:
        return await desk.cancel(None)
