"""What happens in the simulated market between two syncs."""

from datetime import date
from itertools import pairwise

import pytest

from stocksync.simulator.living import LivingMarket
from stocksync.simulator.made_up import MadeUpMarket
from stocksync.simulator.market import MarketInvalid

DAY = date(2026, 4, 15)
PERIOD = date(2025, 12, 31)


@pytest.fixture
def market() -> LivingMarket:
    return LivingMarket(MadeUpMarket(size=200, today=DAY))


def names(market: LivingMarket) -> dict[str, str]:
    return {stock.symbol: stock.name for stock in market.stocks}


def test_nothing_has_happened_at_first(market: LivingMarket) -> None:
    same = MadeUpMarket(size=200, today=DAY)
    assert (market.stocks, market.get()) == (same.stocks, {})
    assert market.metrics(DAY) == same.metrics(DAY)
    assert (market.calendar, market.latest_day) == (same.calendar, same.latest_day)
    assert market.roe(PERIOD) == same.roe(PERIOD)


def test_everything_that_can_happen_happens_and_can_be_taken_back(market: LivingMarket) -> None:
    before, traded = market.stocks, market.metrics(DAY)
    renamed, gone, moved, *_, beijing = (stock.symbol for stock in before)
    events = {renamed: "rename:某股份", gone: "delist", moved: "move:创业板", beijing: "renumber:830001"}
    events["605996"] = "list:新股份"
    market.happen(events)
    assert market.get() == events
    assert names(market)[renamed] == "某股份"
    assert names(market)["605996"] == "新股份"
    assert {gone, beijing}.isdisjoint(names(market))
    assert names(market)["830001"] == before[-1].name
    assert next(stock.board for stock in market.stocks if stock.symbol == moved) == "创业板"
    assert all(one.ts_code < other.ts_code for one, other in pairwise(market.stocks))
    codes = {each.ts_code[:6] for each in market.metrics(DAY)}
    assert {gone, beijing}.isdisjoint(codes)
    assert "830001" in codes
    assert gone not in {ts_code[:6] for ts_code in market.roe(PERIOD)}
    market.undo(gone)
    assert gone in names(market)
    market.undo()
    assert (market.stocks, market.metrics(DAY), market.get()) == (before, traded, {})


def test_every_event_makes_another_edition(market: LivingMarket) -> None:
    editions = [market.edition]
    market.happen({market.stocks[0].symbol: "rename:某股份"})
    editions.append(market.edition)
    market.undo()
    editions.append(market.edition)
    assert len(set(editions)) == 3


@pytest.mark.parametrize(
    ("code", "event"),
    [
        ("600000", "explode"),
        ("", ""),
        ("first", "rename"),
        ("first", "delist:now"),
        ("first", "list:某股份"),
        ("605996", "rename:某股份"),
        ("999999", "list:某股份"),
        ("first", "renumber:900001"),
        ("first", "renumber:second"),
    ],
)
def test_what_cannot_happen_is_refused_and_changes_nothing(
    market: LivingMarket, code: str, event: str
) -> None:
    first, second = (stock.symbol for stock in market.stocks[:2])
    code, event = code.replace("first", first), event.replace("second", second)
    with pytest.raises(MarketInvalid):
        market.happen({second: "rename:某股份", code: event})
    assert market.get() == {}
