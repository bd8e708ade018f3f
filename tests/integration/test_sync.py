"""The main job end to end in one process: real client, real store, a truthful status all the way."""

import asyncio
import sqlite3
import time
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from builders import log_of
from stocksync.app import App
from stocksync.audit import Actor
from stocksync.domain.status import Job, Phase, Reason, SyncStatus, Trigger
from stocksync.errors import NoRunInProgress, RunInProgress, UnknownSource
from stocksync.ports import Fence, OperationLog
from stocksync.simulator import Simulator, SimulatorOptions, open_simulator
from stocksync.sync.requests import RunRequest
from support import SMALL, record, running_app

REQUEST = RunRequest(trigger=Trigger.API, actor=Actor(username="tester", ip_address="127.0.0.1"))


async def last_log(app: App) -> OperationLog:
    return (await app.store.logs.search(limit=1))[0]


async def test_a_first_sync_stores_the_whole_market(app: App, simulator: Simulator) -> None:
    recorder = record(app)
    stats = await app.service.run_full_sync()
    recorder.check()

    assert stats.status is SyncStatus.SUCCESS
    assert (stats.total, stats.inserted, stats.updated, stats.errors) == (SMALL, SMALL, 0, 0)
    assert stats.phase is Phase.DONE
    assert stats.data_sources_used == (
        "stock_list:tushare", "trade_date:tushare", "daily_data:tushare", "roe:tushare",
    )  # fmt: skip
    assert await app.store.stocks.count("tushare") == len(simulator.market.stocks)
    phases = [snapshot.phase for snapshot in recorder.snapshots]
    assert phases[0] is Phase.STARTING
    assert {Phase.WRITE, Phase.DONE} <= set(phases)
    assert await app.store.runs.get(stats.run_id or "") == stats


async def test_every_stored_field_is_the_markets(app: App, simulator: Simulator) -> None:
    await app.service.run_full_sync()
    metrics = {row.ts_code: row for row in simulator.market.metrics(simulator.market.latest_day)}
    for stock in simulator.market.stocks[::7]:
        stored = await app.store.stocks.get(stock.symbol, "tushare")
        assert stored is not None
        assert stored.full_symbol == stock.ts_code
        assert (stored.area, stored.industry, stored.market) == (stock.area, stock.industry, stock.board)
        row = metrics.get(stock.ts_code)
        if row is None:
            assert stored.trade_date is None
            continue
        assert stored.figures.get("total_mv") == pytest.approx(row.total_mv / 10_000, abs=1e-8)
        assert stored.figures.get("pe") == row.pe
        assert stored.figures.get("total_share") == row.total_share


async def test_a_second_sync_of_the_day_writes_no_stock(app: App, tmp_path: Path) -> None:
    first = await app.service.run_full_sync()
    recorder = record(app)
    second = await app.service.run_full_sync()
    recorder.check()
    assert (second.inserted, second.updated, second.unchanged) == (0, SMALL, SMALL)
    assert second.revision > first.revision

    with closing(sqlite3.connect(tmp_path / "stocks.db")) as db:
        marks = db.execute("SELECT DISTINCT created_run, changed_run FROM stock_basic_info").fetchall()
    assert marks == [(first.run_id, first.run_id)]


async def test_single_mode_is_its_own_job_in_the_same_slot(app: App) -> None:
    started = await app.service.start(RunRequest(job=Job.SINGLE, trigger=Trigger.CLI, actor=Actor()))
    busy = await app.service.start(REQUEST)
    assert not busy.accepted
    assert busy.stats.job is Job.SINGLE
    ended = await app.service.wait(started.stats, seconds=None)
    assert ended.status is SyncStatus.SUCCESS
    assert (await app.service.get_status(Job.MULTI)).status is SyncStatus.NEVER_RUN
    assert await app.service.get_status() == ended


async def test_one_run_at_a_time(app: App, simulator: Simulator) -> None:
    simulator.faults.set("tushare.stock_basic", "hang")
    started = await app.service.start(REQUEST)
    again = await app.service.start(REQUEST)
    assert started.accepted
    assert not again.accepted
    assert again.stats.run_id == started.stats.run_id
    refused = await last_log(app)
    assert (refused.success, refused.run_id) == (False, None)
    with pytest.raises(RunInProgress):
        await app.service.run_full_sync()


async def test_force_takes_over(app: App, simulator: Simulator) -> None:
    simulator.faults.set("tushare.stock_basic", "hang")
    old = await app.service.start(REQUEST)
    recorder = record(app)
    simulator.faults.clear()
    stats = await app.service.run_full_sync(force=True)
    recorder.check()
    assert stats.status is SyncStatus.SUCCESS
    displaced = await app.service.get_run(old.stats.run_id or "")
    assert (displaced.status, displaced.reason) == (SyncStatus.FAILED, Reason.SUPERSEDED)
    logs = {log.run_id: log.details.get("outcome") for log in await app.store.logs.search(limit=10)}
    assert logs[old.stats.run_id] == "failed"
    assert logs[stats.run_id] == "success"


@pytest.mark.parametrize("call", ["stock_basic", "daily_basic"])
async def test_cancel_ends_a_run_within_two_seconds(app: App, simulator: Simulator, call: str) -> None:
    simulator.faults.set(f"tushare.{call}", "hang")
    recorder = record(app)
    started = await app.service.start(REQUEST)
    await asyncio.sleep(0.3)
    began = time.monotonic()
    await app.service.cancel(Actor(username="tester"))
    ended = await app.service.wait(started.stats, seconds=10)
    assert time.monotonic() - began < 2
    recorder.check()
    assert (ended.status, ended.reason) == (SyncStatus.FAILED, Reason.CANCELLED)
    cancelled = await last_log(app)
    assert cancelled.details["run_id"] == started.stats.run_id


async def test_the_slot_is_free_after_a_cancel(app: App, simulator: Simulator) -> None:
    simulator.faults.set("tushare.stock_basic", "hang")
    started = await app.service.start(REQUEST)
    await app.service.cancel(Actor())
    await app.service.wait(started.stats, seconds=10)
    simulator.faults.clear()
    assert (await app.service.run_full_sync()).status is SyncStatus.SUCCESS


async def test_cancel_without_a_run_is_said_and_recorded(app: App) -> None:
    with pytest.raises(NoRunInProgress):
        await app.service.cancel(Actor())
    assert not (await last_log(app)).success


async def test_closing_the_application_cancels_its_run(simulator: Simulator, tmp_path: Path) -> None:
    simulator.faults.set("tushare.stock_basic", "hang")
    async with running_app(simulator, tmp_path) as app:
        started = await app.service.start(REQUEST)
        await asyncio.sleep(0.2)
    async with running_app(simulator, tmp_path) as app:
        ended = await app.service.get_run(started.stats.run_id or "")
        assert (ended.status, ended.reason) == (SyncStatus.FAILED, Reason.CANCELLED)


async def test_a_trigger_leaves_a_record_that_the_end_completes(app: App) -> None:
    started = await app.service.start(REQUEST)
    ended = await app.service.wait(started.stats, seconds=None)
    log = await last_log(app)
    assert (log.action_type, log.success, log.run_id) == ("data_import", True, ended.run_id)
    assert (log.username, log.ip_address) == ("tester", "127.0.0.1")
    assert log.details["outcome"] == "success"
    assert log.duration_ms == ended.progress.elapsed_ms


async def test_an_unknown_source_is_refused_by_name(app: App) -> None:
    request = RunRequest(trigger=Trigger.API, actor=Actor(), preferred_sources=("tushare", "wind"))
    with pytest.raises(UnknownSource, match=r"wind.*tushare"):
        await app.service.start(request)
    assert not (await last_log(app)).success
    assert (await app.service.get_status()).status is SyncStatus.NEVER_RUN


async def test_progress_moves_at_least_every_200_ms(tmp_path: Path) -> None:
    async with (
        open_simulator(SimulatorOptions(size=SMALL, pace="realistic")) as slow,
        running_app(slow, tmp_path) as app,
    ):
        moments: list[float] = []
        publish = app.service.board.publish
        app.service.board.publish = lambda stats: (publish(stats), moments.append(time.monotonic()))  # type: ignore[assignment,method-assign,func-returns-value]
        stats = await app.service.run_full_sync()
    assert stats.status is SyncStatus.SUCCESS
    gaps = sorted(after - before for before, after in pairwise(moments))
    assert len(moments) > 10
    assert gaps[len(gaps) // 2] <= 0.2, "the median step; a noisy machine may hold a single one up"


async def test_two_processes_worth_of_service_share_one_truth(simulator: Simulator, tmp_path: Path) -> None:
    async with running_app(simulator, tmp_path) as one, running_app(simulator, tmp_path) as other:
        recorder = record(other)
        started = await one.service.start(REQUEST)
        refused = await other.service.start(REQUEST)
        assert not refused.accepted
        seen = await other.service.wait(started.stats, seconds=10)
        recorder.check()
        assert seen.status is SyncStatus.SUCCESS
        assert seen == await one.service.wait(started.stats, seconds=10)


async def test_any_process_can_cancel(simulator: Simulator, tmp_path: Path) -> None:
    simulator.faults.set("tushare.stock_basic", "hang")
    async with running_app(simulator, tmp_path) as one, running_app(simulator, tmp_path) as other:
        started = await one.service.start(REQUEST)
        await other.service.cancel(Actor())
        ended = await other.service.wait(started.stats, seconds=5)
        assert ended.reason is Reason.CANCELLED


async def test_a_bug_ends_the_run_and_is_not_blamed_on_others(
    app: App, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("stocksync.sync.engine.merge", broken)
    stats = await app.service.run_full_sync()
    assert (stats.status, stats.reason) == (SyncStatus.FAILED, Reason.ERROR)
    assert "ZeroDivisionError" in (stats.message or "")
    assert "broke" in caplog.text


async def test_a_run_says_everything_once_even_when_it_is_cancelled(
    simulator: Simulator, tmp_path: Path
) -> None:
    simulator.faults.set("tushare.stock_basic", "poison")
    simulator.faults.set("tushare.daily_basic", "hang")
    async with running_app(simulator, tmp_path) as app:
        for pause in (0.3, 0.37, 0.45):
            started = await app.service.start(REQUEST)
            await asyncio.sleep(pause)
            await app.service.cancel(Actor())
            ended = await app.service.wait(started.stats, seconds=10)
            rejects = await app.store.runs.rejects(ended.run_id or "")
            assert len(rejects) == ended.errors == 7
            events = await log_of(app.store, ended.run_id or "")
            assert len({(event.at, event.message) for event in events}) == len(events)
            assert [event.event for event in events].count("run_finished") == 1


@pytest.mark.parametrize("by", ["its caller", "closing"])
async def test_who_leaves_while_the_slot_is_being_taken_leaves_no_run_behind(
    simulator: Simulator, tmp_path: Path, by: str
) -> None:
    """The slot has been taken by then: the run must end, although nobody waits for it."""
    async with running_app(simulator, tmp_path) as app:
        acquire, is_taken = app.store.runs.acquire, asyncio.Event()

        async def slowly(*args: Any, **kwargs: Any) -> Fence:
            fence = await acquire(*args, **kwargs)
            is_taken.set()
            await asyncio.sleep(0.1)
            return fence

        app.store.runs.acquire = slowly  # type: ignore[method-assign]
        starting = asyncio.create_task(app.service.start(REQUEST))
        await is_taken.wait()
        if by == "closing":
            await app.service.aclose()
        else:
            starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        await asyncio.sleep(0.3)
        (run,) = await app.store.runs.history(limit=9)
        assert (run.status, run.reason) == (SyncStatus.FAILED, Reason.CANCELLED)


async def test_closing_at_any_moment_stores_a_truthful_end(simulator: Simulator, tmp_path: Path) -> None:
    runs = []
    for pause in (0, 0.01, 0.05, 0.1, 0.15, 0.2):
        async with running_app(simulator, tmp_path) as app:
            started = await app.service.start(REQUEST)
            await asyncio.sleep(pause)
        runs.append(started.stats.run_id or "")
    async with running_app(simulator, tmp_path) as app:
        for run_id in runs:
            ended = await app.service.get_run(run_id)
            assert ended.final
            assert ended.reason in {None, Reason.CANCELLED}
        assert (await app.service.run_full_sync()).status is SyncStatus.SUCCESS


async def test_a_document_of_another_version_is_out_of_reach_not_a_lie(app: App, tmp_path: Path) -> None:
    await app.service.run_full_sync()
    with closing(sqlite3.connect(tmp_path / "stocks.db")) as db:
        change = "json_set(document, '$.progress.lanes', 3, '$.colour', 'red', '$.revision', 9000001)"
        db.execute(f"UPDATE sync_status SET revision = 9000001, document = {change}")  # noqa: S608 - constant
        db.commit()
    async with asyncio.timeout(5):
        await app.service.board.wait_for(lambda: app.service.board.get().revision == 9_000_001)
    with closing(sqlite3.connect(tmp_path / "stocks.db")) as db:
        db.execute("UPDATE sync_status SET revision = 9000002, document = json_remove(document, '$.status')")
        db.commit()
    async with asyncio.timeout(5):
        await app.service.board.wait_for(lambda: app.service.board.get().stale_since is not None)
