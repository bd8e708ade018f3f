"""BaostockSource with the real client in worker processes, against the replica."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from datetime import date
from pathlib import Path

import pytest

from baostock_client import needs_baostock
from stocksync.clock import SystemClock
from stocksync.errors import (
    SourceBanned,
    SourceDenied,
    SourceEmpty,
    SourceError,
    SourceNonsense,
    SourceRateLimited,
    SourceSkipped,
    SourceUnreachable,
)
from stocksync.ports import Source
from stocksync.settings import load_settings
from stocksync.simulator import Simulator, SimulatorOptions, open_simulator
from stocksync.simulator.faults import Kind
from stocksync.simulator.tables import POISON_CODES
from stocksync.sources.baostock import BaostockSource, build_baostock
from stocksync.sources.isolation import WorkerPool

pytestmark = needs_baostock

TODAY = date(2026, 4, 15)
EARLIER = date(2026, 4, 14)
SIZE = 300
WORKER = "stocksync.sources.baostock_worker"


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with open_simulator(SimulatorOptions(size=SIZE, today=TODAY)) as running:
        yield running


@pytest.fixture
async def source(simulator: Simulator) -> AsyncIterator[Source]:
    made = build(simulator)
    await made.check()
    yield made
    await made.aclose()


def build(simulator: Simulator) -> Source:
    address = simulator.settings["STOCKSYNC_BAOSTOCK_ADDRESS"]
    return build_baostock(load_settings(baostock_address=address), SystemClock())


async def ask(source: Source, call: str) -> object:
    match call:
        case "query_trade_dates":
            return await source.open_days(date(2026, 4, 1), TODAY)
        case "query_daily":
            return await source.daily_data(TODAY)
        case _:
            return await source.stock_list()


CALLS = ("query_stock_basic", "query_stock_industry", "query_trade_dates", "query_daily")


async def test_it_gives_the_market(source: Source, simulator: Simulator) -> None:
    market = simulator.market
    stocks = {stock.symbol: stock for stock in market.stocks if stock.exchange != "BSE"}
    answer = await source.stock_list()
    assert (answer.rejects, answer.dropped) == ((), 12)
    listings = {item.code: item for item in answer.listings}
    assert list(listings) == sorted(listings) == list(stocks)
    assert all(listings[code].list_date == stock.list_date for code, stock in stocks.items())
    assert all(listings[code].industry == stock.industry for code, stock in stocks.items())

    daily = await source.daily_data(TODAY)
    assert (daily.metrics.keys(), daily.dropped) == (stocks.keys(), 2)
    traded = {metrics.ts_code[:6]: metrics for metrics in market.metrics(TODAY)}
    for code, metrics in daily.metrics.items():
        if code in traded:
            day = traded[code]
            expected = (day.turnover_rate, day.pe_ttm, day.pb, day.ps_ttm)
            assert (metrics.turnover_rate, metrics.pe_ttm, metrics.pb_mrq, metrics.ps_ttm) == expected
        else:
            assert metrics.turnover_rate is None

    days = await source.open_days(date(2026, 4, 1), TODAY)
    assert days == [entry.day for entry in market.calendar if entry.is_open and days[0] <= entry.day <= TODAY]
    with pytest.raises(SourceEmpty):
        await source.daily_data(date(2026, 4, 12))
    assert simulator.calls.of("baostock.login") == 1


FAULTS: dict[str, type[SourceError]] = {
    "truncated": SourceUnreachable,
    "close": SourceUnreachable,
    "html": SourceUnreachable,
    "reset": SourceUnreachable,
    "renamed": SourceNonsense,
    "missing_column": SourceNonsense,
    "wrong_types": SourceNonsense,
    "unknown_code": SourceNonsense,
    "not_logged_in": SourceNonsense,
    "bad_token": SourceDenied,
    "no_permission": SourceDenied,
    "login_limit": SourceRateLimited,
    "banned": SourceBanned,
}


@pytest.mark.parametrize("call", CALLS)
async def test_a_fault_becomes_its_error_at_once(source: Source, simulator: Simulator, call: str) -> None:
    """One process suffers all of them: the session is logged in anew after each."""
    for fault, error in FAULTS.items():
        simulator.faults.set(f"baostock.{call}", fault)
        began = time.monotonic()
        with pytest.raises(SourceError) as caught:
            await ask(source, call)
        assert type(caught.value) is error, (fault, caught.value)
        assert time.monotonic() - began < 5, fault
        simulator.faults.clear()
        assert await ask(source, call)


@pytest.mark.parametrize("call", [*CALLS, "login"])
@pytest.mark.parametrize("fault", ["hang", "drip"])
async def test_a_call_that_does_not_end_is_ended_by_its_deadline(
    simulator: Simulator, call: str, fault: str
) -> None:
    source = build(simulator)
    simulator.faults.set(f"baostock.{call}", fault)
    asking = asyncio.create_task(ask(source, call))
    async with asyncio.timeout(30):
        while not simulator.calls.of(f"baostock.{call}"):  # noqa: ASYNC110 - another process calls
            await asyncio.sleep(0.02)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await asking
    simulator.faults.clear()
    assert await ask(source, call)
    await source.aclose()


async def test_a_damaged_frame_is_no_answer(source: Source, simulator: Simulator) -> None:
    """The library cannot tell a damaged compressed answer from a network error."""
    errors = {call: SourceUnreachable if call == "query_daily" else SourceNonsense for call in CALLS}
    for call, error in errors.items():
        simulator.faults.set(f"baostock.{call}", "badframe")
        with pytest.raises(error):
            await ask(source, call)
        simulator.faults.clear()


@pytest.mark.parametrize(
    "fault", ["banned", "login_limit", "bad_token", "badframe", "close", "reset", "html"]
)
async def test_a_login_that_fails(simulator: Simulator, fault: str) -> None:
    source = build(simulator)
    simulator.faults.set("baostock.login", fault)
    with pytest.raises(SourceError) as caught:
        await source.check()
    expected = {**FAULTS, "badframe": SourceNonsense}[fault]
    assert type(caught.value) is expected
    assert simulator.calls.of("baostock.login") == 1  # never hammered
    await source.aclose()


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("fault", ["not_logged_in:1", "reset:1", "truncated:1"])
async def test_an_ended_session_is_renewed_once(
    source: Source, simulator: Simulator, call: str, fault: str
) -> None:
    simulator.faults.set(f"baostock.{call}", fault)
    assert await ask(source, call)
    assert simulator.calls.of("baostock.login") == 2


async def test_data_that_is_not_whole_comes_as_it_is(source: Source, simulator: Simulator) -> None:
    simulator.faults.read(["baostock.query_stock_basic=ten_rows", "baostock.query_daily=half_published"])
    assert len((await source.stock_list()).listings) == 10
    assert len((await source.daily_data(TODAY)).metrics) == 10
    assert len((await source.daily_data(EARLIER)).metrics) > SIZE * 0.9
    simulator.faults.read(["baostock.query_stock_basic=empty", "baostock.query_daily=unpublished"])
    for asking in (source.stock_list, lambda: source.daily_data(TODAY)):
        with pytest.raises(SourceEmpty):
            await asking()
    assert (await source.daily_data(EARLIER)).day == EARLIER
    simulator.faults.read(["baostock.query_stock_basic=half", "baostock.query_trade_dates=empty"])
    assert 100 < len((await source.stock_list()).listings) < 160
    with pytest.raises(SourceEmpty):
        await source.open_days(date(2026, 4, 1), TODAY)


async def test_poison_rows_are_rejected_by_name_and_the_others_pass(
    source: Source, simulator: Simulator
) -> None:
    healthy = await source.stock_list()
    simulator.faults.set("baostock.query_stock_basic", "poison")
    answer = await source.stock_list()
    assert [reject.code for reject in answer.rejects] == [*POISON_CODES, "999999"]
    assert answer.dropped == healthy.dropped + 1  # the B share
    assert len(answer.listings) == len(healthy.listings) + 1  # the row that came twice
    simulator.faults.set("baostock.query_daily", "poison")
    assert len((await source.daily_data(TODAY)).metrics) >= len(healthy.listings)
    simulator.faults.set("baostock.query_daily", "nan")
    assert any(item.pe_ttm is None for item in (await source.daily_data(TODAY)).metrics.values())


async def test_a_page_that_is_lost_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library itself hides it: it ends the list with 2000 rows and error code 0."""
    async with open_simulator(SimulatorOptions(size=2500, today=TODAY)) as simulator:
        source = build(simulator)
        assert len((await source.stock_list()).listings) > 2300
        for fault in (Kind.RESET, Kind.NOT_LOGGED_IN, Kind.BANNED):
            faults = iter([None, fault])
            monkeypatch.setattr(simulator.faults, "take", lambda *_, faults=faults: next(faults, None))
            if fault is Kind.NOT_LOGGED_IN:
                assert len((await source.stock_list()).listings) > 2300
                continue
            with pytest.raises(SourceUnreachable if fault is Kind.RESET else SourceBanned):
                await source.stock_list()
            await source.check()
        await source.aclose()


async def test_a_page_that_is_repeated_is_noticed() -> None:
    async with open_simulator(SimulatorOptions(size=2500, today=TODAY)) as simulator:
        source = build(simulator)
        simulator.faults.set("baostock.query_stock_basic", "repeated")
        with pytest.raises(SourceNonsense, match="同一页"):
            await source.stock_list()
        assert simulator.calls.of("baostock.query_stock_basic") == 2
        await source.aclose()


async def test_the_real_market_passes(dumps: Path) -> None:
    async with open_simulator(SimulatorOptions(replay=dumps)) as simulator:
        source = build(simulator)
        answer = await source.stock_list()
        listed = {stock.symbol for stock in simulator.market.stocks if stock.exchange != "BSE"}
        assert ({item.code for item in answer.listings}, answer.rejects) == (listed, ())
        daily = await source.daily_data(simulator.market.latest_day)
        traded = {metrics.ts_code[:6] for metrics in simulator.market.metrics(simulator.market.latest_day)}
        assert daily.metrics.keys() == listed & traded
        await source.aclose()


async def test_a_day_of_exactly_one_page_is_not_taken_for_a_paged_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with open_simulator(SimulatorOptions(size=2200, today=TODAY)) as simulator:
        whole = simulator.market.metrics(TODAY)
        listed = [stock for stock in simulator.market.stocks if stock.exchange != "BSE"]
        monkeypatch.setattr(type(simulator.market), "stocks", property(lambda _: listed[:1998]))
        assert len(whole) > 2000
        source = build(simulator)
        answer = await source.daily_data(TODAY)
        assert len(answer.metrics) + answer.dropped == 2000
        assert simulator.calls.of("baostock.query_daily") == 1
        await source.aclose()


async def test_nobody_answers() -> None:
    source = build_baostock(load_settings(baostock_address="127.0.0.1:1"), SystemClock())
    with pytest.raises(SourceUnreachable):
        await source.check()
    await source.aclose()
    source = build_baostock(load_settings(baostock_address="nowhere"), SystemClock())
    with pytest.raises(SourceNonsense, match="STOCKSYNC_BAOSTOCK_ADDRESS"):
        await source.check()
    await source.aclose()


async def test_without_the_library_the_source_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "baostock.py").write_text("raise ImportError('not here')")
    source = BaostockSource(WorkerPool(WORKER, {"PYTHONPATH": os.pathsep.join([str(tmp_path)])}))
    with pytest.raises(SourceSkipped, match="未安装"):
        await source.check()
    await source.aclose()


async def test_the_market_is_asked_for_in_one_request_and_by_one_process() -> None:
    async with open_simulator(SimulatorOptions(today=TODAY)) as simulator:
        source = build(simulator)
        listed = await source.stock_list()
        daily = await source.daily_data(TODAY)
        assert {item.code for item in listed.listings} == daily.metrics.keys()
        assert simulator.calls.get() == {
            "baostock.login": 1,
            "baostock.query_stock_basic": 3,
            "baostock.query_stock_industry": 3,
            "baostock.query_daily": 1,
        }
        await source.aclose()
