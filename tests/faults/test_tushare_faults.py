"""Every fault of every Tushare call: the right outcome within its deadline, nothing lost, plain Chinese."""

import math
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from stocksync.app import App
from stocksync.domain.status import Outcome, Reason, SyncStats, SyncStatus
from stocksync.domain.stock import Dataset, StockBasic
from stocksync.simulator import Simulator, SimulatorOptions, open_simulator
from support import SMALL, record, running_app

CALLS = {
    Dataset.STOCK_LIST: "stock_basic",
    Dataset.TRADE_DATE: "trade_cal",
    Dataset.DAILY_DATA: "daily_basic",
    Dataset.ROE: "fina_indicator_vip",
}

ALWAYS_FATAL = {
    "http400": Outcome.ERROR,
    "http403": Outcome.BANNED,
    "http404": Outcome.ERROR,
    "http429": Outcome.RATE_LIMITED,
    "http500": Outcome.ERROR,
    "http502": Outcome.ERROR,
    "http503": Outcome.ERROR,
    "hang": Outcome.TIMEOUT,
    "drip": Outcome.TIMEOUT,
    "reset": Outcome.ERROR,
    "close": Outcome.ERROR,
    "truncated": Outcome.ERROR,
    "badjson": Outcome.ERROR,
    "html": Outcome.ERROR,
    "empty": Outcome.EMPTY,
    "renamed": Outcome.ERROR,
    "missing_column": Outcome.ERROR,
    "wrong_types": Outcome.ERROR,
    "bad_token": Outcome.DENIED,
    "no_permission": Outcome.DENIED,
    "minute_limit": Outcome.RATE_LIMITED,
    "hour_limit": Outcome.RATE_LIMITED,
    "day_limit": Outcome.RATE_LIMITED,
    "unknown_code": Outcome.ERROR,
}
INCOMPLETE = ("ten_rows", "half")

MATRIX = [(dataset, fault, outcome) for dataset in CALLS for fault, outcome in ALWAYS_FATAL.items()]
MATRIX += [(Dataset.DAILY_DATA, "no_exchange_bj", Outcome.INCOMPLETE)]
MATRIX += [
    (dataset, fault, Outcome.INCOMPLETE)
    for dataset in (Dataset.STOCK_LIST, Dataset.DAILY_DATA)
    for fault in INCOMPLETE
]


@pytest.fixture
async def synced(simulator: Simulator, tmp_path: Path) -> AsyncIterator[App]:
    """An application whose store holds a good sync already, and whose deadlines are short."""
    async with running_app(simulator, tmp_path, call_timeout=1, dataset_timeout=5) as app:
        good = await app.service.run_full_sync()
        assert good.status is SyncStatus.SUCCESS
        yield app


async def stored_rows(app: App, simulator: Simulator) -> list[StockBasic]:
    codes = [stock.symbol for stock in simulator.market.stocks][::5]
    return [row for code in codes if (row := await app.store.stocks.get(code, "tushare")) is not None]


def outcomes(stats: SyncStats, dataset: Dataset) -> list[Outcome]:
    return [attempt.outcome for attempt in stats.attempts if attempt.dataset is dataset]


@pytest.mark.parametrize(("dataset", "fault", "outcome"), MATRIX, ids=str)
async def test_a_fault_ends_as_designed(
    synced: App, simulator: Simulator, dataset: Dataset, fault: str, outcome: Outcome
) -> None:
    before = await stored_rows(synced, simulator)
    assert len(before) == SMALL / 5
    simulator.faults.set(f"tushare.{CALLS[dataset]}", fault)
    recorder = record(synced)
    began = time.monotonic()
    stats = await synced.service.run_full_sync()
    elapsed = time.monotonic() - began

    recorder.check()
    assert elapsed < 10, "a fault must not outlast the dataset's deadline"
    assert set(outcomes(stats, dataset)) == {outcome}
    assert await stored_rows(synced, simulator) == before, "nothing that was known is lost"
    check_end(stats, dataset)
    for attempt in stats.attempts:
        if attempt.outcome is not Outcome.OK:
            assert re.search(r"[\u4e00-\u9fff]", attempt.error or ""), "the reason is Chinese"
    assert "simulated-token" not in str(stats)


def check_end(stats: SyncStats, dataset: Dataset) -> None:
    match dataset:
        case Dataset.STOCK_LIST:
            assert (stats.status, stats.reason) == (SyncStatus.FAILED, Reason.ALL_SOURCES_FAILED)
            assert stats.total == 0
            assert "tushare：" in (stats.message or "")
        case Dataset.DAILY_DATA:
            assert (stats.status, stats.reason) == (SyncStatus.FAILED, Reason.INCOMPLETE_DATA)
            assert stats.total == stats.unchanged == SMALL
            assert stats.last_trade_date is None
            assert "tushare：" in (stats.message or "")
        case Dataset.TRADE_DATE:
            assert stats.status is SyncStatus.SUCCESS
            assert "trade_date:store" in stats.data_sources_used
        case Dataset.ROE:
            assert stats.status is SyncStatus.SUCCESS
            assert not any(label.startswith("roe:") for label in stats.data_sources_used)


@pytest.mark.parametrize("fault", ["http502:1", "reset:1", "close:1", "minute_limit:1"])
@pytest.mark.parametrize("call", CALLS.values())
async def test_what_heals_by_itself_is_asked_again(
    synced: App, simulator: Simulator, call: str, fault: str
) -> None:
    simulator.faults.set(f"tushare.{call}", fault)
    stats = await synced.service.run_full_sync()
    assert stats.status is SyncStatus.SUCCESS
    assert {attempt.outcome for attempt in stats.attempts} == {Outcome.OK}


@pytest.mark.parametrize("fault", ["bad_token", "hour_limit", "html", "hang"])
async def test_what_cannot_heal_is_asked_once(synced: App, simulator: Simulator, fault: str) -> None:
    simulator.faults.set("tushare.stock_basic", fault)
    simulator.calls.reset()
    await synced.service.run_full_sync()
    assert simulator.calls.of("tushare.stock_basic") == 1


@pytest.mark.parametrize("fault", ["unpublished", "half_published"])
async def test_the_newest_day_is_walked_back_over(synced: App, simulator: Simulator, fault: str) -> None:
    first = (await synced.service.get_status()).last_trade_date
    simulator.faults.set("tushare.daily_basic", fault)
    stats = await synced.service.run_full_sync()
    assert stats.status is SyncStatus.SUCCESS
    assert outcomes(stats, Dataset.DAILY_DATA)[-1] is Outcome.OK
    assert len(outcomes(stats, Dataset.DAILY_DATA)) == 2
    assert stats.last_trade_date is not None
    assert first is not None
    assert stats.last_trade_date < first


async def test_poison_rows_stay_alone(simulator: Simulator, tmp_path: Path) -> None:
    simulator.faults.set("tushare.stock_basic", "poison")
    async with running_app(simulator, tmp_path) as app:
        recorder = record(app)
        stats = await app.service.run_full_sync()
        recorder.check()
        assert stats.status is SyncStatus.SUCCESS_WITH_ERRORS
        assert stats.inserted == SMALL
        assert stats.errors == 7
        assert {attempt.dropped for attempt in stats.attempts if attempt.dataset is Dataset.STOCK_LIST} == {1}
        rejects = await app.store.runs.rejects(stats.run_id or "")
        assert list(stats.rejects_sample) == list(rejects)
        assert {reject.field for reject in rejects} >= {"name", "code"}
        assert all(reject.code and reject.reason for reject in rejects)


async def test_poison_metrics_cost_only_themselves(simulator: Simulator, tmp_path: Path) -> None:
    simulator.faults.set("tushare.daily_basic", "poison")
    async with running_app(simulator, tmp_path) as app:
        stats = await app.service.run_full_sync()
        assert stats.status is SyncStatus.SUCCESS
        assert sum(attempt.dropped for attempt in stats.attempts) > 0


async def test_not_a_number_is_unknown(simulator: Simulator, tmp_path: Path) -> None:
    """Every third row is all NaN: too few are left; where fewer are enough, the others are absent."""
    simulator.faults.set("tushare.daily_basic", "nan")
    async with running_app(simulator, tmp_path) as app:
        stats = await app.service.run_full_sync()
        assert stats.reason is Reason.INCOMPLETE_DATA
        assert set(outcomes(stats, Dataset.DAILY_DATA)) == {Outcome.INCOMPLETE}
        assert all(row.figures.keys() <= {"roe"} for row in await stored_rows(app, simulator))
    async with running_app(simulator, tmp_path, min_coverage=0.5) as app:
        stats = await app.service.run_full_sync()
        assert stats.status is SyncStatus.SUCCESS
        rows = await stored_rows(app, simulator)
        known = [row for row in rows if "total_mv" in row.figures]
        assert len(rows) / 2 < len(known) < len(rows)
        assert all(math.isfinite(value) for row in rows for value in row.figures.values())


async def test_without_any_calendar_the_builtin_one_helps(simulator: Simulator, tmp_path: Path) -> None:
    simulator.faults.set("tushare.trade_cal", "http403")
    async with running_app(simulator, tmp_path) as app:
        stats = await app.service.run_full_sync()
        assert stats.status is SyncStatus.SUCCESS
        assert "trade_date:builtin" in stats.data_sources_used


async def test_a_token_without_points_syncs_without_roe(tmp_path: Path) -> None:
    async with (
        open_simulator(SimulatorOptions(size=SMALL, points=2000)) as poor,
        running_app(poor, tmp_path) as app,
    ):
        stats = await app.service.run_full_sync()
        assert stats.status is SyncStatus.SUCCESS
        assert outcomes(stats, Dataset.ROE) == [Outcome.DENIED]


async def test_without_a_token_the_reason_is_said(simulator: Simulator, tmp_path: Path) -> None:
    async with running_app(simulator, tmp_path, tushare_token="") as app:
        stats = await app.service.run_full_sync()
        assert stats.reason is Reason.ALL_SOURCES_FAILED
        assert "未配置 Tushare 令牌" in (stats.message or "")
        assert set(outcomes(stats, Dataset.STOCK_LIST)) == {Outcome.SKIPPED}


async def test_a_shrunken_list_is_not_believed(synced: App, simulator: Simulator) -> None:
    simulator.faults.set("tushare.stock_basic", "half")
    stats = await synced.service.run_full_sync()
    assert stats.reason is Reason.ALL_SOURCES_FAILED
    assert await synced.store.stocks.count() == SMALL


async def test_a_list_without_an_exchange_is_used_for_the_others_and_the_gap_is_said(
    synced: App, simulator: Simulator
) -> None:
    before = await stored_rows(synced, simulator)
    simulator.faults.set("tushare.stock_basic", "no_exchange_bj")
    recorder = record(synced)
    stats = await synced.service.run_full_sync()
    recorder.check()
    assert (stats.status, stats.reason) == (SyncStatus.FAILED, Reason.INCOMPLETE_DATA)
    assert "北京证券交易所" in (stats.message or "")
    assert outcomes(stats, Dataset.STOCK_LIST) == [Outcome.INCOMPLETE]
    assert 0 < stats.total == stats.unchanged < SMALL
    assert await stored_rows(synced, simulator) == before, "Beijing's rows are untouched"
    assert await synced.store.stocks.count() == SMALL, "and are not taken for delisted"
