from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import ALL_EXCHANGES, DAY, a_daily, a_list, a_listing, a_ref, a_reject, examples
from stocksync.domain.calendar import compact
from stocksync.domain.codes import Exchange, locate
from stocksync.domain.merge import (
    DailyAnswer,
    ListAnswer,
    Listed,
    Market,
    RoeAnswer,
    merge,
    renumbered,
    unite,
)
from stocksync.domain.status import Reject
from stocksync.domain.stock import METRICS, TEXTS, DailyMetrics, StockBasic, StockListing
from stocksync.errors import RowError

SOURCES: Final = ("tushare", "akshare", "baostock")
CODES: Final = tuple(
    head + tail for head in ("600", "688", "000", "300", "920", "430") for tail in ("001", "002")
)
UNKNOWN: Final = ("999999", "60051", "", "900901")
DAY_BEFORE: Final = date(2026, 4, 14)
FIELDS: Final = ("total_mv", "pe", "pb_mrq", "turnover_rate")


def exchange_of(code: str) -> Exchange | None:
    try:
        return locate(code).exchange
    except RowError:
        return None


def figure(source: str, day: date, name: str, code: str) -> float:
    """A number that only this source gives, on this day, for this field of this stock."""
    place = SOURCES.index(source), day.day, (*METRICS, "roe").index(name), CODES.index(code)
    return float("1" + "".join(f"{part:02}" for part in place))


@st.composite
def lists(draw: st.DrawFn, source: str) -> ListAnswer:
    exchanges = draw(st.frozensets(st.sampled_from(Exchange), min_size=1))
    names = st.sampled_from(["甲", "乙", "丙"])
    texts = st.none() | st.sampled_from([f"{source}-1", f"{source}-2"])
    own = [code for code in CODES if exchange_of(code) in exchanges]
    rows = draw(st.lists(st.tuples(st.sampled_from(own), names, texts, texts), max_size=10))
    rejects = draw(st.lists(st.sampled_from((*CODES, *UNKNOWN)), max_size=3))
    return a_list(
        source,
        [a_listing(code, name=name, area=area, industry=trade) for code, name, area, trade in rows],
        exchanges,
        [a_reject(code, reason=source) for code in rejects],
    )


@st.composite
def dailies(draw: st.DrawFn, source: str) -> DailyAnswer:
    day = draw(st.sampled_from([DAY, DAY_BEFORE]))
    wanted = draw(st.dictionaries(st.sampled_from(CODES), st.sets(st.sampled_from(FIELDS)), max_size=8))
    return DailyAnswer(
        source=source,
        day=day,
        metrics={
            code: DailyMetrics(code=code, **{name: figure(source, day, name, code) for name in names})
            for code, names in wanted.items()
        },
    )


@st.composite
def returns(draw: st.DrawFn) -> RoeAnswer:
    source = draw(st.sampled_from(SOURCES))
    period = date(2025, 9, 30)
    codes = draw(st.sets(st.sampled_from(CODES)))
    return RoeAnswer(
        source=source, period=period, values={code: figure(source, period, "roe", code) for code in codes}
    )


@st.composite
def markets(draw: st.DrawFn) -> Market:
    order = draw(st.permutations(SOURCES))
    listers = order[: draw(st.integers(1, 3))]
    measurers = draw(st.permutations(SOURCES))[: draw(st.integers(0, 3))]
    return Market(
        lists=[draw(lists(source)) for source in listers],
        dailies=[draw(dailies(source)) for source in measurers],
        roe=draw(st.none() | returns()),
    )


@dataclass(frozen=True)
class Taken:
    """What is to be taken of one list, by the rules as the mission tells them."""

    answer: ListAnswer
    exchanges: frozenset[Exchange]
    first: bool

    @property
    def rows(self) -> list[StockListing]:
        return [row for row in self.answer.listings if row.exchange in self.exchanges]

    @property
    def rejects(self) -> list[Reject]:
        return [
            reject
            for reject in self.answer.rejects
            if self.first or exchange_of(reject.code) in self.exchanges
        ]


def taken(answers: Iterable[ListAnswer]) -> list[Taken]:
    found: list[Taken] = []
    for answer in answers:
        before = frozenset[Exchange]().union(*(each.answer.exchanges for each in found))
        found.append(Taken(answer, answer.exchanges - before, first=not found))
    return found


def merged(market: Market) -> tuple[Listed, dict[str, StockBasic]]:
    listed = unite(market.lists)
    stocks = list(merge(listed, market))
    assert [stock.code for stock in stocks] == sorted(listed.listings)
    return listed, {stock.code: stock for stock in stocks}


@given(markets())
@examples(80)
def test_every_stock_belongs_to_the_one_source_that_supplied_its_listing(market: Market) -> None:
    listed, stocks = merged(market)
    expected = {}
    for part in taken(market.lists):
        for row in part.rows:
            expected.setdefault(row.code, (part.answer.source, row))
    assert {code: (listed.origin[code], row) for code, row in listed.listings.items()} == expected
    for code, stock in stocks.items():
        source, row = expected[code]
        assert (stock.source, stock.name, stock.market) == (source, row.name, row.market)


@given(markets())
@examples(80)
def test_the_counts_of_the_sources_add_up_to_the_total(market: Market) -> None:
    listed, stocks = merged(market)
    counts = listed.counts()
    assert sum(count.total for count in counts.values()) == listed.total == len(stocks) + len(listed.rejects)
    assert all(count.success == 0 for count in counts.values())
    owners = Counter([*listed.origin.values(), *(source for source, _ in listed.rejects)])
    assert {source: count.total for source, count in counts.items()} == owners


@given(markets())
@examples(80)
def test_a_later_list_adds_only_exchanges_that_none_before_answered_for(market: Market) -> None:
    listed, _ = merged(market)
    assert listed.exchanges == {part.answer.source: part.exchanges for part in taken(market.lists)}
    for code, source in listed.origin.items():
        assert exchange_of(code) in listed.exchanges[source]
    used = [exchange for exchanges in listed.exchanges.values() for exchange in exchanges]
    assert len(used) == len(set(used))


@given(markets())
@examples(80)
def test_every_row_taken_is_listed_or_rejected_and_a_second_one_is_named(market: Market) -> None:
    listed, _ = merged(market)
    expected: Counter[tuple[str, str]] = Counter()
    for part in taken(market.lists):
        expected.update((part.answer.source, reject.code) for reject in part.rejects)
        rows = Counter(row.code for row in part.rows)
        expected.update({(part.answer.source, code): count - 1 for code, count in rows.items() if count > 1})
    assert Counter((source, reject.code) for source, reject in listed.rejects) == expected


@given(markets())
@examples(80)
def test_a_source_still_lists_the_codes_of_its_rejected_rows(market: Market) -> None:
    listed, _ = merged(market)
    for part in taken(market.lists):
        expected = {row.code for row in part.rows} | {reject.code for reject in part.rejects}
        assert listed.codes(part.answer.source) == expected
    assert listed.codes("nobody") == frozenset()


@given(markets())
@examples(120)
def test_each_figure_is_the_first_one_of_the_winners_day_and_names_who_gave_it(market: Market) -> None:
    _, stocks = merged(market)
    same_day = [answer for answer in market.dailies if answer.day == market.dailies[0].day]
    for code, stock in stocks.items():
        figures, sources = {}, {}
        for answer in reversed(same_day):
            for name in METRICS:
                row = answer.metrics.get(code)
                if row is not None and getattr(row, name) is not None:
                    figures[name] = figure(answer.source, answer.day, name, code)
                    sources[name] = f"{answer.source}:{compact(answer.day)}"
        if market.roe is not None and code in market.roe.values:
            figures["roe"] = market.roe.values[code]
            sources["roe"] = f"{market.roe.source}:20250930"
        assert stock.figures == figures
        assert {name: who for name, who in stock.field_sources.items() if name not in TEXTS} == sources


@given(markets())
@examples(80)
def test_metrics_come_from_one_day_and_a_stock_without_any_has_none(market: Market) -> None:
    _, stocks = merged(market)
    for stock in stocks.values():
        days = {stock.field_sources[name].partition(":")[2] for name in stock.figures if name != "roe"}
        assert days <= {compact(market.dailies[0].day)} if market.dailies else not days
        assert days in (set(), {stock.trade_date})


def kept(answer: ListAnswer, code: str) -> StockListing | None:
    """Of the rows that name a code the first; the others are rejected."""
    return next((row for row in answer.listings if row.code == code), None)


@given(markets())
@examples(120)
def test_texts_are_the_owners_and_only_gaps_are_filled_by_name_of_the_filler(market: Market) -> None:
    listed, stocks = merged(market)
    for code, stock in stocks.items():
        own = listed.listings[code]
        for name in TEXTS:
            value = getattr(stock, name)
            if getattr(own, name) is not None:
                assert value == getattr(own, name)
                assert name not in stock.field_sources
                continue
            gifts = [(answer.source, getattr(kept(answer, code), name, None)) for answer in market.lists[1:]]
            offers = [(who, text) for who, text in gifts if text is not None and who != stock.source]
            supplier, expected = offers[0] if offers else (None, None)
            assert (value, stock.field_sources.get(name)) == (expected, supplier)


def test_the_first_source_wins_each_field_and_the_next_fills_the_gaps() -> None:
    market = Market(
        lists=[
            a_list("tushare", [a_listing("600519", area="贵州")], frozenset({Exchange.SSE, Exchange.SZSE})),
            a_list("akshare", [a_listing("600519", area="别处", industry="白酒"), a_listing("920047")]),
        ],
        dailies=[
            a_daily("tushare", {"600519": {"pe": 20.0}}),
            a_daily("baostock", {"600519": {"pe": 99.0, "pb_mrq": 7.0}}),
            a_daily("akshare", {"600519": {"total_mv": 5.0}}, DAY_BEFORE),
        ],
        roe=RoeAnswer(source="tushare", period=date(2025, 9, 30), values={"600519": 24.6}),
    )
    _, stocks = merged(market)
    stock = stocks["600519"]
    assert (stock.source, stock.area, stock.industry) == ("tushare", "贵州", "白酒")
    assert stock.figures == {"pe": 20.0, "pb_mrq": 7.0, "roe": 24.6}
    assert stock.field_sources == {
        "industry": "akshare",
        "pe": "tushare:20260415",
        "pb_mrq": "baostock:20260415",
        "roe": "tushare:20250930",
    }
    assert (stocks["920047"].source, stocks["920047"].trade_date) == ("akshare", None)


def test_a_code_named_twice_is_kept_once_and_rejected_by_name_once() -> None:
    listed = unite([a_list("tushare", [a_listing("600519", name="甲"), a_listing("600519", name="乙")])])
    assert listed.listings["600519"].name == "甲"
    ((source, reject),) = listed.rejects
    assert (source, reject.code, reject.field, reject.value) == ("tushare", "600519", "code", "乙")
    assert (listed.total, listed.counts()["tushare"].total) == (2, 2)


def test_a_rejected_second_row_fills_no_gap() -> None:
    twice = [a_listing("600519"), a_listing("600519", industry="白酒")]
    market = Market(lists=[a_list("tushare", [], frozenset({Exchange.SZSE})), a_list("akshare", twice)])
    _, stocks = merged(market)
    assert stocks["600519"].industry is None
    assert stocks["600519"].field_sources == {}


def test_a_row_of_metrics_without_one_figure_gives_no_trade_date() -> None:
    market = Market(
        lists=[a_list("tushare", [a_listing("600519")])], dailies=[a_daily("tushare", {"600519": {}})]
    )
    _, stocks = merged(market)
    assert stocks["600519"].figures == {}
    assert stocks["600519"].trade_date is None


def test_an_unreadable_row_of_a_later_list_counts_only_for_the_exchanges_it_is_taken_for() -> None:
    rejects = [a_reject("920001"), a_reject("600001"), a_reject("999999")]
    first = a_list("tushare", [a_listing("600519")], frozenset({Exchange.SSE}), rejects)
    later = a_list("akshare", [a_listing("920047")], ALL_EXCHANGES, rejects)
    listed = unite([first, later])
    assert [(source, reject.code) for source, reject in listed.rejects] == [
        ("tushare", "920001"),
        ("tushare", "600001"),
        ("tushare", "999999"),
        ("akshare", "920001"),
    ]


def test_a_later_list_of_an_exchange_that_nobody_needs_adds_nothing() -> None:
    listed = unite(
        [
            a_list("tushare", [a_listing("600519")]),
            a_list("akshare", [a_listing("600520")], rejects=[a_reject()]),
        ]
    )
    assert (set(listed.listings), listed.rejects, listed.total) == ({"600519"}, [], 1)


def beijing(code: str, name: str = "某股份", list_date: str | None = "20200101") -> Listed:
    return unite([a_list("tushare", [a_listing(code, name=name, list_date=list_date)])])


@pytest.mark.parametrize("old", ["430047", "831799", "872001", "889001"])
def test_a_retired_beijing_code_is_matched_by_name_and_list_date(old: str) -> None:
    assert renumbered([a_ref(old)], beijing("920047")) == {old: "920047"}


@pytest.mark.parametrize(
    ("old", "name", "list_date"),
    [
        ("430047", "别股份", "20200101"),
        ("430047", "某股份", "20200102"),
        ("430047", "某股份", None),
        ("920001", "某股份", "20200101"),
        ("600001", "某股份", "20200101"),
        ("000001", "某股份", "20200101"),
    ],
)
def test_anything_less_certain_is_no_renumbered_stock(old: str, name: str, list_date: str | None) -> None:
    assert renumbered([a_ref(old, name, list_date)], beijing("920047")) == {}


@pytest.mark.parametrize("new", ["600047", "000047", "430048"])
def test_a_stock_moves_only_to_a_new_beijing_code(new: str) -> None:
    assert renumbered([a_ref("430047")], beijing(new)) == {}


def test_a_name_alone_does_not_make_a_renumbered_stock() -> None:
    """Nobody knows either first trading day: the old row would be deleted for another company's."""
    assert renumbered([a_ref("430047", list_date=None)], beijing("920047", list_date=None)) == {}


@given(
    st.lists(
        st.tuples(st.sampled_from(CODES), st.sampled_from("甲乙"), st.sampled_from(["20200101", "20210101"]))
    ),
    markets(),
)
@examples(60)
def test_only_retired_codes_move_and_only_to_listed_ones(
    rows: list[tuple[str, str, str]], market: Market
) -> None:
    listed = unite(
        [
            *market.lists,
            a_list("late", [a_listing("920009", name="甲", list_date="20200101")], frozenset({Exchange.BSE})),
        ]
    )
    refs = {code: a_ref(code, name, day) for code, name, day in rows}
    for old, new in renumbered(refs.values(), listed).items():
        assert old[:2] in {"43", "83", "87", "88"}
        assert new.startswith("920")
        assert (refs[old].name, refs[old].list_date) == (
            listed.listings[new].name,
            listed.listings[new].list_date,
        )
