import csv
from datetime import UTC, date, datetime, time, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import examples
from stocksync.domain.calendar import (
    LOOK_BACK_DAYS,
    builtin_open_days,
    compact,
    covers,
    days_with_final_figures,
    latest_report_period,
    market_day,
    parse_compact,
)
from stocksync.domain.wire import MARKET_ZONE

SHANGHAI = timezone(timedelta(hours=8))
FIRST, LAST = date(2024, 1, 1), date(2026, 12, 31)
WEDNESDAY = date(2026, 4, 15)


def shanghai(day: date, at: time) -> datetime:
    return datetime.combine(day, at, SHANGHAI)


def test_three_years_have_727_open_days_in_order_and_no_weekend() -> None:
    days = builtin_open_days(FIRST, LAST)
    assert len(days) == 727
    assert days == sorted(set(days))
    assert all(day.weekday() < 5 for day in days)


@pytest.mark.parametrize(("year", "count"), [(2024, 242), (2025, 243), (2026, 242)])
def test_each_year_has_its_open_days(year: int, count: int) -> None:
    assert len(builtin_open_days(date(year, 1, 1), date(year, 12, 31))) == count


@pytest.mark.parametrize(
    "day",
    [
        "20240101", "20240209", "20240215", "20240917", "20241001", "20241007", "20250128", "20250501",
        "20251008", "20260101", "20260102", "20260217", "20260619", "20261001", "20261007",
        "20240204", "20250426", "20260104",
    ],
)  # fmt: skip
def test_the_market_is_closed_on_holidays_and_on_working_weekends(day: str) -> None:
    assert builtin_open_days(parse_compact(day), parse_compact(day)) == []


@pytest.mark.parametrize(
    "day", ["20240208", "20240219", "20241008", "20251009", "20260415", "20260930", "20261008"]
)
def test_the_market_is_open_around_them(day: str) -> None:
    assert builtin_open_days(parse_compact(day), parse_compact(day)) == [parse_compact(day)]


def test_a_year_that_is_not_in_the_table_has_every_weekday() -> None:
    assert builtin_open_days(date(2031, 10, 1), date(2031, 10, 7)) == [
        date(2031, 10, 1),
        date(2031, 10, 2),
        date(2031, 10, 3),
        date(2031, 10, 6),
        date(2031, 10, 7),
    ]


def test_both_ends_count_and_an_inverted_range_is_empty() -> None:
    assert builtin_open_days(WEDNESDAY, WEDNESDAY + timedelta(days=1)) == [WEDNESDAY, date(2026, 4, 16)]
    assert builtin_open_days(WEDNESDAY, WEDNESDAY - timedelta(days=1)) == []


@given(st.dates(date(1000, 1, 1)))
@examples(100)
def test_a_compact_day_reads_back(day: date) -> None:
    assert parse_compact(compact(day)) == day
    assert len(compact(day)) == 8


@pytest.mark.parametrize(
    "text", ["", "2026-04-15", "20260230", "202604155", "abcdefgh", "2026 415", "2026415"]
)
def test_anything_else_is_no_compact_day(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_compact(text)


OPEN_DAYS = builtin_open_days(date(2026, 4, 1), WEDNESDAY)
BEFORE = [day for day in OPEN_DAYS if day < WEDNESDAY]


@pytest.mark.parametrize(
    ("at", "today_counts"),
    [
        (time(0, 0), False),
        (time(9, 30), False),
        (time(15, 0), False),
        (time(15, 4, 59, 999_999), False),
        (time(15, 5), True),
        (time(23, 59, 59), True),
    ],
)
def test_a_days_figures_are_final_five_minutes_after_the_close(at: time, *, today_counts: bool) -> None:
    days = days_with_final_figures(OPEN_DAYS, shanghai(WEDNESDAY, at))
    assert days == sorted(OPEN_DAYS if today_counts else BEFORE, reverse=True)


@pytest.mark.parametrize(
    ("now", "newest"),
    [
        (datetime(2026, 4, 14, 15, 59, tzinfo=UTC), date(2026, 4, 14)),  # 23:59 in Shanghai
        (datetime(2026, 4, 14, 16, 0, tzinfo=UTC), date(2026, 4, 14)),  # Shanghai is a day ahead
        (datetime(2026, 4, 15, 0, 0, tzinfo=UTC), date(2026, 4, 14)),
        (datetime(2026, 4, 15, 7, 4, tzinfo=UTC), date(2026, 4, 14)),
        (datetime(2026, 4, 15, 7, 5, tzinfo=UTC), date(2026, 4, 15)),
        (datetime(2026, 4, 14, 23, 5, tzinfo=timezone(timedelta(hours=-8))), date(2026, 4, 15)),
    ],
)
def test_the_market_lives_in_shanghai_wherever_the_server_is(now: datetime, newest: date) -> None:
    assert days_with_final_figures(reversed(OPEN_DAYS), now)[0] == newest


def test_days_to_come_and_closed_days_have_no_figures() -> None:
    saturday = shanghai(date(2026, 4, 18), time(20))
    days = builtin_open_days(date(2026, 4, 13), date(2026, 4, 30))
    assert days_with_final_figures(days, saturday)[0] == date(2026, 4, 17)
    assert days_with_final_figures([], saturday) == []


@pytest.mark.parametrize(
    ("now", "day"),
    [
        (datetime(2026, 4, 14, 15, 59, tzinfo=UTC), date(2026, 4, 14)),
        (datetime(2026, 4, 14, 16, 0, tzinfo=UTC), date(2026, 4, 15)),
    ],
)
def test_the_markets_day_begins_at_its_midnight(now: datetime, day: date) -> None:
    assert market_day(now) == day
    assert now.astimezone(MARKET_ZONE).utcoffset() == timedelta(hours=8)


@pytest.mark.parametrize(
    ("today", "period"),
    [
        (date(2026, 1, 1), date(2025, 9, 30)),
        (date(2026, 4, 30), date(2025, 9, 30)),
        (date(2026, 5, 1), date(2026, 3, 31)),
        (date(2026, 8, 31), date(2026, 3, 31)),
        (date(2026, 9, 1), date(2026, 6, 30)),
        (date(2026, 10, 31), date(2026, 6, 30)),
        (date(2026, 11, 1), date(2026, 9, 30)),
        (date(2026, 12, 31), date(2026, 9, 30)),
    ],
)
def test_a_report_period_counts_from_the_day_after_its_deadline(today: date, period: date) -> None:
    assert latest_report_period(today) == period


@pytest.mark.parametrize(
    ("age", "fresh"), [(0, True), (LOOK_BACK_DAYS // 2, True), (LOOK_BACK_DAYS // 2 + 1, False)]
)
def test_a_kept_calendar_serves_while_it_reaches_into_the_last_fortnight(age: int, *, fresh: bool) -> None:
    assert covers([date(2026, 1, 5), WEDNESDAY - timedelta(days=age)], WEDNESDAY) is fresh
    assert not covers([], WEDNESDAY)


def test_the_table_equals_the_exchanges_own_calendar(dumps: Path) -> None:
    dump = dumps / "henrylin99_trade_cal_SSE_2024-2026.csv"
    with dump.open(encoding="utf-8-sig", newline="") as lines:
        rows = {date.fromisoformat(row["cal_date"]): row["is_open"] == "1" for row in csv.DictReader(lines)}
    table = set(builtin_open_days(FIRST, LAST))
    assert len(rows) == (LAST - FIRST).days + 1
    assert [day for day, is_open in rows.items() if is_open != (day in table)] == []
