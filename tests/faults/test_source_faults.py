"""AKShare and BaoStock through their real libraries: each fault of each call, and who steps in.

One application for all cells of a line-up, because a worker takes seconds to import its library; cool-downs
are forgotten between the cells.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date
from importlib.util import find_spec
from pathlib import Path

import pytest
import pytest_asyncio

from stocksync.app import App, open_app
from stocksync.domain.codes import Exchange, locate
from stocksync.domain.health import SourceHealth
from stocksync.domain.status import Outcome, Reason, SyncStats, SyncStatus
from stocksync.domain.stock import Dataset
from stocksync.simulator import Simulator, SimulatorOptions, open_simulator
from support import SMALL, BriskClock, record, settings_for

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(
        not (find_spec("akshare") and find_spec("baostock")), reason="akshare or baostock is not installed"
    ),
]

DEADLINE = 6.0
"""STOCKSYNC_DATASET_TIMEOUT here; a worker needs some two seconds to start."""

STALL = 0.5
"""A blocking call of an SDK takes seconds; a noisy machine may take a share of this (see bench_start.py)."""

TRANSPORT = ("http502", "reset", "html", "truncated")
SHAPE = ("badjson", "empty", "renamed", "wrong_types")


async def longest_stall() -> float:
    """Until cancelled, watch how long the event loop is held up at most, in seconds."""
    longest = 0.0
    try:
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.005)
            longest = max(longest, time.monotonic() - before)
    except asyncio.CancelledError:
        return longest


@dataclass
class LineUp:
    """An application over its simulator, with a good sync in its store."""

    app: App
    simulator: Simulator

    async def run(self, **faults: str) -> SyncStats:
        """Sync under faults; every snapshot is checked, no event-loop stall and no deadline is overrun."""
        for source in ("tushare", "akshare", "baostock"):
            for dataset in Dataset:
                await self.app.store.health.put(SourceHealth(source=source, dataset=dataset))
        self.simulator.faults.clear()
        if any("login" in call for call in faults):
            await self.app.service.sources["baostock"].aclose()  # a worker that is logged in stays so
        for call, fault in faults.items():
            self.simulator.faults.set(call.replace("__", "."), fault)
        recorder = record(self.app)
        began = time.monotonic()
        watcher = asyncio.create_task(longest_stall())
        stats = await self.app.service.run_full_sync()
        watcher.cancel()
        assert await watcher < STALL, "nothing that an SDK does may hold the event loop up"
        assert time.monotonic() - began < 4 * DEADLINE
        recorder.check()
        self.simulator.faults.clear()
        return stats


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def simulator() -> AsyncIterator[Simulator]:
    async with open_simulator(SimulatorOptions(size=SMALL, today=date(2026, 11, 20))) as running:
        yield running


async def line_up(simulator: Simulator, folder: Path, sources: str) -> AsyncIterator[LineUp]:
    settings = settings_for(
        simulator, folder, sources=sources, dataset_timeout=DEADLINE, max_shrink=0.9, min_stocks=100
    )
    async with open_app(settings, BriskClock()) as app:
        lined_up = LineUp(app, simulator)
        assert (await lined_up.run()).status is SyncStatus.SUCCESS
        yield lined_up


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def free(simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LineUp]:
    """What most users have: no token."""
    async for lined_up in line_up(simulator, tmp_path_factory.mktemp("free"), "akshare,baostock"):
        yield lined_up


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def alone(simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LineUp]:
    async for lined_up in line_up(simulator, tmp_path_factory.mktemp("alone"), "baostock"):
        yield lined_up


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def all_three(simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LineUp]:
    async for lined_up in line_up(simulator, tmp_path_factory.mktemp("three"), "tushare,akshare,baostock"):
        yield lined_up


def asked(stats: SyncStats, dataset: Dataset) -> dict[str, Outcome]:
    """How each source answered first; later questions are about older days."""
    attempts = [attempt for attempt in stats.attempts if attempt.dataset is dataset]
    return {attempt.source: attempt.outcome for attempt in reversed(attempts)}


def stocks_of(simulator: Simulator, exchange: Exchange) -> int:
    return sum(locate(stock.symbol).exchange is exchange for stock in simulator.market.stocks)


async def test_no_token_needed(free: LineUp) -> None:
    stats = await free.run()
    assert stats.data_sources_used == (
        "stock_list:akshare",
        "trade_date:baostock",
        "daily_data:akshare",
        "daily_data:baostock",
        "roe:akshare",
    )
    assert {name: (count.total, count.success) for name, count in stats.source_stats.items()} == {
        "akshare": (SMALL, SMALL)
    }
    for stock in free.simulator.market.stocks[::20]:
        row = await free.app.store.stocks.get(stock.symbol, "akshare")
        assert row is not None
        suppliers = {name: source.partition(":")[0] for name, source in row.field_sources.items()}
        for name in ("pe_ttm", "ps_ttm", "pb_mrq"):
            assert suppliers.get(name) in {"baostock", None}
        for name in ("total_mv", "circ_mv", "pb"):
            assert suppliers.get(name) in {"akshare", None}
        dated = [source for name, source in row.field_sources.items() if name not in {"roe", "industry"}]
        assert {source.partition(":")[2] for source in dated} <= {"20261120"}


async def test_only_baostock_leaves_beijing_alone(alone: LineUp) -> None:
    stats = await alone.run()
    beijing = stocks_of(alone.simulator, Exchange.BSE)
    assert stats.status is SyncStatus.SUCCESS
    assert stats.total == stats.unchanged == SMALL - beijing


async def test_only_baostock_keeps_what_another_source_stored_for_beijing(free: LineUp) -> None:
    before = await free.app.store.stocks.count()
    stats = await free.run(akshare__sse="reset", akshare__szse="reset", akshare__bse="reset")
    assert stats.status is SyncStatus.SUCCESS
    assert set(stats.source_stats) == {"baostock"}
    assert asked(stats, Dataset.STOCK_LIST)["baostock"] is Outcome.OK
    beijing = stocks_of(free.simulator, Exchange.BSE)
    assert await free.app.store.stocks.count() == before + SMALL - beijing
    assert await free.app.store.stocks.count("akshare") == SMALL


@pytest.mark.parametrize("fault", [*TRANSPORT, *SHAPE])
async def test_a_snapshot_that_fails_is_replaced_by_baostocks_day(free: LineUp, fault: str) -> None:
    stats = await free.run(akshare__spot=fault)
    assert stats.status is SyncStatus.SUCCESS
    assert asked(stats, Dataset.DAILY_DATA)["akshare"] not in {Outcome.OK, Outcome.SKIPPED}
    assert "daily_data:baostock" in stats.data_sources_used
    assert "daily_data:akshare" not in stats.data_sources_used


@pytest.mark.parametrize("fault", ["ten_rows", "half"])
async def test_a_snapshot_of_a_part_is_not_taken_for_the_market(free: LineUp, fault: str) -> None:
    stats = await free.run(akshare__spot=fault)
    found = [attempt.outcome for attempt in stats.attempts if attempt.dataset is Dataset.DAILY_DATA]
    assert found[0] in {Outcome.INCOMPLETE, Outcome.ERROR}
    assert stats.status is SyncStatus.SUCCESS
    assert "daily_data:akshare" not in stats.data_sources_used


@pytest.mark.parametrize("fault", ["hang", "drip"])
@pytest.mark.parametrize(("call", "dataset"), [("spot", Dataset.DAILY_DATA), ("sse", Dataset.STOCK_LIST)])
async def test_a_hanging_site_costs_its_deadline_only(
    free: LineUp, call: str, dataset: Dataset, fault: str
) -> None:
    stats = await free.run(**{f"akshare__{call}": fault})
    assert stats.status is SyncStatus.SUCCESS
    assert asked(stats, dataset)["akshare"] in {Outcome.TIMEOUT, Outcome.INCOMPLETE, Outcome.ERROR}
    assert asked(stats, dataset)["baostock"] is Outcome.OK


@pytest.mark.parametrize("fault", [*TRANSPORT, *SHAPE, "close"])
async def test_a_ban_or_nonsense_of_one_exchange_is_completed(free: LineUp, fault: str) -> None:
    stats = await free.run(akshare__szse=fault)
    assert asked(stats, Dataset.STOCK_LIST)["akshare"] is Outcome.INCOMPLETE
    shenzhen = stocks_of(free.simulator, Exchange.SZSE)
    assert {name: count.total for name, count in stats.source_stats.items()} == {
        "akshare": SMALL - shenzhen,
        "baostock": shenzhen,
    }
    assert stats.status is SyncStatus.SUCCESS


@pytest.mark.parametrize("fault", ["http502", "close", "html"])
async def test_beijing_that_nobody_else_has_is_missed_aloud(free: LineUp, fault: str) -> None:
    stats = await free.run(akshare__bse=fault)
    assert (stats.status, stats.reason) == (SyncStatus.FAILED, Reason.INCOMPLETE_DATA)
    assert "北京证券交易所" in (stats.message or "")
    assert stats.total == stats.updated == SMALL - stocks_of(free.simulator, Exchange.BSE)


@pytest.mark.parametrize("fault", [*TRANSPORT, *SHAPE])
async def test_return_on_equity_never_decides(free: LineUp, fault: str) -> None:
    stats = await free.run(akshare__yjbb=fault)
    assert stats.status is SyncStatus.SUCCESS
    assert asked(stats, Dataset.ROE)["akshare"] is not Outcome.OK


@pytest.mark.parametrize("fault", ["reset", "close", "truncated", "hang", "html", "badframe", "empty"])
async def test_baostocks_day_is_a_gap_that_may_stay(free: LineUp, fault: str) -> None:
    stats = await free.run(baostock__query_daily=fault)
    assert stats.status is SyncStatus.SUCCESS
    assert asked(stats, Dataset.DAILY_DATA)["akshare"] is Outcome.OK
    assert asked(stats, Dataset.DAILY_DATA)["baostock"] is not Outcome.OK
    row = await free.app.store.stocks.get(free.simulator.market.stocks[0].symbol, "akshare")
    assert row is not None, "and what was known stays known"


@pytest.mark.parametrize(
    ("call", "fault", "outcome"),
    [
        ("login", "banned", Outcome.BANNED),
        ("login", "login_limit", Outcome.RATE_LIMITED),
        ("login", "bad_token", Outcome.DENIED),
        ("login", "reset", Outcome.ERROR),
        ("query_stock_basic", "truncated", Outcome.ERROR),
        ("query_stock_basic", "hang", Outcome.TIMEOUT),
        ("query_stock_basic", "unknown_code", Outcome.ERROR),
        ("query_stock_basic", "ten_rows", Outcome.INCOMPLETE),
        ("query_stock_basic", "renamed", Outcome.ERROR),
        ("query_stock_basic", "empty", Outcome.EMPTY),
    ],
)
async def test_without_a_list_nothing_is_written(
    alone: LineUp, call: str, fault: str, outcome: Outcome
) -> None:
    stats = await alone.run(**{f"baostock__{call}": fault})
    assert (stats.status, stats.reason, stats.total) == (SyncStatus.FAILED, Reason.ALL_SOURCES_FAILED, 0)
    assert asked(stats, Dataset.STOCK_LIST) == {"baostock": outcome}


@pytest.mark.parametrize("fault", ["reset", "hang", "ten_rows", "renamed", "unknown_code"])
async def test_without_daily_data_the_listings_are_kept(alone: LineUp, fault: str) -> None:
    stats = await alone.run(baostock__query_daily=fault)
    assert (stats.status, stats.reason) == (SyncStatus.FAILED, Reason.INCOMPLETE_DATA)
    assert stats.total == stats.unchanged > 0


@pytest.mark.parametrize("fault", ["reset", "empty", "renamed", "ten_rows", "half"])
async def test_without_its_calendar_the_kept_one_helps(alone: LineUp, fault: str) -> None:
    stats = await alone.run(baostock__query_trade_dates=fault)
    assert stats.status is SyncStatus.SUCCESS
    assert stats.last_trade_date == "20261120", "a calendar with holes does not turn the clock back"
    assert "trade_date:store" in stats.data_sources_used


async def test_a_login_that_expired_is_renewed(alone: LineUp) -> None:
    stats = await alone.run(baostock__query_stock_basic="not_logged_in:1")
    assert stats.status is SyncStatus.SUCCESS


async def test_a_tushare_list_without_beijing_is_completed_by_akshare(all_three: LineUp) -> None:
    stats = await all_three.run(tushare__stock_basic="no_exchange_bj")
    beijing = stocks_of(all_three.simulator, Exchange.BSE)
    assert stats.status is SyncStatus.SUCCESS
    assert {name: (count.total, count.success) for name, count in stats.source_stats.items()} == {
        "tushare": (SMALL - beijing, SMALL - beijing),
        "akshare": (beijing, beijing),
    }
    assert asked(stats, Dataset.STOCK_LIST) == {"tushare": Outcome.INCOMPLETE, "akshare": Outcome.OK}


async def test_each_dataset_has_its_own_winner(all_three: LineUp) -> None:
    stats = await all_three.run(tushare__daily_basic="day_limit", tushare__fina_indicator_vip="no_permission")
    assert stats.status is SyncStatus.SUCCESS
    assert stats.data_sources_used == (
        "stock_list:tushare",
        "trade_date:tushare",
        "daily_data:akshare",
        "daily_data:baostock",
        "roe:akshare",
    )


async def test_when_all_three_are_down_nothing_is_lost(all_three: LineUp) -> None:
    before = await all_three.app.store.stocks.count()
    stats = await all_three.run(
        tushare__stock_basic="http502", akshare__sse="close", akshare__szse="close", akshare__bse="close",
        baostock__login="reset",
    )  # fmt: skip
    assert (stats.status, stats.reason) == (SyncStatus.FAILED, Reason.ALL_SOURCES_FAILED)
    for name in ("tushare：", "akshare：", "baostock："):
        assert name in (stats.message or ""), "the message names every source and why"
    assert await all_three.app.store.stocks.count() == before


async def test_the_server_process_imports_no_sdk(all_three: LineUp) -> None:
    assert (await all_three.run()).status is SyncStatus.SUCCESS
    assert not {"akshare", "baostock", "pandas"} & set(sys.modules)
