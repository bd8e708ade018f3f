"""The verb `cancel`: ends the run that goes on, whichever process owns it."""

import asyncio

from stocksync.app import open_app
from stocksync.cli.outcome import ExitCode
from stocksync.cli.output import note
from stocksync.cli.session import prepare, this_actor
from stocksync.domain.status import SyncStats
from stocksync.settings import Settings


def cancel(*, store: str | None) -> int:
    """Ask for it, without waiting for the end."""
    stats = asyncio.run(_cancel(prepare(store)))
    note(f"已请求取消同步任务 {stats.run_id}")
    return ExitCode.SUCCESS


async def _cancel(settings: Settings) -> SyncStats:
    async with open_app(settings) as app:
        return await app.service.cancel(this_actor())
