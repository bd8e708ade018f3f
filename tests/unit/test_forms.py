"""The form of stored fields: what an older service may have left, and what becomes of it."""

import math
from datetime import UTC, datetime
from typing import Any

import pytest
from bson.decimal128 import Decimal128
from bson.timestamp import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from builders import examples
from stocksync.stores.mongo.doctor.forms import (
    Unreadable,
    as_day,
    as_figure,
    as_moment,
    fix_code,
    fix_dates,
    fix_figures,
    text_code,
)

TEN = datetime(2026, 4, 15, 10, tzinfo=UTC)
"""18:00 in Shanghai."""


@pytest.mark.parametrize(
    ("found", "day"),
    [
        ("20010827", "20010827"),
        ("2001-08-27", "20010827"),
        ("2001/8/27", "20010827"),
        ("2001-08-27 00:00:00", "20010827"),
        ("2001-08-27T00:00:00", "20010827"),
        (20010827, "20010827"),
        (20010827.0, "20010827"),
        ("20010827.0", "20010827"),
        (datetime(2001, 8, 27, tzinfo=UTC), "20010827"),
        (datetime(2001, 8, 26, 16, tzinfo=UTC), "20010827"),
        (None, None),
        ("", None),
        ("-", None),
        ("NaT", None),
        (math.nan, None),
        (0, None),
    ],
)
def test_days(found: Any, day: str | None) -> None:
    assert as_day(found) == day


@pytest.mark.parametrize(
    "found", ["yesterday", "20010230", "2001", "200108271", 2001, True, {}, [], b"x", 1.5]
)
def test_days_that_cannot_be_read(found: Any) -> None:
    with pytest.raises(Unreadable):
        as_day(found)


@pytest.mark.parametrize(
    ("found", "moment"),
    [
        (TEN, TEN),
        ("2026-04-15T18:00:00", TEN),
        ("2026-04-15 18:00:00", TEN),
        ("2026/04/15 18:00:00", TEN),
        ("2026-04-15T10:00:00Z", TEN),
        ("2026-04-15T18:00:00+08:00", TEN),
        ("2026-04-15T18:00:00.123456", TEN.replace(microsecond=123_000)),
        ("2026-04-15", datetime(2026, 4, 14, 16, tzinfo=UTC)),
        (TEN.timestamp(), TEN),
        (int(TEN.timestamp() * 1000), TEN),
        (Timestamp(int(TEN.timestamp()), 1), TEN),
        (None, None),
        ("", None),
        (math.nan, None),
    ],
)
def test_moments(found: Any, moment: datetime | None) -> None:
    assert as_moment(found) == moment


@pytest.mark.parametrize("found", ["yesterday", "2026-13-01", 7, -1.0, 1e300, True, {}, b"x"])
def test_moments_that_cannot_be_read(found: Any) -> None:
    with pytest.raises(Unreadable):
        as_moment(found)


@pytest.mark.parametrize(
    ("found", "figure"),
    [
        (1.5, 1.5),
        (3, 3.0),
        ("3.20", 3.2),
        (" 1e3 ", 1000.0),
        (Decimal128("4.25"), 4.25),
        (Decimal128("NaN"), None),
        (0, None),
        (0.0, None),
        ("0", None),
        (math.nan, None),
        (-math.inf, None),
        (None, None),
        ("-", None),
        ("", None),
        ("N/A", None),
        ("nan", None),
    ],
)
def test_figures(found: Any, figure: float | None) -> None:
    assert as_figure(found) == figure


@pytest.mark.parametrize("found", ["a lot", "1_000", "12%", True, {}, [1.0], b"1"])
def test_figures_that_cannot_be_read(found: Any) -> None:
    with pytest.raises(Unreadable):
        as_figure(found)


@pytest.mark.parametrize(
    ("found", "code"),
    [
        ("600519", "600519"),
        (600519, "600519"),
        (600519.0, "600519"),
        (1, "000001"),
        (600519.5, None),
        (0, None),
        (1_000_000, None),
        (math.nan, None),
        (True, None),
        (None, None),
    ],
)
def test_codes(found: Any, code: str | None) -> None:
    assert text_code(found) == code


def test_a_number_becomes_a_code_with_its_symbols() -> None:
    fix = fix_code({"_id": 1, "code": 1})
    assert fix.values == {"code": "000001", "symbol": "000001", "full_symbol": "000001.SZ"}
    assert fix_code({"_id": 1, "code": "000001"}).fields == []
    assert fix_code({"_id": 1, "code": 900901}).fields == []  # a B share
    assert fix_code({"_id": 1}).fields == []


def test_a_row_in_form_stays_as_it_is() -> None:
    row = {"_id": 1, "code": "600519", "updated_at": TEN, "list_date": "20010827", "pe": 20.5, "pb": 3}
    assert fix_dates(row).fields == fix_figures(row).fields == fix_code(row).fields == []


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.text(max_size=20),
    st.datetimes(timezones=st.just(UTC)),
    st.binary(max_size=5),
    st.lists(st.integers(), max_size=2),
    st.sampled_from(["2001-08-27", "20010827", 20010827, "3.5", "-", 1.7e9, Decimal128("1.5")]),
)


@given(
    document=st.fixed_dictionaries(
        {}, optional=dict.fromkeys(("updated_at", "list_date", "pe", "code"), VALUES)
    )
)
@examples(300)
def test_a_fix_leaves_nothing_to_fix(document: dict[str, Any]) -> None:
    for fix in (fix_dates, fix_figures, fix_code):
        found = fix(document)
        mended = {**document, **found.values}
        mended = {name: value for name, value in mended.items() if name not in found.unknown}
        again = fix(mended)
        assert again.fields == []
        assert set(again.unreadable) == set(found.unreadable)
