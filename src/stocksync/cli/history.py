"""The verb `history`: the runs that were, newest first."""

import asyncio
from collections.abc import Sequence

from stocksync.cli.desk import open_desk
from stocksync.cli.outcome import ExitCode
from stocksync.cli.output import note, print_json
from stocksync.cli.session import prepare
from stocksync.cli.tables import console, history_view
from stocksync.domain.status import SyncStats
from stocksync.domain.wire import to_wire
from stocksync.settings import Settings


def history(*, limit: int, as_json: bool, store: str | None, server: str | None) -> int:
    """Show at most `limit` runs."""
    runs = asyncio.run(_read(prepare(store, server), limit))
    if as_json:
        print_json([to_wire(stats) for stats in runs])
    elif runs:
        console().print(history_view(runs))
    else:
        note("还没有运行过同步任务")
    return ExitCode.SUCCESS


async def _read(settings: Settings, limit: int) -> Sequence[SyncStats]:
    async with open_desk(settings) as desk:
        return await desk.history(limit)
