"""A full disk, or a limit on the size of files: said clearly, nothing lost, and over once there is room."""

import asyncio
import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from integration.children import PATIENCE, WRITER, child
from integration.servers import ServerProcess, server
from integration.test_store_races import BLOCK_ROWS, BLOCKS, await_more, check_nothing_lost
from mongod_process import Mongod
from stocksync.simulator import Simulator, SimulatorOptions, open_simulator

RUN: Final = "/api/sync/stock_basics/run"
STATUS: Final = "/api/sync/status"
SIZE: Final = 600
SOON: Final = 10.0
CALL_SECONDS: Final = 1.0
FULL_SECONDS: Final = 3.0
"""Longer than a call that is never answered: the disk is full before the run has anything to write."""

BATCH: Final = 1000
MEGABYTE: Final = 2**20

LIMITED: Final = """
import asyncio, resource, sys
from datetime import UTC, datetime, timedelta
from stocksync.domain.status import Job, Trigger, begin
from stocksync.domain.stock import StockBasic
from stocksync.errors import StoreUnavailable
from stocksync.stores import open_store

def batch(number):
    return [
        StockBasic(code=f"600{n:03}", source=f"source-{number}", name=f"batch {number}", market="main")
        for n in range(1000)
    ]

async def main(url, limit):
    store = await open_store(url)
    run = begin(job=Job.MULTI, run_id="run-1", trigger=Trigger.CLI, started_at=datetime.now(UTC))
    fence = await store.runs.acquire(run, owner="me", ttl=timedelta(minutes=5), force=False)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    number = 0
    try:
        while True:
            await store.stocks.upsert(batch(number), fence)
            number += 1
    except StoreUnavailable as exc:
        print(number, exc, flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    count = await store.stocks.upsert(batch(number), fence)
    print(count.inserted, flush=True)
    await store.aclose()

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


# --- a small disk


class Disk:
    """A file system of its own, which can be filled to the last byte."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        with self._ballast.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"x" * 4096)
            except OSError:
                return

    def make_room(self) -> None:
        self._ballast.unlink()


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Disk]:
    """Mount a tmpfs; where that is not allowed the test is skipped."""
    mount = shutil.which("mount")
    if os.geteuid() != 0 or mount is None:
        pytest.skip("only root can mount a small disk")
    folder.mkdir()
    command = [mount, "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.strip()}")
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


async def test_a_full_disk_fails_the_run_in_plain_words_and_the_same_server_goes_on_when_there_is_room(
    tmp_path: Path,
) -> None:
    with small_disk(tmp_path / "disk", 16) as disk:
        store = disk.folder / "stocks.db"
        async with open_simulator(SimulatorOptions(size=SIZE)) as simulator:
            await asyncio.to_thread(fill_up_and_make_room, disk, store, simulator)


def fill_up_and_make_room(disk: Disk, store: Path, simulator: Simulator) -> None:
    with server(store, {**simulator.settings, "STOCKSYNC_CALL_TIMEOUT": str(CALL_SECONDS)}) as running:
        assert synced(running)["status"] == "success"
        age_all_rows(store)
        before = rows_in(store)
        simulator.faults.set("tushare.daily_basic", "hang")
        started = httpx.post(f"{running.url}{RUN}", timeout=10)
        assert started.status_code == 202
        shrink_log(store)
        disk.fill()
        time.sleep(FULL_SECONDS)
        assert httpx.get(f"{running.url}{STATUS}", timeout=5).status_code == 200
        assert rows_in(store) == before, "no batch landed in part"
        simulator.faults.clear()
        disk.make_room()
        room_at = time.monotonic()
        ended = end_of(running, started.json()["data"]["run_id"])
        print(f"disk full: the end was stored {time.monotonic() - room_at:.1f} s after there was room")
        assert (ended["status"], ended["reason"]) == ("failed", "store_unavailable")
        assert "磁盘已满" in ended["message"]
        assert rows_in(store) == before
        assert synced(running)["status"] == "success"
        assert len(rows_in(store)) == SIZE
        assert not rows_in(store) & before, "every row is up to date now"


def synced(running: ServerProcess) -> dict[str, Any]:
    """Run a sync and wait for its end."""
    data: dict[str, Any] = httpx.post(f"{running.url}{RUN}?wait=30", timeout=40).json()["data"]
    return data


def end_of(running: ServerProcess, run_id: str) -> dict[str, Any]:
    deadline = time.monotonic() + SOON
    while time.monotonic() < deadline:
        data: dict[str, Any] = httpx.get(f"{running.url}/api/sync/runs/{run_id}", timeout=5).json()["data"]
        if data["finished_at"]:
            return data
        time.sleep(0.1)
    raise AssertionError(f"the run never ended: {data}")


def age_all_rows(store: Path) -> None:
    """Let every row differ from what the upstreams say, so that the next sync has to write it."""
    with closing(sqlite3.connect(store, timeout=PATIENCE)) as db, db:
        db.execute("UPDATE stock_basic_info SET name = name || '?'")


def shrink_log(store: Path) -> None:
    """Leave no room in the write-ahead log: what was once part of it is written again on a full disk."""
    with closing(sqlite3.connect(store, timeout=PATIENCE)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def rows_in(store: Path) -> set[tuple[str, str, str]]:
    """What is stored, in a file that must be whole."""
    with closing(sqlite3.connect(store, timeout=PATIENCE)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return set(db.execute("SELECT code, source, name FROM stock_basic_info"))


@pytest.mark.chaos
def test_a_standalone_whose_disk_is_full_loses_nothing_that_it_acknowledged(tmp_path: Path) -> None:
    """MongoDB ends itself then, and can be started again once there is room. The writer waits for it."""
    with small_disk(tmp_path / "disk", 120) as disk:
        mongod = Mongod(disk.folder / "db")
        try:
            mongod.start()
            arguments = (mongod.url("full"), "run-0", "0", str(BLOCKS), str(BLOCK_ROWS))
            with child(WRITER, *arguments) as writer:
                said = writer.listen()
                await_more(said, BLOCKS, writer)
                disk.fill()
                assert mongod.process
                mongod.process.wait(PATIENCE)
                disk.make_room()
                mongod.restart()
                check_nothing_lost(mongod.url("full"), list(said))
                await_more(said, 1, writer)
        finally:
            mongod.kill()


# --- a limit on the size of files


@pytest.mark.parametrize("megabytes", [1, 5])
def test_a_limit_on_the_size_of_files_is_said_and_the_same_process_goes_on_without_it(
    tmp_path: Path, megabytes: int
) -> None:
    """It meets the write-ahead log first, and where there is more room the file itself."""
    store = tmp_path / "stocks.db"
    with child(LIMITED, f"sqlite:///{store}", str(megabytes * MEGABYTE)) as process:
        number, _, message = process.hear().partition(" ")
        assert "磁盘" in message
        assert len(rows_in(store)) == int(number) * BATCH
        process.tell("go on")
        assert process.hear() == str(BATCH)
    assert len(rows_in(store)) == (int(number) + 1) * BATCH
