"""After a rescue: a server goes on with what was interrupted, once, and not for ever."""

import asyncio
import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from integration.servers import ServerProcess, server
from stocksync.app import App, open_app
from stocksync.domain.status import Job, Reason, SyncStats, SyncStatus, Trigger, begin
from stocksync.simulator import Simulator
from stocksync.stores import open_store
from support import BriskClock, settings_for

RUN = "/api/sync/stock_basics/run"
PROMISED_SECONDS = 20
QUICK = {"STOCKSYNC_RESCUE_SECONDS": "2"}


async def status_of(running: ServerProcess) -> dict[str, Any]:
    async with httpx.AsyncClient(base_url=running.url, timeout=10) as http:
        data: dict[str, Any] = (await http.get("/api/sync/status")).json()["data"]
        return data


async def status_when(running: ServerProcess, seconds: float, **wanted: object) -> dict[str, Any]:
    """How it stands as soon as it stands like that."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        status = await status_of(running)
        if all(status[name] == value for name, value in wanted.items()):
            return status
        await asyncio.sleep(0.05)
    raise AssertionError(f"never {wanted}, but {status}")


async def orphan(simulator: Simulator, store: Path, environment: Mapping[str, str], query: str = "") -> str:
    """Let a server begin a run and kill it without a word; give the id of the run that it leaves behind."""
    simulator.faults.set("tushare.stock_basic", "hang")
    manager = server(store, environment)
    owner = await asyncio.to_thread(manager.__enter__)
    async with httpx.AsyncClient(base_url=owner.url, timeout=10) as http:
        run_id: str = (await http.post(f"{RUN}{query}")).json()["data"]["run_id"]
        # Past its start, because the record of the trigger is the first thing that a run does.
        while (await http.get("/api/sync/status")).json()["data"]["phase"] == "starting":  # noqa: ASYNC110 - polled
            await asyncio.sleep(0.05)
    await asyncio.to_thread(owner.kill)
    manager.__exit__(None, None, None)
    simulator.faults.clear()
    return run_id


def records(store: Path) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(store)) as db:
        query = "SELECT username, success, run_id, details FROM operation_logs ORDER BY timestamp"
        names = ("username", "success", "run_id", "details")
        return [dict(zip(names, (*row[:-1], json.loads(row[-1])), strict=True)) for row in db.execute(query)]


def runs_in(store: Path) -> list[tuple[str, str, str | None]]:
    with closing(sqlite3.connect(store)) as db:
        return db.execute(
            "SELECT json_extract(document, '$.trigger'), status, json_extract(document, '$.reason') "
            "FROM sync_runs ORDER BY started_at"
        ).fetchall()


async def test_a_killed_servers_run_is_closed_and_resumed_by_another_one(
    simulator: Simulator, tmp_path: Path
) -> None:
    """By default within 20 s; two workers see it at the same time, and one of them goes on."""
    store = tmp_path / "stocks.db"
    manager = server(store, simulator.settings, "--workers", "2")
    survivor = await asyncio.to_thread(manager.__enter__)
    try:
        run_id = await orphan(simulator, store, simulator.settings)
        killed_at = time.monotonic()
        ended = await status_when(survivor, PROMISED_SECONDS, trigger="rescue", status="success")
        took = time.monotonic() - killed_at
    finally:
        await asyncio.to_thread(manager.__exit__, None, None, None)
    print(f"closed, resumed and done {took:.1f} s after kill -9")
    assert took < PROMISED_SECONDS
    assert runs_in(store) == [("api", "failed", "interrupted"), ("rescue", "success", None)]
    first, second = records(store)
    assert (first["run_id"], first["details"]["outcome"]) == (run_id, "failed")
    assert (second["username"], second["success"], second["run_id"]) == ("stocksync", 1, ended["run_id"])
    assert second["details"]["trigger"] == "rescue"
    assert second["details"]["outcome"] == "success"


async def test_the_resumed_run_is_of_the_same_job(simulator: Simulator, tmp_path: Path) -> None:
    store, environment = tmp_path / "stocks.db", {**simulator.settings, **QUICK}
    await orphan(simulator, store, environment, "?mode=single&preferred_sources=tushare")
    manager = server(store, environment)
    survivor = await asyncio.to_thread(manager.__enter__)
    try:
        ended = await status_when(survivor, 10, trigger="rescue", status="success")
    finally:
        await asyncio.to_thread(manager.__exit__, None, None, None)
    assert ended["job"] == "stock_basics"
    assert records(store)[-1]["details"]["preferred_sources"] == []


async def test_switched_off_an_interrupted_run_stays_as_it_is(simulator: Simulator, tmp_path: Path) -> None:
    store = tmp_path / "stocks.db"
    environment = {**simulator.settings, **QUICK, "STOCKSYNC_RESUME_INTERRUPTED": "false"}
    run_id = await orphan(simulator, store, environment)
    manager = server(store, environment)
    survivor = await asyncio.to_thread(manager.__enter__)
    try:
        await status_when(survivor, 10, reason="interrupted")
        await asyncio.sleep(1.5)
        assert (await status_of(survivor))["run_id"] == run_id
    finally:
        await asyncio.to_thread(manager.__exit__, None, None, None)
    assert runs_in(store) == [("api", "failed", "interrupted")]


def test_no_verb_of_the_command_line_resumes_anything(simulator: Simulator, tmp_path: Path) -> None:
    store = tmp_path / "stocks.db"
    asyncio.run(interrupted(f"sqlite:///{store}", "dead"))
    environment = {**simulator.settings, "STOCKSYNC_MIN_STOCKS": "300", "STOCKSYNC_SOURCES": "tushare"}
    for verb in ("status", "history", "cancel", "sources"):
        subprocess.run(
            [sys.executable, "-m", "stocksync", verb, *(["--store", f"sqlite:///{store}"])],
            env={**environment, "STOCKSYNC_STORE": f"sqlite:///{store}"},
            check=False, capture_output=True, timeout=30,
        )  # fmt: skip
    assert len(runs_in(store)) == 1


async def interrupted(url: str, run_id: str, *, trigger: Trigger = Trigger.API, job: Job = Job.MULTI) -> None:
    """Leave a run behind whose owner died."""
    store = await open_store(url)
    try:
        run = begin(job=job, run_id=run_id, trigger=trigger, started_at=datetime.now(UTC))
        await store.runs.acquire(run, owner="gone", ttl=timedelta(milliseconds=1), force=False)
        await asyncio.sleep(0.02)
        assert await store.runs.rescue(datetime.now(UTC)) is not None
    finally:
        await store.aclose()


async def end_of_a_new_run(app: App, *, after: str) -> SyncStats:
    board = app.service.board
    async with asyncio.timeout(10):
        await board.wait_for(lambda: board.get().run_id != after and board.get().final)
    return board.get()


async def test_what_was_interrupted_before_the_start_is_resumed_at_the_start(
    simulator: Simulator, tmp_path: Path
) -> None:
    settings = settings_for(simulator, tmp_path)
    await interrupted(settings.store, "dead")
    async with open_app(settings, BriskClock()) as app:
        await asyncio.sleep(0.5)
        assert (await app.service.get_status()).reason is Reason.INTERRUPTED, "nobody asked this one to"
    async with open_app(settings, BriskClock(), resume=True) as app:
        ended = await end_of_a_new_run(app, after="dead")
    assert (ended.status, ended.trigger) == (SyncStatus.SUCCESS, Trigger.RESCUE)


async def test_what_was_followed_by_another_run_is_not_resumed(simulator: Simulator, tmp_path: Path) -> None:
    settings = settings_for(simulator, tmp_path)
    await interrupted(settings.store, "dead", job=Job.SINGLE)
    async with open_app(settings, BriskClock()) as app:
        await app.service.run_full_sync()
    async with open_app(settings, BriskClock(), resume=True) as app:
        await asyncio.sleep(0.7)
        assert len(await app.store.runs.history(limit=9)) == 2


async def test_after_three_in_a_row_it_is_left_to_a_person(
    simulator: Simulator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = settings_for(simulator, tmp_path)
    await interrupted(settings.store, "first")
    for n in range(3):
        await interrupted(settings.store, f"again-{n}", trigger=Trigger.RESCUE)
    async with open_app(settings, BriskClock(), resume=True) as app:
        await asyncio.sleep(0.7)
        assert len(await app.store.runs.history(limit=9)) == 4
        assert caplog.text.count("is not resumed") == 1
        ended = await app.service.run_full_sync()
        assert ended.status is SyncStatus.SUCCESS
    await interrupted(settings.store, "by hand")
    async with open_app(settings, BriskClock(), resume=True) as app:
        assert (await end_of_a_new_run(app, after="by hand")).trigger is Trigger.RESCUE


async def test_of_many_that_resume_one_does_and_the_others_leave_no_record(
    simulator: Simulator, tmp_path: Path
) -> None:
    settings = settings_for(simulator, tmp_path)
    await interrupted(settings.store, "dead")

    async def survivor() -> None:
        async with open_app(settings, BriskClock(), resume=True) as app:
            assert (await end_of_a_new_run(app, after="dead")).status is SyncStatus.SUCCESS
            await asyncio.sleep(0.3)

    await asyncio.gather(*(survivor() for _ in range(6)))
    assert runs_in(tmp_path / "stocks.db") == [
        ("api", "failed", "interrupted"),
        ("rescue", "success", None),
    ]
    assert [record["success"] for record in records(tmp_path / "stocks.db")] == [1]
