"""AkshareSource through a real worker process, the real library and the replicas."""

import asyncio
from collections.abc import AsyncIterator
from datetime import date
from importlib.util import find_spec
from pathlib import Path

import pytest

from stocksync.clock import SystemClock
from stocksync.domain.codes import Exchange, clean_name
from stocksync.errors import SourceBanned, SourceSkipped
from stocksync.ports import Source
from stocksync.simulator import Simulator, SimulatorOptions, open_simulator
from stocksync.sources.akshare import build_akshare
from support import settings_for

TODAY, PERIOD = date(2026, 4, 15), date(2025, 9, 30)

pytestmark = pytest.mark.skipif(find_spec("akshare") is None, reason="akshare is not installed")


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with open_simulator(SimulatorOptions(size=600, today=TODAY)) as running:
        yield running


@pytest.fixture
async def akshare(simulator: Simulator, tmp_path: Path) -> AsyncIterator[Source]:
    source = build_akshare(settings_for(simulator, tmp_path), SystemClock())
    yield source
    await source.aclose()


async def test_a_whole_run(akshare: Source, simulator: Simulator) -> None:
    market = simulator.market
    await akshare.check()
    listed, daily, roe = await asyncio.gather(
        akshare.stock_list(), akshare.daily_data(TODAY), akshare.roe(PERIOD)
    )
    assert listed.exchanges == set(Exchange)
    assert [(item.code, item.name) for item in sorted(listed.listings, key=lambda item: item.code)] == [
        (stock.symbol, clean_name(stock.name))
        for stock in sorted(market.stocks, key=lambda stock: stock.symbol)
    ]
    industries = {stock.symbol: stock.industry for stock in market.stocks}
    reported = {ts_code[:6]: value for ts_code, value in market.roe(PERIOD).items()}
    assert dict(roe.industries) == {code: industries[code] for code in reported if industries[code]}
    assert dict(roe.values) == reported
    for day in market.metrics(TODAY):
        assert day.total_mv is not None
        assert daily.metrics[day.ts_code[:6]].total_mv == pytest.approx(day.total_mv / 10_000, abs=1e-8)
    assert simulator.calls.of("akshare.yjbb") == 3


async def test_another_day_is_not_there(akshare: Source, simulator: Simulator) -> None:
    with pytest.raises(SourceSkipped):
        await akshare.daily_data(date(2026, 4, 14))
    assert simulator.calls.of("akshare.spot") == 0


async def test_an_exchange_may_be_missing(akshare: Source, simulator: Simulator) -> None:
    simulator.faults.set("akshare.szse", "http403")
    answer = await akshare.stock_list()
    assert answer.exchanges == {Exchange.SSE, Exchange.BSE}
    simulator.faults.set("akshare.*", "banned")
    with pytest.raises(SourceBanned):
        await akshare.stock_list()


async def test_a_deadline_ends_a_call(akshare: Source, simulator: Simulator) -> None:
    simulator.faults.set("akshare.*", "hang")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(2):
            await akshare.daily_data(TODAY)
    simulator.faults.clear()
    assert (await akshare.daily_data(TODAY)).metrics
