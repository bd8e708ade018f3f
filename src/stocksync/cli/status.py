"""The verb `status`: how a sync stands, now or from now on."""

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager, nullcontext

from rich.live import Live

from stocksync.cli import words
from stocksync.cli.desk import open_desk
from stocksync.cli.following import until
from stocksync.cli.interrupts import interruptible
from stocksync.cli.outcome import ExitCode
from stocksync.cli.output import one_line, print_json, print_line
from stocksync.cli.session import prepare
from stocksync.cli.tables import console, status_view
from stocksync.domain.status import Job, SyncStats
from stocksync.domain.wire import to_wire
from stocksync.settings import Settings

Show = Callable[[SyncStats], None]


def status(*, watch: bool, as_json: bool, job: Job | None, store: str | None, server: str | None) -> int:
    """Show how it stands; with `watch` every change, until Ctrl-C."""
    settings = prepare(store, server)
    with _view(watch=watch, as_json=as_json) as show:
        asyncio.run(_follow(settings, job, show, watch=watch))
    return ExitCode.SUCCESS


async def _follow(settings: Settings, job: Job | None, show: Show, *, watch: bool) -> None:
    with interruptible() if watch else nullcontext(asyncio.Event()) as asked:
        async with open_desk(settings) as desk, aclosing(until(asked, desk.changes(job))) as seen:
            async for stats in seen:
                show(stats)
                if not watch:
                    break


@contextmanager
def _view(*, watch: bool, as_json: bool) -> Iterator[Show]:
    """Objects for machines, a view that renews itself on a terminal, or lines."""
    if as_json:
        yield lambda stats: print_json(to_wire(stats), compact=watch)
    elif not watch:
        yield lambda stats: console().print(status_view(stats))
    elif sys.stdout.isatty():
        with Live(console=console(), auto_refresh=False) as live:
            yield lambda stats: live.update(status_view(stats), refresh=True)
    else:
        yield _print_change


def _print_change(stats: SyncStats) -> None:
    parts = (stats.run_id, words.outcome(stats), words.phase(stats), words.figures(stats), stats.message)
    print_line(one_line("  ".join(part for part in parts if part)))
