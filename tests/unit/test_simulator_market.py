import csv
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from stocksync.domain import codes
from stocksync.domain.calendar import builtin_open_days
from stocksync.simulator import replay
from stocksync.simulator.made_up import FIRST_DAY, MadeUpMarket
from stocksync.simulator.market import MarketInvalid
from stocksync.simulator.replay import ReplayInvalid, ReplayMarket
from stocksync.simulator.tables import POISON_CODES

TODAY = date(2026, 4, 15)
DAY_BEFORE = date(2026, 4, 14)


@pytest.fixture(scope="module")
def market() -> MadeUpMarket:
    return MadeUpMarket(seed=1, today=TODAY)


def test_boards_have_their_real_proportions(market: MadeUpMarket) -> None:
    boards = Counter((stock.board, stock.exchange) for stock in market.stocks)
    assert len(market.stocks) == 5450
    assert boards == {
        ("主板", "SSE"): 1702,
        ("科创板", "SSE"): 590,
        ("主板", "SZSE"): 1482,
        ("创业板", "SZSE"): 1393,
        ("北交所", "BSE"): 283,
    }
    assert [stock.symbol for stock in market.stocks if stock.symbol.startswith("689")] == ["689009"]


def test_every_code_is_unique_ordered_and_agrees_with_the_rules_of_the_house(market: MadeUpMarket) -> None:
    symbols = [stock.ts_code for stock in market.stocks]
    assert symbols == sorted(set(symbols))
    for stock in market.stocks:
        place = codes.locate(stock.symbol)
        assert (stock.board, stock.exchange) == (place.board, place.exchange.name)
        assert stock.ts_code == f"{stock.symbol}.{place.exchange}"


def test_names_are_fictional_unique_and_trapped(market: MadeUpMarket) -> None:
    names = [stock.name for stock in market.stocks]
    assert len({codes.clean_name(name) for name in names}) == len(names)
    assert all(re.match(r"(\*?ST)?[虚幻拟臆]", name) for name in names)
    assert any("  " in name and name.endswith("Ａ") for name in names)
    assert any(name.startswith("*ST") for name in names)
    assert any(name.endswith("-U") for name in names)


def test_codes_of_poison_rows_stay_free(market: MadeUpMarket) -> None:
    assert not {stock.symbol for stock in market.stocks} & set(POISON_CODES)


def test_some_new_listings_have_no_industry(market: MadeUpMarket) -> None:
    new = [stock for stock in market.stocks if stock.industry is None]
    assert len(new) == round(5450 * 0.002)
    assert all(stock.area is None and (stock.list_date or "") >= "202511" for stock in new)


@pytest.mark.parametrize("size", [1, 5, 49, 50, 300, 5600])
def test_any_size_is_spread_proportionally(size: int) -> None:
    stocks = MadeUpMarket(size=size, today=TODAY).stocks
    assert len({stock.ts_code for stock in stocks}) == size
    if size >= 300:
        main = sum(stock.board == "主板" for stock in stocks)
        assert main / size == pytest.approx(3184 / 5450, abs=0.01)


@pytest.mark.parametrize("size", [0, -1, 55_000])
def test_a_size_beyond_the_codes_is_refused(size: int) -> None:
    with pytest.raises(MarketInvalid, match=f"not {size}"):
        MadeUpMarket(size=size)


def test_the_same_seed_makes_the_same_market_in_another_process() -> None:
    script = (
        "from datetime import date; from stocksync.simulator.made_up import MadeUpMarket\n"
        "market = MadeUpMarket(seed=7, size=40, today=date(2026, 4, 15))\n"
        "print(repr([*market.stocks, *market.metrics(date(2026, 4, 14)), market.roe(date(2025, 9, 30))]))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "1234", "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, check=True)
    here = MadeUpMarket(seed=7, size=40, today=TODAY)
    expected = repr([*here.stocks, *here.metrics(DAY_BEFORE), here.roe(date(2025, 9, 30))])
    assert done.stdout.decode().strip() == expected


def test_another_seed_makes_another_market() -> None:
    one, two = (MadeUpMarket(seed=seed, size=100, today=TODAY) for seed in (1, 2))
    assert {stock.name for stock in one.stocks}.isdisjoint(stock.name for stock in two.stocks)
    assert one.metrics(TODAY)[0][1:] != two.metrics(TODAY)[0][1:]


def test_figures_move_by_day_and_do_not_depend_on_what_was_asked_before() -> None:
    asked_often = MadeUpMarket(size=200, today=TODAY)
    for day in builtin_open_days(date(2026, 3, 1), TODAY):
        asked_often.metrics(day)
    asked_once = MadeUpMarket(size=200, today=TODAY)
    assert list(asked_once.metrics(DAY_BEFORE)) == list(asked_often.metrics(DAY_BEFORE))
    before = {row.ts_code: row.close for row in asked_once.metrics(DAY_BEFORE)}
    moved = [before.get(row.ts_code) != row.close for row in asked_once.metrics(TODAY)]
    assert sum(moved) > 0.9 * len(moved)


def test_figures_are_plausible_and_consistent(market: MadeUpMarket) -> None:
    rows = market.metrics(TODAY)
    share_of_losers = sum(row.pe is None for row in rows) / len(rows)
    assert 0.15 < share_of_losers < 0.35
    assert any(row.pe is None and row.pe_ttm is not None for row in rows)
    for row in rows:
        assert row.close is not None
        assert row.total_share is not None
        assert row.total_mv == round(row.close * row.total_share, 4)
        assert 0 < (row.circ_mv or 0) <= row.total_mv
        assert 0 < (row.free_share or 0) <= (row.float_share or 0) <= row.total_share
        assert all(value != 0 for value in row[1:])


def test_a_few_suspended_stocks_are_missing(market: MadeUpMarket) -> None:
    listed = {stock.ts_code for stock in market.stocks}
    traded = {row.ts_code for row in market.metrics(TODAY)}
    assert traded < listed
    assert len(listed - traded) == round(5450 * 0.002)


def test_nobody_trades_before_its_listing(market: MadeUpMarket) -> None:
    listed = {stock.ts_code: stock.list_date or "" for stock in market.stocks}
    rows = market.metrics(date(2021, 1, 4))
    assert 1000 < len(rows) < 5000
    assert all(listed[row.ts_code] <= "20210104" for row in rows)


@pytest.mark.parametrize("day", [date(2026, 4, 12), date(2026, 4, 16), date(2019, 12, 31)])
def test_closed_future_and_forgotten_days_are_empty(market: MadeUpMarket, day: date) -> None:
    assert market.metrics(day) == ()


def test_a_whole_day_is_made_quickly_and_kept(market: MadeUpMarket) -> None:
    seconds = []
    for day in builtin_open_days(date(2024, 3, 4), date(2024, 3, 8)):
        begin = time.perf_counter()
        rows = market.metrics(day)
        seconds.append(time.perf_counter() - begin)
        assert market.metrics(day) is rows
    assert min(seconds) < 0.3


def test_the_calendar_holds_every_day_to_the_end_of_the_year(market: MadeUpMarket) -> None:
    calendar = market.calendar
    assert (calendar[0].day, calendar[-1].day) == (FIRST_DAY, date(2026, 12, 31))
    assert len(calendar) == (date(2026, 12, 31) - FIRST_DAY).days + 1
    assert [entry.day for entry in calendar if entry.is_open] == builtin_open_days(
        FIRST_DAY, date(2026, 12, 31)
    )
    after_spring_festival = next(entry for entry in calendar if entry.day == date(2026, 2, 24))
    assert (after_spring_festival.is_open, after_spring_festival.previous) == (True, date(2026, 2, 13))
    assert calendar[0].previous is None


def test_the_latest_day_is_open_and_has_figures(market: MadeUpMarket) -> None:
    assert market.latest_day == TODAY
    assert MadeUpMarket(size=5, today=date(2026, 4, 12)).latest_day == date(2026, 4, 10)
    by_the_clock = MadeUpMarket(size=5)
    assert by_the_clock.latest_day <= by_the_clock.today
    assert (datetime.now(UTC).date() - by_the_clock.latest_day).days < 14
    assert by_the_clock.metrics(by_the_clock.latest_day)


def test_roe_is_reported_by_quarter_for_nearly_all(market: MadeUpMarket) -> None:
    roe = market.roe(date(2025, 9, 30))
    assert 0.97 * 5450 < len(roe) < 5450
    assert any(value < 0 for value in roe.values())
    assert roe != market.roe(date(2025, 6, 30))
    for silent in (date(2025, 9, 29), date(2026, 3, 31), date(2019, 12, 31)):
        assert market.roe(silent) == {}


def test_importing_the_package_loads_no_server() -> None:
    script = (
        "import stocksync.simulator, sys; print([m for m in ('asyncio', 'h11', 'json') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True)
    assert done.stdout.strip() == "[]"


# ---- replay


def write_dumps(folder: Path) -> None:
    daily = ["ts_code", "trade_date", *replay._NUMBERS]
    rows = {
        replay.LIST_FILE: [
            ["ts_code", "symbol", "name", "area", "industry", "list_date"],
            ["600001.SH", "600001", "甲", "", "", "2001-02-03"],
            ["000001.SZ", "000001", "乙", "某地", "某业", "1991-04-03"],
        ],
        replay.DAILY_FILE: [
            daily,
            ["600001.SH", "20260415", "1.5", *["0.0"] * 15],
            ["000001.SZ", "20260415", *["0.0"] * 16],
        ],
        replay.CALENDAR_FILE: [
            ["exchange", "cal_date", "is_open", "pretrade_date"],
            ["SSE", "2026-04-16", "1", "2026-04-15"],
            ["SSE", "2026-04-15", "1", "2026-04-14"],
            ["SSE", "2026-04-14", "0", ""],
        ],
    }
    for name, lines in rows.items():
        with (folder / name).open("w", encoding="utf-8-sig", newline="") as file:
            csv.writer(file).writerows(lines)
    older = {"fields": ["ts_code", "area", "industry", "market", "is_hs"]}
    older["items"] = [["600001.SH", "旧地", "旧业", "旧板", "H"]]  # type: ignore[list-item]
    (folder / replay.BOARDS_FILE).write_text(json.dumps({"data": older}), encoding="utf-8")


def test_a_replay_fills_gaps_of_the_list_and_restores_what_was_null(tmp_path: Path) -> None:
    write_dumps(tmp_path)
    market = ReplayMarket(tmp_path)
    bank, other = market.stocks
    assert (bank.name, bank.area, bank.board, bank.list_date, bank.is_hs) == (
        "乙",
        "某地",
        "主板",
        "19910403",
        None,
    )
    assert (other.area, other.industry, other.board, other.exchange) == ("旧地", "旧业", "旧板", "SSE")
    (row,) = market.metrics(market.latest_day)
    assert (row.ts_code, row.close) == ("600001.SH", 1.5)
    assert set(row[2:]) == {None}
    assert [entry.day.day for entry in market.calendar] == [14, 15]
    assert market.metrics(date(2026, 4, 14)) == ()
    assert market.roe(date(2025, 12, 31)) == {}


def test_a_replay_names_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ReplayInvalid, match="no folder"):
        ReplayMarket(tmp_path / "nowhere")
    write_dumps(tmp_path)
    (tmp_path / replay.CALENDAR_FILE).unlink()
    with pytest.raises(ReplayInvalid, match=f"lacks {re.escape(replay.CALENDAR_FILE)};"):
        ReplayMarket(tmp_path)


@pytest.mark.parametrize(
    "name", [replay.LIST_FILE, replay.DAILY_FILE, replay.CALENDAR_FILE, replay.BOARDS_FILE]
)
@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"nothing,here\n1,2\n", b"[]"])
def test_a_replay_refuses_a_file_that_is_no_dump(tmp_path: Path, name: str, content: bytes) -> None:
    write_dumps(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ReplayInvalid, match="cannot be read"):
        ReplayMarket(tmp_path)
