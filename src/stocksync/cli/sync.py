"""The verb `sync`: a run from start to end, in this process or at a server."""

import asyncio
from contextlib import aclosing

from stocksync.cli import words
from stocksync.cli.desk import Begun, Desk, Wish, open_desk
from stocksync.cli.following import until
from stocksync.cli.interrupts import interruptible
from stocksync.cli.outcome import ExitCode, code_of_run
from stocksync.cli.output import note, print_json
from stocksync.cli.progress import progress_view
from stocksync.cli.session import prepare
from stocksync.cli.tables import console, status_view
from stocksync.domain.status import Job, SyncStats
from stocksync.domain.wire import to_wire
from stocksync.settings import Settings


def sync(*, force: bool, sources: str, job: Job, as_json: bool, store: str | None, server: str | None) -> int:
    """Carry a run out, tell how it went, and give the exit code for that."""
    settings = prepare(store, server)
    names = tuple(name.strip() for name in sources.split(",") if name.strip())
    begun = asyncio.run(_carry_out(settings, Wish(job=job, force=force, preferred_sources=names)))
    if begun is None:
        note("已取消，同步任务没有开始")
        return ExitCode.CANCELLED
    _show(begun, as_json=as_json)
    return code_of_run(begun.stats) if begun.accepted else ExitCode.ALREADY_RUNNING


async def _carry_out(settings: Settings, wish: Wish) -> Begun | None:
    """Give how the run stands at its end, or which other one goes on; None where nothing was started."""
    with interruptible() as asked:
        async with open_desk(settings) as desk:
            if asked.is_set():
                return None
            begun = await desk.begin(wish)
            if not begun.accepted:
                return begun
            stats = await _follow(desk, begun.stats, asked)
        if not stats.final:  # closing the desk stopped it
            stats = desk.known(stats)
        return Begun(stats, accepted=True)


async def _follow(desk: Desk, run: SyncStats, asked: asyncio.Event) -> SyncStats:
    """Show the run until it is over; soon after somebody asked to end it, it is."""
    with progress_view() as show:
        async with aclosing(until(asked, desk.changes(run.job))) as seen:
            async for stats in seen:
                if stats.revision < run.revision:
                    continue  # from a process of the server that does not know the run yet
                if stats.run_id != run.run_id:
                    break  # superseded, and the next one has begun
                show(stats)
                if stats.final:
                    break
            else:
                note("正在取消同步任务，再按一次 Ctrl-C 立即退出")
                await desk.end(run)
    return await desk.get_run(run)


def _show(begun: Begun, *, as_json: bool) -> None:
    stats = begun.stats
    if not begun.accepted:
        note(f"同步任务正在运行中：{stats.run_id}，{words.phase(stats)}  {words.figures(stats)}".rstrip())
    elif as_json and stats.reason is not None:
        note(f"{words.outcome(stats)}：{stats.message}")
    if as_json:
        print_json(to_wire(stats))
    elif begun.accepted:
        console().print(status_view(stats))
