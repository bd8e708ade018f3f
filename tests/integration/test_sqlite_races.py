"""What only real processes can show: one owner among many that ask together, and nothing lost to kill -9."""

import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Timer
from typing import Final

import pytest

from stocksync.domain.status import Job, Reason, SyncStatus, broken_invariants
from stocksync.stores import open_store

RACERS: Final = 8
ROUNDS: Final = 40
KILLS: Final = 16
BLOCKS: Final = 20
BLOCK_ROWS: Final = 40
PATIENCE: Final = 120.0

RACER: Final = """
import asyncio, sys, time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from stocksync.domain.status import Job, Trigger, begin, complete
from stocksync.errors import RunInProgress
from stocksync.ports import Journal
from stocksync.stores import open_store

LONG = timedelta(minutes=5)

async def main(url, me):
    store = await open_store(url)
    print("ready", flush=True)
    held = None
    for line in sys.stdin:
        order, _, rest = line.strip().partition(" ")
        if order == "race":
            number, at, force = rest.split()
            while time.monotonic() < float(at):
                pass
            job = Job.MULTI if (int(number) + me) % 2 else Job.SINGLE
            name, now = f"run-{number}-{me}", datetime.now(UTC)
            run = begin(job=job, run_id=name, trigger=Trigger.CLI, started_at=now)
            try:
                fence = await store.runs.acquire(run, owner=f"racer-{me}", ttl=LONG, force=force == "force")
            except RunInProgress:
                print("busy", flush=True)
            else:
                held = fence, replace(run, revision=fence.first_revision)
                print("won", fence.token, flush=True)
        elif order == "finish":
            fence, stats = held
            ended = complete(stats, at=datetime.now(UTC), message="done")
            await store.runs.finish(fence, replace(ended, revision=fence.revision(9)), Journal())
            print("finished", flush=True)
        elif order == "die":
            fence, stats = held
            await store.runs.advance(
                fence, replace(stats, revision=fence.revision(9)), Journal(), ttl=timedelta(milliseconds=1)
            )
            await asyncio.sleep(0.02)
            print("dead", flush=True)
    await store.aclose()

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""

WRITER: Final = """
import asyncio, sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from stocksync.domain.status import Job, SourceCount, Trigger, begin
from stocksync.domain.stock import StockBasic
from stocksync.ports import Journal
from stocksync.stores import open_store

async def main(url, name, first, blocks, rows):
    store = await open_store(url)
    run = begin(job=Job.MULTI, run_id=name, trigger=Trigger.CLI, started_at=datetime.now(UTC))
    lease = timedelta(minutes=5)
    fence = await store.runs.acquire(run, owner=name, ttl=lease, force=True)
    listed = {"tushare": SourceCount(total=blocks * rows)}
    step = replace(run, revision=fence.revision(2), total=blocks * rows, source_stats=listed)
    await store.runs.advance(fence, step, Journal(), ttl=lease)
    batch = first
    while True:
        block = batch % blocks
        stocks = [
            StockBasic(
                code=f"600{block * rows + n:03}", source="tushare", name=f"batch {batch}", market="main",
                trade_date="20260415", figures={"pe": float(batch)}, field_sources={"pe": "tushare:20260415"},
            )
            for n in range(rows)
        ]
        count = await store.stocks.upsert(stocks, fence)
        assert count.inserted + count.changed == rows, count
        print(batch, flush=True)
        batch += 1

name, first, blocks, rows = sys.argv[2], *map(int, sys.argv[3:])
asyncio.run(main(sys.argv[1], name, first, blocks, rows))
"""


class Child:
    """A process of ours that is told what to do line by line."""

    def __init__(self, script: str, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", script, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def tell(self, line: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def hear(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def rest(self) -> list[str]:
        """Everything that it still said; only complete lines count."""
        assert self.process.stdout
        return [
            line.strip() for line in self.process.stdout.read().splitlines(keepends=True) if line[-1] == "\n"
        ]


@contextmanager
def child(script: str, *arguments: str) -> Iterator[Child]:
    """Start a process; it is killed at the end, or after PATIENCE: nobody waits for its word for ever."""
    running = Child(script, *arguments)
    watchdog = Timer(PATIENCE, running.process.kill)
    watchdog.start()
    with running.process:
        try:
            yield running
        finally:
            watchdog.cancel()
            running.process.kill()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "stocks.db"


def race(racers: Sequence[Child], number: int, *, force: bool) -> list[list[str]]:
    """Let all of them ask at the same moment; give their answers."""
    at = time.monotonic() + 0.03
    for racer in racers:
        racer.tell(f"race {number} {at} {'force' if force else '-'}")
    return [racer.hear().split() for racer in racers]


@pytest.mark.chaos
async def test_of_eight_processes_that_ask_together_one_gets_the_slot(path: Path, rounds: int | None) -> None:
    """Odd rounds begin with the run of an owner who died: it too is closed once, by the one that wins."""
    url = f"sqlite:///{path}"
    played = max(rounds or ROUNDS, 4)
    tokens = []
    with ExitStack() as stack:
        racers = [stack.enter_context(child(RACER, url, str(n))) for n in range(RACERS)]
        assert [racer.hear() for racer in racers] == ["ready"] * RACERS
        for number in range(played):
            answers = race(racers, number, force=False)
            winners = [n for n, answer in enumerate(answers) if answer[0] == "won"]
            assert len(winners) == 1, answers
            assert sum(answer == ["busy"] for answer in answers) == RACERS - 1, answers
            tokens.append(int(answers[winners[0]][1]))
            order, done = ("finish", "finished") if number % 2 else ("die", "dead")
            racers[winners[0]].tell(order)
            assert racers[winners[0]].hear() == done
    assert tokens == list(range(1, played + 1))
    await check_history(url, played)
    print(f"one owner at a time, 8 processes: {played} rounds, 0 violations")


async def check_history(url: str, played: int) -> None:
    store = await open_store(url)
    try:
        if played % 2:
            await store.runs.rescue(datetime.now(UTC))
        runs = await store.runs.history(limit=played + 1)
        ends = [run.status for run in reversed(runs)]
        assert ends == [SyncStatus.SUCCESS if n % 2 else SyncStatus.FAILED for n in range(played)]
        assert {run.reason for run in runs} == {None, Reason.INTERRUPTED}
        assert all(broken_invariants(run) == [] for run in runs)
        for run in runs:
            closings = [event.event for event in await store.runs.events(run.run_id or "")]
            assert closings == ([] if run.reason is None else ["run_closed"])
    finally:
        await store.aclose()


async def test_of_eight_processes_that_force_each_gets_the_slot_in_turn_and_one_keeps_it(path: Path) -> None:
    url = f"sqlite:///{path}"
    with ExitStack() as stack:
        racers = [stack.enter_context(child(RACER, url, str(n))) for n in range(RACERS)]
        assert [racer.hear() for racer in racers] == ["ready"] * RACERS
        answers = [answer for number in range(3) for answer in race(racers, number, force=True)]
    assert sorted(int(token) for _, token in answers) == list(range(1, 3 * RACERS + 1))
    store = await open_store(url)
    try:
        runs = await store.runs.history(limit=99)
        assert len(runs) == 3 * RACERS
        (going,) = [run for run in runs if run.running]
        assert going.revision == max(run.revision for run in runs)
        assert {run.reason for run in runs if not run.running} == {Reason.SUPERSEDED}
        shown = [stats for job in Job if (stats := await store.runs.latest(job)) is not None]
        assert sum(stats.running for stats in shown) == 1
    finally:
        await store.aclose()


def batches_in(path: Path) -> dict[int, set[tuple[float, str, int]]]:
    """What each block of rows holds: one (figure, name, rows) where a batch landed whole."""
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        rows = db.execute(
            "SELECT (code - 600000) / ?, pe, name, count(*) FROM stock_basic_info GROUP BY 1, 2, 3",
            (BLOCK_ROWS,),
        ).fetchall()
    found: dict[int, set[tuple[float, str, int]]] = {}
    for block, pe, name, count in rows:
        found.setdefault(block, set()).add((pe, name, count))
    return found


def whole(batch: int) -> tuple[float, str, int]:
    return (float(batch), f"batch {batch}", BLOCK_ROWS)


def written_until_killed(url: str, name: str, first: int, dice: random.Random, *, at_least: int) -> list[int]:
    """Let a process write, kill it at some moment, and tell which batches it said were committed.

    Without a batch to wait for it may be killed while it starts, opens the store or takes the slot.
    """
    with child(WRITER, url, name, str(first), str(BLOCKS), str(BLOCK_ROWS)) as writer:
        said = [writer.hear() for _ in range(dice.randint(at_least, 8))]
        time.sleep(dice.uniform(0, 0.02 if said else 0.3))
        writer.process.kill()
        said += writer.rest()
    return [int(line) for line in said]


@pytest.mark.chaos
@pytest.mark.parametrize("seed", [20260415])
async def test_no_acknowledged_batch_is_lost_or_halved_by_kill_9(
    path: Path, rounds: int | None, seed: int
) -> None:
    url = f"sqlite:///{path}"
    dice = random.Random(seed)
    committed: dict[int, int] = {}
    wrote: dict[str, int] = {}
    first = 0
    for kill in range(max(rounds or KILLS, 2)):
        said = written_until_killed(url, f"run-{kill}", first, dice, at_least=0 if kill else 1)
        assert said == list(range(first, first + len(said)))
        committed.update({batch % BLOCKS: batch for batch in said})
        unanswered = first + len(said)  # committed or not when the kill came, but never half of it
        landed = batches_in(path)
        if whole(unanswered) in landed.get(unanswered % BLOCKS, set()):
            committed[unanswered % BLOCKS] = unanswered
            said.append(unanswered)
        wrote[f"run-{kill}"] = BLOCK_ROWS * min(len(said), BLOCKS)
        assert landed == {block: {whole(batch)} for block, batch in committed.items()}
        first = unanswered + 1
    store = await open_store(url)
    try:
        going, *closed = sorted(await store.runs.history(limit=10_000), key=lambda run: not run.running)
        assert going.running
        assert {run.run_id for run in (going, *closed)} >= {name for name, rows in wrote.items() if rows}
        for run in closed:
            assert run.reason is Reason.SUPERSEDED
            assert broken_invariants(run) == []
            assert run.inserted + run.updated == wrote[run.run_id or ""]
        assert await store.stocks.count() == BLOCK_ROWS * len(committed)
    finally:
        await store.aclose()
    print(f"no acknowledged row lost, kill -9: {max(rounds or KILLS, 2)} rounds, 0 violations")
