"""Real dumps through the real client into the real store: every field, unit by unit."""

import csv
import json
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import pytest

from stocksync.app import App
from stocksync.domain.codes import clean_name
from stocksync.domain.status import SyncStatus
from stocksync.simulator import SimulatorOptions, open_simulator
from support import record, running_app

CODES = (
    "600519", "000001", "300750", "688981", "689009", "920418", "920964", "000002", "600036", "601318",
    "002594", "300059", "688111", "603288", "605499", "001979", "301269",
)  # fmt: skip
RATIOS = ("pe", "pb", "ps", "pe_ttm", "ps_ttm", "turnover_rate", "volume_ratio", "total_share", "float_share")

Rows = dict[str, dict[str, str]]


def read(path: Path) -> Rows:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return {row["ts_code"][:6]: row for row in csv.DictReader(file)}


@pytest.fixture
def listed(dumps: Path) -> Rows:
    return read(dumps / "henrylin99_stock_basic_2025-11.csv")


@pytest.fixture
def daily(dumps: Path) -> Rows:
    return read(dumps / "henrylin99_daily_basic_20260415.csv")


@pytest.fixture
def boards(dumps: Path) -> dict[str, str]:
    data = json.loads((dumps / "gostock_tushare_stock_basic_2025-06.json").read_text())["data"]
    symbol, market = data["fields"].index("symbol"), data["fields"].index("market")
    return {item[symbol]: item[market] for item in data["items"]}


@pytest.fixture
async def replayed(dumps: Path, tmp_path: Path) -> AsyncIterator[App]:
    async with (
        open_simulator(SimulatorOptions(replay=dumps)) as simulator,
        running_app(simulator, tmp_path, min_stocks=4000) as app,
    ):
        yield app


async def test_a_replay_stores_every_row_to_the_field(
    replayed: App, listed: Rows, daily: Rows, boards: dict[str, str]
) -> None:
    recorder = record(replayed)
    stats = await replayed.service.run_full_sync()
    recorder.check()
    assert stats.status is SyncStatus.SUCCESS
    assert stats.total == stats.inserted == len(listed) == 5448
    assert stats.last_trade_date == "20260415"
    assert await replayed.store.stocks.count("tushare") == len(listed)

    for code in CODES:
        stored = await replayed.store.stocks.get(code, "tushare")
        assert stored is not None, code
        assert_listing(stored, listed[code], boards.get(code))
        assert_figures(stored.figures, daily[code])
        assert stored.trade_date == "20260415"


def assert_listing(stored: object, row: dict[str, str], board: str | None) -> None:
    expected = {
        "name": clean_name(row["name"]),
        "area": row["area"] or None,
        "industry": row["industry"] or None,
        "list_date": row["list_date"].replace("-", ""),
        "full_symbol": row["ts_code"],
    }
    assert {name: getattr(stored, name) for name in expected} == expected
    if board is not None:
        assert getattr(stored, "market") == board  # noqa: B009 - the same way as the fields above


def assert_figures(figures: object, row: dict[str, str]) -> None:
    expected = {name: float(row[name]) for name in RATIOS if float(row[name])}
    for name in ("total_mv", "circ_mv"):
        if float(row[name]):
            expected[name] = float(Decimal(row[name]) / 10_000)
    assert figures == expected, "亿元 and 万股, and what was written as 0 for missing is absent"


async def test_a_second_replay_changes_nothing(replayed: App, listed: Rows) -> None:
    await replayed.service.run_full_sync()
    stats = await replayed.service.run_full_sync()
    assert (stats.inserted, stats.updated, stats.unchanged) == (0, len(listed), len(listed))
