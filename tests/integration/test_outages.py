"""A database that is out of reach for a while: nobody is declared dead for it, and what is old says so."""

import asyncio
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from builders import a_run
from integration.servers import ServerProcess, server
from stocksync.app import App, open_app
from stocksync.audit import Actor
from stocksync.clock import SystemClock
from stocksync.domain.status import Reason, SyncStatus, Trigger
from stocksync.errors import LeaseLost, StoreUnavailable
from stocksync.ports import Fence, Journal
from stocksync.simulator import Simulator, SimulatorOptions, open_simulator
from stocksync.stores import open_store
from stocksync.stores.sqlite import SqliteStore
from stocksync.sync.requests import RunRequest
from support import settings_for

RUN = "/api/sync/stock_basics/run"
STATUS = "/api/sync/stock_basics/status"
QUICK = {"STOCKSYNC_RESCUE_SECONDS": "2"}
LEASE = 1.5
"""What a promise of 2 s leaves for it."""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the file's write lock, as a foreign program may: a backup, a person with a shell."""
    with closing(sqlite3.connect(path, isolation_level=None, timeout=10)) as db:
        db.execute("BEGIN IMMEDIATE")
        yield
        db.execute("ROLLBACK")


@asynccontextmanager
async def running(store: Path, environment: dict[str, str]) -> AsyncIterator[ServerProcess]:
    manager = server(store, environment)
    started = await asyncio.to_thread(manager.__enter__)
    try:
        yield started
    finally:
        await asyncio.to_thread(manager.__exit__, None, None, None)


def status_of(process: ServerProcess) -> dict[str, Any]:
    data: dict[str, Any] = httpx.get(f"{process.url}{STATUS}", timeout=5).json()["data"]
    return data


def readiness_of(process: ServerProcess) -> int:
    return httpx.get(f"{process.url}/readyz", timeout=5).status_code


def begin_run(process: ServerProcess) -> str:
    run_id: str = httpx.post(f"{process.url}{RUN}", timeout=5).json()["data"]["run_id"]
    return run_id


# --- a foreign process that blocks the file


async def test_a_lock_that_outlasts_the_lease_costs_a_living_owner_nothing(tmp_path: Path) -> None:
    """Two servers look for dead owners meanwhile. The upstream waits with us: it lives on this loop."""
    store = tmp_path / "stocks.db"
    async with open_simulator(SimulatorOptions(size=600, pace="realistic")) as simulator:
        environment = {**simulator.settings, **QUICK}
        async with running(store, environment) as owner, running(store, environment) as other:
            run_id = begin_run(owner)
            with locked(store):
                time.sleep(LEASE * 3)  # noqa: ASYNC251 - the upstream must not answer meanwhile
                for process in (owner, other):
                    shown = status_of(process)
                    assert (shown["run_id"], shown["status"]) == (run_id, "running")
                    assert shown["stale_since"] is not None, "nobody can know whether the owner lives"
                    assert readiness_of(process) == 503
            deadline = time.monotonic() + 20
            while (shown := await asyncio.to_thread(status_of, other))["status"] == "running":
                assert time.monotonic() < deadline
                await asyncio.sleep(0.1)
            assert (shown["run_id"], shown["status"], shown["stale_since"]) == (run_id, "success", None)
            assert readiness_of(other) == 200


async def test_a_dead_owners_run_is_closed_once_the_file_can_be_written_again(
    simulator: Simulator, tmp_path: Path
) -> None:
    store, environment = tmp_path / "stocks.db", {**simulator.settings, **QUICK}
    environment["STOCKSYNC_RESUME_INTERRUPTED"] = "false"
    simulator.faults.set("tushare.stock_basic", "hang")
    async with running(store, environment) as owner, running(store, environment) as other:
        await asyncio.to_thread(begin_run, owner)
        with locked(store):
            await asyncio.to_thread(owner.kill)
            await asyncio.sleep(LEASE + 2)
            shown = await asyncio.to_thread(status_of, other)
            assert shown["status"] == "running"
            assert shown["stale_since"] is not None
        freed_at = time.monotonic()
        while (shown := await asyncio.to_thread(status_of, other))["status"] == "running":
            assert time.monotonic() - freed_at < 2
            await asyncio.sleep(0.05)
        assert (shown["reason"], shown["stale_since"]) == ("interrupted", None)


async def test_a_server_stops_in_time_although_the_end_of_its_run_cannot_be_stored(
    simulator: Simulator, tmp_path: Path
) -> None:
    store = tmp_path / "stocks.db"
    simulator.faults.set("tushare.stock_basic", "hang")
    async with running(store, {**simulator.settings}) as owner:
        run_id = await asyncio.to_thread(begin_run, owner)
        await asyncio.sleep(0.5)
        with locked(store):
            await asyncio.sleep(1)  # so that a step is under way and waits for the file
            began = time.monotonic()
            code = await asyncio.to_thread(owner.stop)
            took = time.monotonic() - began
    print(f"stopped {took:.2f} s after SIGTERM, with the file locked")
    assert code == 0
    assert took < 5
    with closing(sqlite3.connect(store)) as db:
        assert db.execute("SELECT run_id FROM lease").fetchone() == (run_id,), "left to a rescue"


async def test_a_look_proves_that_the_file_really_can_be_written(tmp_path: Path) -> None:
    """A full disk lets a transaction begin: only a page that was committed proves anything."""
    path = tmp_path / "stocks.db"
    store = await open_store(f"sqlite:///{path}")
    with closing(sqlite3.connect(path)) as other:
        fence = await store.runs.acquire(a_run(), owner="me", ttl=timedelta(minutes=1), force=False)
        before = committed(other)
        assert await store.runs.overdue() is None
        assert committed(other) == before, "a look at a lease that holds costs no write"
        stats = replace(a_run(), revision=fence.revision(2))
        await store.runs.advance(fence, stats, Journal(), ttl=timedelta(milliseconds=1))
        await asyncio.sleep(0.02)
        everything = other.execute("SELECT * FROM lease").fetchall()
        before = committed(other)
        assert await store.runs.overdue() == fence.token
        assert committed(other) != before
        assert other.execute("SELECT * FROM lease").fetchall() == everything
    await store.aclose()


def committed(db: sqlite3.Connection) -> int:
    version: int = db.execute("PRAGMA data_version").fetchone()[0]
    return version


async def test_an_owner_keeps_a_lease_that_ran_out_until_somebody_takes_it(tmp_path: Path) -> None:
    store = await open_store(f"sqlite:///{tmp_path / 'stocks.db'}")
    blink = timedelta(milliseconds=1)
    fence = await store.runs.acquire(a_run(), owner="me", ttl=blink, force=False)
    await asyncio.sleep(0.02)
    assert await store.runs.overdue() == fence.token
    stats = replace(a_run(), revision=fence.revision(2))
    await store.runs.advance(fence, stats, Journal(), ttl=timedelta(minutes=1))
    assert await store.runs.overdue() is None
    assert await store.runs.rescue(datetime.now(UTC)) is None
    await store.runs.advance(fence, replace(stats, revision=fence.revision(3)), Journal(), ttl=blink)
    await asyncio.sleep(0.02)
    assert await store.runs.rescue(datetime.now(UTC)) is not None
    with pytest.raises(LeaseLost):
        await store.runs.advance(fence, replace(stats, revision=fence.revision(4)), Journal(), ttl=blink)
    assert await store.runs.overdue() is None
    await store.aclose()


async def test_closing_the_store_does_not_wait_for_a_foreign_process(tmp_path: Path) -> None:
    path = tmp_path / "stocks.db"
    store = await open_store(f"sqlite:///{path}")
    with locked(path):
        writes = [asyncio.create_task(acquired(store.runs, f"run-{n}")) for n in range(3)]
        await asyncio.sleep(0.2)
        began = time.monotonic()
        await store.aclose()
        assert time.monotonic() - began < 2
        ends = await asyncio.gather(*writes, return_exceptions=True)
        assert [type(end) for end in ends] == [StoreUnavailable] * 3


async def test_a_store_that_never_closes_keeps_no_process_from_stopping(
    simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(self: SqliteStore) -> None:
        await self.database.aclose()
        await asyncio.Event().wait()

    monkeypatch.setattr(SqliteStore, "aclose", never)
    async with asyncio.timeout(5):
        async with open_app(settings_for(simulator, tmp_path)):
            pass


async def acquired(runs: Any, run_id: str) -> Fence:
    fence: Fence = await runs.acquire(a_run(run_id), owner="me", ttl=timedelta(minutes=1), force=False)
    return fence


# --- a store that hangs


@pytest.fixture
async def served(simulator: Simulator, tmp_path: Path) -> AsyncIterator[App]:
    settings = settings_for(simulator, tmp_path, rescue_seconds=3)
    async with open_app(settings, SystemClock()) as app:
        yield app


@contextmanager
def hanging(app: App) -> Iterator[None]:
    """Let every read of the store take for ever, without an error."""
    assert isinstance(app.store, SqliteStore)
    let_go = threading.Event()
    app.store.database._reader.thread.submit(let_go.wait)
    try:
        yield
    finally:
        let_go.set()


async def test_a_store_that_hangs_makes_the_board_stale_within_a_moment(served: App) -> None:
    board = served.service.board
    await asyncio.sleep(1)
    assert board.get().stale_since is None
    with hanging(served):
        began, began_at = time.monotonic(), datetime.now(UTC)
        async with asyncio.timeout(5):
            await board.wait_for(lambda: board.get().stale_since is not None)
        took = time.monotonic() - began
        since = board.get().stale_since
        assert since is not None
        await asyncio.sleep(1)
        assert board.get().stale_since == since
    async with asyncio.timeout(5):
        await board.wait_for(lambda: board.get().stale_since is None)
    print(f"stale {took:.2f} s after the store began to hang")
    assert 0.6 < took < 1.8, "1.1 where nobody else wants the processor"
    assert began_at - timedelta(seconds=0.5) < since <= began_at + timedelta(seconds=0.05)


async def test_what_happened_while_the_store_hung_is_shown_when_it_is_back(
    served: App, simulator: Simulator, tmp_path: Path
) -> None:
    board = served.service.board
    with hanging(served):
        async with open_app(settings_for(simulator, tmp_path)) as other:
            ended = await other.service.run_full_sync()
        async with asyncio.timeout(5):
            await board.wait_for(lambda: board.get().stale_since is not None)
        assert board.get().status is SyncStatus.NEVER_RUN
    async with asyncio.timeout(1):
        await board.wait_for(lambda: board.get() == ended)


async def test_a_busy_event_loop_makes_no_store_look_lost(served: App) -> None:
    board = served.service.board
    seen: set[datetime | None] = set()
    show = board._show
    board._show = lambda: (show(), seen.add(board.get().stale_since))  # type: ignore[assignment,method-assign,func-returns-value]
    for _ in range(3):
        await asyncio.sleep(0.35)
        time.sleep(1.6)  # noqa: ASYNC251 - that is what is tried
    await asyncio.sleep(0.5)
    assert seen <= {None}


# --- taking a lease that ran out


async def left_by_its_owner(app: App, run_id: str = "before") -> Fence:
    """A run whose lease has just run out."""
    run = replace(a_run(run_id, at=datetime.now(UTC)))
    fence = await app.store.runs.acquire(run, owner="me", ttl=timedelta(milliseconds=1), force=False)
    await asyncio.sleep(0.02)
    return fence


REQUEST = RunRequest(trigger=Trigger.API, actor=Actor())


async def test_who_starts_a_run_right_after_an_outage_does_not_take_it_from_a_living_owner(
    served: App,
) -> None:
    fence = await left_by_its_owner(served)
    starting = asyncio.create_task(served.service.start(REQUEST))
    await asyncio.sleep(0.1)
    step = replace(a_run("before"), revision=fence.revision(2))
    await served.store.runs.advance(fence, step, Journal(), ttl=timedelta(minutes=1))
    started = await starting
    assert not started.accepted
    assert started.stats.run_id == "before"
    assert started.stats.running


async def test_who_starts_a_run_after_a_dead_owner_gets_the_slot(served: App) -> None:
    await left_by_its_owner(served)
    began = time.monotonic()
    started = await served.service.start(REQUEST)
    assert started.accepted
    assert time.monotonic() - began < 1
    closed = await served.service.get_run("before")
    assert (closed.status, closed.reason) == (SyncStatus.FAILED, Reason.INTERRUPTED)


async def test_force_waits_for_nobody(simulator: Simulator, tmp_path: Path) -> None:
    async with open_app(settings_for(simulator, tmp_path, rescue_seconds=100), SystemClock()) as app:
        await left_by_its_owner(app)
        async with asyncio.timeout(5):
            started = await app.service.start(replace(REQUEST, force=True))
        assert started.accepted
