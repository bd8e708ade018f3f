"""Several processes on one file: one run at a time, and a dead owner's run is closed and made good."""

import asyncio
import json
import os
import signal
import sqlite3
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from integration.servers import server
from stocksync.app import open_app
from stocksync.domain.status import Reason, SyncStatus, broken_invariants
from stocksync.simulator import Simulator, SimulatorOptions, open_simulator
from support import settings_for

SMALL_MARKET = {"STOCKSYNC_MIN_STOCKS": "300", "STOCKSYNC_SOURCES": "tushare"}
RACERS = 8
RESCUE_SECONDS = 15
"""STOCKSYNC_RESCUE_SECONDS by default: the promise."""


async def start_sync(simulator: Simulator, store: Path, *options: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "stocksync", "sync", "--json", "--store", f"sqlite:///{store}", *options,
        env={**os.environ, **simulator.settings, **SMALL_MARKET},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.chaos
async def test_eight_processes_that_race_make_one_run(tmp_path: Path, rounds: int | None) -> None:
    options = SimulatorOptions(size=600, pace="realistic")  # long enough for all to meet
    async with open_simulator(options) as simulator:
        for number in range(rounds or 1):
            store = tmp_path / f"race-{number}.db"
            racers = [await start_sync(simulator, store) for _ in range(RACERS)]
            outputs = await asyncio.gather(*(racer.communicate() for racer in racers))
            codes = sorted(racer.returncode or 0 for racer in racers)
            assert codes == [0] + [4] * (RACERS - 1), [err.decode() for _, err in outputs]
            with closing(sqlite3.connect(store)) as db:
                assert db.execute("SELECT status FROM sync_runs").fetchall() == [("success",)]
    print(f"one run at a time, {RACERS} processes: {rounds or 1} rounds, 0 violations")


def stored_rows(store: Path) -> int:
    try:
        with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as db:
            count: int = db.execute("SELECT count(*) FROM stock_basic_info").fetchone()[0]
            return count
    except sqlite3.OperationalError:
        return 0  # not made yet


async def killed_while_writing(simulator: Simulator, folder: Path, number: int) -> tuple[Path, int]:
    """Kill syncs as soon as they write, until one of them leaves a part of the market behind."""
    for attempt in range(10):
        store = folder / f"killed-{number}-{attempt}.db"
        process = await start_sync(simulator, store)
        deadline = time.monotonic() + 30
        while not stored_rows(store):
            assert time.monotonic() < deadline, "the sync never wrote a row"
            await asyncio.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        await process.communicate()
        left = stored_rows(store)
        if left < len(simulator.market.stocks):
            return store, left
    raise AssertionError("no kill hit the middle of a sync")


def status_of(url: str) -> Mapping[str, object]:
    data: Mapping[str, object] = httpx.get(f"{url}/api/sync/status", timeout=5).json()["data"]
    return data


@pytest.mark.chaos
async def test_a_killed_owner_is_rescued_and_the_next_run_writes_only_what_is_missing(
    tmp_path: Path, rounds: int | None
) -> None:
    async with open_simulator(SimulatorOptions()) as simulator:
        for number in range(rounds or 1):
            store, left = await killed_while_writing(simulator, tmp_path, number)
            killed_at = time.monotonic()
            await asyncio.to_thread(check_rescue, simulator, store, left, killed_at)
            await check_next_run(simulator, store, left)
    print(f"no stuck running, next run writes what is missing: {rounds or 1} rounds, 0 violations")


def check_rescue(simulator: Simulator, store: Path, left: int, killed_at: float) -> None:
    with server(store, {**simulator.settings, "STOCKSYNC_RESUME_INTERRUPTED": "false"}) as survivor:
        while (stats := status_of(survivor.url))["status"] == "running":
            assert time.monotonic() - killed_at < RESCUE_SECONDS
            time.sleep(0.1)
        assert (stats["status"], stats["reason"]) == ("failed", "interrupted")
        assert stats["inserted"] == left, "exactly what the dead process had stored"
        assert stats["source_stats"] == {"tushare": {"total": stats["total"], "success": left}}
        with closing(sqlite3.connect(store)) as db:
            details = json.loads(db.execute("SELECT details FROM operation_logs").fetchone()[0])
        assert details["outcome"] == "failed", "the record of the trigger is completed by the rescue too"


async def check_next_run(simulator: Simulator, store: Path, left: int) -> None:
    settings = settings_for(simulator, store.parent, store=f"sqlite:///{store}", min_stocks=4000)
    async with open_app(settings) as app:
        stats = await app.service.run_full_sync()
        assert stats.status is SyncStatus.SUCCESS
        assert broken_invariants(stats) == []
        assert (stats.updated, stats.unchanged) == (left, left)
        assert stats.inserted == stats.total - left
        before = (await app.store.runs.history(limit=2))[1]
        assert before.reason is Reason.INTERRUPTED
        assert before.revision < stats.revision


def test_two_workers_serve_one_truth(tmp_path: Path) -> None:
    """A run lives in one worker; whichever worker a poller meets knows of it within a second."""

    async def scenario() -> None:
        async with open_simulator(SimulatorOptions(size=600)) as simulator:
            await asyncio.to_thread(check_workers, simulator, tmp_path / "workers.db")

    asyncio.run(scenario())


def check_workers(simulator: Simulator, store: Path) -> None:
    with server(store, simulator.settings, "--workers", "2") as running:
        ended = httpx.post(f"{running.url}/api/sync/stock_basics/run?wait=20", timeout=30).json()["data"]
        assert ended["status"] == "success"
        time.sleep(1)
        # A new connection each: the kernel deals them out between the workers.
        answers = [status_of(running.url) for _ in range(20)]
        assert all(answer == ended for answer in answers)
