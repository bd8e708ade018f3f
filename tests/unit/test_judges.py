"""What is believed of an answer, and what is not."""

from dataclasses import replace
from datetime import date, timedelta

import pytest

from stocksync.clock import SystemClock
from stocksync.domain.calendar import builtin_open_days
from stocksync.domain.codes import Exchange
from stocksync.domain.merge import ListAnswer
from stocksync.domain.stock import listing
from stocksync.errors import SourceIncomplete
from stocksync.ports import Source
from stocksync.settings import Settings
from stocksync.sources import BUILDERS
from stocksync.sources.tushare import TushareSource
from stocksync.sync.fallback import judge_calendar, judge_list

KNOWN = {Exchange.SSE: 420, Exchange.SZSE: 530, Exchange.BSE: 50}
HEADS = {Exchange.SSE: "600", Exchange.SZSE: "000", Exchange.BSE: "920"}


@pytest.fixture
def source() -> Source:
    built = BUILDERS["tushare"](Settings(), SystemClock())
    assert isinstance(built, TushareSource)
    return built


def answer(counts: dict[Exchange, int], **changes: object) -> ListAnswer:
    codes = [f"{HEADS[each]}{n:03}" for each, count in counts.items() for n in range(count)]
    listings = tuple(listing(code=code, name=f"虚构{code}") for code in codes)
    whole = ListAnswer(source="tushare", exchanges=frozenset(Exchange), listings=listings)
    return replace(whole, **changes)  # type: ignore[arg-type] # fields of the answer


def judged(
    source: Source, given: ListAnswer, known: dict[Exchange, int] | None = None
) -> tuple[ListAnswer, str | None]:
    return judge_list(source, given, minimum=800, known=KNOWN if known is None else known, max_shrink=0.1)


def test_a_whole_list_is_taken_whole(source: Source) -> None:
    given = answer(KNOWN)
    assert judged(source, given) == (given, None)


@pytest.mark.parametrize(
    ("beijing", "known"), [(0, KNOWN), (1, KNOWN), (10, KNOWN), (40, KNOWN), (0, {}), (1, {}), (10, {})]
)
def test_an_exchange_of_which_hardly_anything_is_left_is_missing(
    source: Source, beijing: int, known: dict[Exchange, int]
) -> None:
    usable, flaw = judged(source, answer(KNOWN | {Exchange.BSE: beijing}), known)
    assert usable.exchanges == {Exchange.SSE, Exchange.SZSE}
    assert "北京证券交易所" in (flaw or "")


def test_a_few_delistings_are_no_doubt(source: Source) -> None:
    given = answer({Exchange.SSE: 400, Exchange.SZSE: 500, Exchange.BSE: 43})
    assert judged(source, given)[1] is None


@pytest.mark.parametrize(
    "counts", [{Exchange.SZSE: 10}, {Exchange.SZSE: 530}, {Exchange.SSE: 210, Exchange.SZSE: 530}]
)
def test_a_part_is_refused_whole(source: Source, counts: dict[Exchange, int]) -> None:
    with pytest.raises(SourceIncomplete):
        judged(source, answer(counts))


def test_what_a_source_says_that_it_failed_for_is_not_held_against_the_rest(source: Source) -> None:
    rest = {Exchange.SSE: 420, Exchange.BSE: 50}
    given = answer(rest, failed={Exchange.SZSE: "深交所：连接失败"})
    given = replace(given, exchanges=frozenset(rest))
    usable, flaw = judged(source, given)
    assert usable.exchanges == set(rest)
    assert "深交所：连接失败" in (flaw or "")


END = date(2026, 11, 20)
START = END - timedelta(days=30)
OPEN = builtin_open_days(START, END)


@pytest.mark.parametrize("named", [OPEN, OPEN[:-1], OPEN[1:-1]])
def test_a_calendar_may_know_of_a_closure_that_the_table_does_not(named: list[date]) -> None:
    judge_calendar(named, START, END)


@pytest.mark.parametrize("named", [OPEN[:10], OPEN[10:], OPEN[::2], []])
def test_a_calendar_with_holes_is_refused(named: list[date]) -> None:
    with pytest.raises(SourceIncomplete, match="交易日历缺少"):
        judge_calendar(named, START, END)


def test_in_a_year_that_the_table_does_not_know_a_holiday_week_is_believed() -> None:
    start, end = date(2029, 1, 20), date(2029, 2, 20)
    weekdays = builtin_open_days(start, end)
    judge_calendar(weekdays[:8] + weekdays[16:], start, end)
    with pytest.raises(SourceIncomplete):
        judge_calendar(weekdays[:10], start, end)
