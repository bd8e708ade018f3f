"""ONE body for every source: the real client library against its replica keeps what the port promises."""

import asyncio
from collections.abc import AsyncIterator
from datetime import date, timedelta
from importlib.util import find_spec
from pathlib import Path

import pytest
import pytest_asyncio

from stocksync.clock import SystemClock
from stocksync.domain.codes import locate
from stocksync.domain.stock import METRICS, TEXTS, Dataset
from stocksync.errors import SourceEmpty, SourceError, SourceSkipped
from stocksync.ports import Source
from stocksync.simulator import Simulator, SimulatorOptions, open_simulator
from stocksync.sources import BUILDERS
from support import settings_for

DAY = date(2026, 11, 20)
PERIOD = date(2026, 9, 30)
LIBRARIES = {"akshare": "akshare", "baostock": "baostock"}
ANY_CALL = {"tushare": "tushare.*", "akshare": "akshare.*", "baostock": "baostock.*"}

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def simulator() -> AsyncIterator[Simulator]:
    async with open_simulator(SimulatorOptions(size=600, today=DAY)) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module", scope="module", params=BUILDERS)
async def source(
    request: pytest.FixtureRequest, simulator: Simulator, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Source]:
    name: str = request.param
    if name in LIBRARIES and find_spec(LIBRARIES[name]) is None:
        pytest.skip(f"{LIBRARIES[name]} is not installed")
    settings = settings_for(simulator, Path(tmp_path_factory.mktemp(name)), call_timeout=5)
    built = BUILDERS[name](settings, SystemClock())
    yield built
    await built.aclose()


def in_scope(source: Source, simulator: Simulator) -> dict[str, str]:
    """Codes and names of the market that the source declares to list."""
    stocks = {stock.symbol: stock.name for stock in simulator.market.stocks}
    return {code: name for code, name in stocks.items() if locate(code).exchange in source.exchanges}


async def test_it_says_what_it_is(source: Source) -> None:
    assert BUILDERS[source.name]
    assert source.description
    assert Dataset.STOCK_LIST in source.provides
    assert Dataset.DAILY_DATA in source.provides
    assert source.exchanges
    assert source.metrics <= set(METRICS)
    assert source.texts <= set(TEXTS)


async def test_a_check_is_a_real_call(source: Source, simulator: Simulator) -> None:
    simulator.calls.reset()
    await source.check()
    assert any(count for call, count in simulator.calls.get().items() if call.startswith(source.name))


async def test_the_list_is_the_market_that_it_declares(source: Source, simulator: Simulator) -> None:
    answer = await source.stock_list()
    assert answer.source == source.name
    assert answer.exchanges == source.exchanges
    assert answer.rejects == ()
    listed = {item.code: item for item in answer.listings}
    assert listed.keys() == in_scope(source, simulator).keys()
    assert len(listed) == len(answer.listings), "no stock twice"
    for text in source.texts:
        filled = {item.code for item in answer.listings if getattr(item, text) is not None}
        if text == "industry" and Dataset.ROE in source.provides:
            filled |= (await source.roe(PERIOD)).industries.keys()
        assert len(filled) > 0.9 * len(listed), text


async def test_the_days_metrics_cover_what_it_declares_in_our_units(
    source: Source, simulator: Simulator
) -> None:
    answer = await source.daily_data(DAY)
    assert (answer.source, answer.day) == (source.name, DAY)
    market = {row.ts_code[:6]: row for row in simulator.market.metrics(DAY)}
    wanted = in_scope(source, simulator).keys() & market.keys()
    assert len(answer.metrics.keys() & wanted) > 0.98 * len(wanted)
    for code, metrics in answer.metrics.items():
        for name in METRICS:
            value = getattr(metrics, name)
            assert value != 0, "unknown is absent"
            if name not in source.metrics:
                assert value is None, f"{name} is not declared"
        row = market.get(code)
        if row is not None and metrics.total_mv is not None:
            assert metrics.total_mv == pytest.approx(row.total_mv / 10_000, rel=1e-6), "亿元"
        if row is not None and metrics.turnover_rate is not None and row.turnover_rate is not None:
            assert metrics.turnover_rate == pytest.approx(row.turnover_rate, abs=0.006), "percent"


async def test_a_day_that_is_not_there_is_empty_or_not_asked_for(source: Source) -> None:
    with pytest.raises((SourceEmpty, SourceSkipped)):
        await source.daily_data(DAY + timedelta(days=1))  # a Saturday


async def test_the_calendar_is_the_markets(source: Source, simulator: Simulator) -> None:
    if Dataset.TRADE_DATE not in source.provides:
        with pytest.raises(SourceSkipped):
            await source.open_days(DAY - timedelta(days=30), DAY)
        return
    days = await source.open_days(DAY - timedelta(days=30), DAY)
    expected = [day.day for day in simulator.market.calendar if day.is_open]
    assert list(days) == sorted(day for day in expected if DAY - timedelta(days=30) <= day <= DAY)


async def test_return_on_equity_is_in_percent(source: Source, simulator: Simulator) -> None:
    if Dataset.ROE not in source.provides:
        with pytest.raises(SourceSkipped):
            await source.roe(PERIOD)
        return
    answer = await source.roe(PERIOD)
    market = {code[:6]: value for code, value in simulator.market.roe(PERIOD).items()}
    assert len(answer.values) > 0.9 * len(market)
    for code, value in answer.values.items():
        assert value == pytest.approx(market[code], abs=0.006)


@pytest.mark.parametrize("fault", ["hang", "http502", "reset", "html", "badjson"])
async def test_whatever_happens_it_is_a_source_error_and_it_can_be_asked_again(
    source: Source, simulator: Simulator, fault: str
) -> None:
    simulator.faults.set(ANY_CALL[source.name], fault)
    try:
        with pytest.raises((SourceError, TimeoutError)):
            async with asyncio.timeout(8):
                await source.stock_list()
    finally:
        simulator.faults.clear()
    assert (await source.stock_list()).listings


async def test_cancelling_leaves_it_usable(source: Source, simulator: Simulator) -> None:
    simulator.faults.set(ANY_CALL[source.name], "hang")
    asking = asyncio.create_task(source.stock_list())
    await asyncio.sleep(0.3)
    asking.cancel()
    simulator.faults.clear()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert (await source.stock_list()).listings
