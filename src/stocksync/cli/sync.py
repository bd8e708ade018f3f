"""The verb `sync`: a run in this process, from start to end."""

import asyncio
from contextlib import aclosing
from typing import Final

from stocksync.app import open_app
from stocksync.cli import words
from stocksync.cli.following import changes
from stocksync.cli.interrupts import interruptible
from stocksync.cli.outcome import ExitCode, code_of_run
from stocksync.cli.output import note, print_json
from stocksync.cli.progress import progress_view
from stocksync.cli.session import prepare, this_actor
from stocksync.cli.tables import console, status_view
from stocksync.domain.status import Job, SyncStats, Trigger
from stocksync.domain.wire import to_wire
from stocksync.errors import NoRunInProgress, StoreError
from stocksync.settings import Settings
from stocksync.sync.runner import MultiSourceBasicsSyncService, RunRequest, Started

CANCEL_SECONDS: Final = 2.0
"""How long a run that was asked to end may take for it, before it is stopped."""


def sync(*, force: bool, sources: str, job: Job, as_json: bool, store: str | None) -> int:
    """Carry a run out, tell how it went, and give the exit code for that."""
    settings = prepare(store)
    names = tuple(name.strip() for name in sources.split(",") if name.strip())
    request = RunRequest(
        job=job, force=force, preferred_sources=names, trigger=Trigger.CLI, actor=this_actor()
    )
    started = asyncio.run(_carry_out(settings, request))
    if started is None:
        note("已取消，同步任务没有开始")
        return ExitCode.CANCELLED
    _show(started, as_json=as_json)
    return code_of_run(started.stats) if started.accepted else ExitCode.ALREADY_RUNNING


async def _carry_out(settings: Settings, request: RunRequest) -> Started | None:
    """Give how the run stands at its end, or which other one goes on; None where nothing was started."""
    with interruptible() as asked:
        async with open_app(settings) as app:
            if asked.is_set():
                return None
            started = await app.service.start(request)
            if not started.accepted:
                return started
            stats = await _follow(app.service, started.stats, asked)
        if not stats.final:  # closing the app stopped it
            stats = app.service.board.get(stats.job)
        return Started(stats, accepted=True)


async def _follow(service: MultiSourceBasicsSyncService, run: SyncStats, asked: asyncio.Event) -> SyncStats:
    """Show the run until it is over; soon after somebody asked to end it, it is."""
    with progress_view() as show:
        async with aclosing(changes(service.board, run.job, asked)) as seen:
            async for stats in seen:
                if stats.run_id != run.run_id:
                    break  # superseded, and the next one has begun
                show(stats)
                if stats.final:
                    break
        shown = service.board.get(run.job)
        if shown.run_id == run.run_id and shown.running:
            await _cancel(service, run)
    return await service.wait(run, seconds=0)


async def _cancel(service: MultiSourceBasicsSyncService, run: SyncStats) -> None:
    """Ask the run to end and wait a little. Where the store does not help, closing the app will."""
    note("正在取消同步任务，再按一次 Ctrl-C 立即退出")
    try:
        async with asyncio.timeout(CANCEL_SECONDS):
            await service.cancel(this_actor(), run.run_id)
            await service.wait(run, seconds=None)
    except NoRunInProgress:
        return  # it ended by itself meanwhile
    except (TimeoutError, StoreError):
        note("同步任务没有及时结束，正在强行停止")


def _show(started: Started, *, as_json: bool) -> None:
    stats = started.stats
    if not started.accepted:
        note(f"同步任务正在运行中：{stats.run_id}，{words.phase(stats)}  {words.figures(stats)}".rstrip())
    elif as_json and stats.reason is not None:
        note(f"{words.outcome(stats)}：{stats.message}")
    if as_json:
        print_json(to_wire(stats))
    elif started.accepted:
        console().print(status_view(stats))
