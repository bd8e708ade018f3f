"""Processes of ours that do one thing with a store when they are told to: race for the slot, or write."""

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Thread, Timer
from typing import Final

PATIENCE: Final = 120.0

RACER: Final = """
import asyncio, sys, time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from stocksync.domain.status import Job, Trigger, begin, complete
from stocksync.errors import LeaseLost, RunInProgress
from stocksync.ports import Journal
from stocksync.stores import open_store

LONG = timedelta(minutes=5)

async def main(me):
    store = held = None
    while line := await asyncio.to_thread(sys.stdin.readline):
        order, _, rest = line.strip().partition(" ")
        if order == "open":
            store = await open_store(rest)
            print("ready", flush=True)
        elif order == "close":
            await store.aclose()
            print("closed", flush=True)
        elif order == "race":
            number, at, force = rest.split()
            time.sleep(max(0.0, float(at) - time.monotonic()))
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
        elif order == "step":
            fence, stats = held
            stats = replace(stats, revision=fence.revision(5))
            try:
                await store.runs.advance(fence, stats, Journal(), ttl=LONG)
            except LeaseLost:
                print("lost", flush=True)
            else:
                print("kept", flush=True)
        elif order == "die":
            fence, stats = held
            await store.runs.advance(
                fence, replace(stats, revision=fence.revision(9)), Journal(), ttl=timedelta(milliseconds=1)
            )
            await asyncio.sleep(0.003)
            print("dead", flush=True)

asyncio.run(main(int(sys.argv[1])))
"""

WRITER: Final = """
import asyncio, sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from stocksync.domain.status import Job, SourceCount, Trigger, begin
from stocksync.domain.stock import StockBasic
from stocksync.errors import StoreUnavailable
from stocksync.ports import Journal
from stocksync.stores import open_store

async def main(url, name, first, blocks, rows):
    store = await open_store(url)
    await store.stocks.ensure_writable()
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
        try:
            count = await store.stocks.upsert(stocks, fence)
        except StoreUnavailable:
            continue  # the server is down; some rows may have landed
        assert count.inserted + count.changed + count.unchanged == rows, count
        print(batch, flush=True)
        batch += 1

name, first, blocks, rows = sys.argv[2], *map(int, sys.argv[3:])
asyncio.run(main(sys.argv[1], name, first, blocks, rows))
"""

OWNER: Final = """
import asyncio, random, sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from stocksync.domain.status import Job, SourceCount, Trigger, begin
from stocksync.domain.stock import StockBasic
from stocksync.errors import LeaseLost
from stocksync.ports import Journal
from stocksync.stores import open_store

BATCH = 200

async def own(store, number, ttl, codes):
    run = begin(job=Job.MULTI, run_id=f"old-{number}", trigger=Trigger.CLI, started_at=datetime.now(UTC))
    fence = await store.runs.acquire(run, owner="old", ttl=ttl, force=False)
    print("owns", flush=True)
    try:
        await write_for_ever(store, fence, run, ttl, codes)
    except LeaseLost:
        await store.stocks.retract(fence)
        print("lost", flush=True)

async def write_for_ever(store, fence, run, ttl, codes):
    listed = {"tushare": SourceCount(total=len(codes))}
    run, step = replace(run, total=len(codes), source_stats=listed), 1
    while True:
        step += 1
        await store.runs.advance(fence, replace(run, revision=fence.revision(step)), Journal(), ttl=ttl)
        random.shuffle(codes)
        for start in range(0, len(codes), BATCH):
            await store.stocks.upsert([a_row(code, step) for code in codes[start:start + BATCH]], fence)

def a_row(code, step):
    agrees = int(code) % 4 == 3  # on these the next owner says the same
    return StockBasic(
        code=code, source="tushare", name="both" if agrees else "old", market="main", trade_date="20260415",
        figures={"pe": 7.0 if agrees else 100.0 + step}, field_sources={"pe": "tushare:20260415"},
    )

async def main(url, *codes):
    store = await open_store(url)
    await store.stocks.ensure_writable()
    print("ready", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        number, ttl = line.split()
        await own(store, number, timedelta(seconds=float(ttl)), list(codes))
    await store.aclose()

asyncio.run(main(*sys.argv[1:]))
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

    def listen(self) -> list[str]:
        """Everything that it says from now on: the list grows by itself."""
        said: list[str] = []

        def collect() -> None:
            while line := self.hear():
                said.append(line)

        Thread(target=collect, daemon=True).start()
        return said

    def rest(self) -> list[str]:
        """Everything that it still said; only complete lines count."""
        assert self.process.stdout
        return [
            line.strip() for line in self.process.stdout.read().splitlines(keepends=True) if line[-1] == "\n"
        ]


@contextmanager
def child(script: str, *arguments: str, patience: float = PATIENCE) -> Iterator[Child]:
    """Start a process; it is killed at the end, or after `patience`: nobody waits for its word for ever."""
    running = Child(script, *arguments)
    watchdog = Timer(patience, running.process.kill)
    watchdog.start()
    with running.process:
        try:
            yield running
        finally:
            watchdog.cancel()
            running.process.kill()


def race(racers: Sequence[Child], number: int, *, force: bool) -> list[list[str]]:
    """Let all of them ask at the same moment; give their answers."""
    at = time.monotonic() + 0.002
    for racer in racers:
        racer.tell(f"race {number} {at} {'force' if force else '-'}")
    return [racer.hear().split() for racer in racers]
