import math
import sys
from dataclasses import replace
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from builders import a_stock, examples
from stocksync.domain.codes import Exchange, clean_name
from stocksync.domain.stock import (
    FIGURES,
    METRICS,
    DailyMetrics,
    StockBasic,
    StockListing,
    known,
    listing,
    overlay,
    scaled,
)
from stocksync.errors import BadRow, OutOfScope

HOSTILE = ["\x00", "\x01", "\x07", "\x1b", "\x7f", "\x9f", "\ud800", "\udfff", "\ue000", "\u200b", "\u202e"]


def build(**fields: Any) -> StockListing:
    return listing(**{"code": "600519", "name": "贵州茅台", **fields})


def refusal(**fields: Any) -> BadRow:
    with pytest.raises(BadRow) as caught:
        build(**fields)
    return caught.value


def test_a_listing_is_cleaned_and_completed_from_its_code() -> None:
    row = build(
        code="000002", name="万  科Ａ", area=" 深圳 ", industry="全国 地产", list_date="19910129", market=None
    )
    assert row == StockListing(
        code="000002", name="万科A", area="深圳", industry="全国 地产", market="主板", list_date="19910129"
    )
    assert row.exchange is Exchange.SZSE


def test_the_upstream_names_the_board_where_it_can() -> None:
    assert build(market="CDR").market == "CDR"
    assert build(code="688001", market=" ").market == "科创板"


@pytest.mark.parametrize("field", ["area", "industry", "list_date"])
@pytest.mark.parametrize("empty", [None, "", "   "])
def test_an_empty_optional_field_is_unknown(field: str, empty: str | None) -> None:
    assert getattr(build(**{field: empty}), field) is None


@pytest.mark.parametrize("name", [None, "", " ", "\u3000\t"])
def test_a_missing_name_is_refused(name: str | None) -> None:
    error = refusal(name=name)
    assert (error.stock_code, error.field) == ("600519", "name")
    assert error.value == repr(name)


@pytest.mark.parametrize("field", ["name", "area", "industry", "market", "list_date"])
@pytest.mark.parametrize("value", [0, 20260415, math.nan, True, b"abc", ["x"], {}])
def test_what_is_not_text_is_refused_by_field(field: str, value: object) -> None:
    error = refusal(**{field: value})
    assert (error.stock_code, error.field, error.value) == ("600519", field, repr(value))


@pytest.mark.parametrize("field", ["name", "area", "industry", "market", "list_date"])
@pytest.mark.parametrize("char", HOSTILE, ids=ascii)
@pytest.mark.parametrize("template", ["{}", "贵{}州", "{}茅台", "茅台{}"])
def test_control_and_invalid_characters_are_refused_by_field(field: str, char: str, template: str) -> None:
    error = refusal(**{field: template.format(char)})
    assert error.field == field
    error.value.encode()  # what a person is shown must be storable


@pytest.mark.parametrize("field", ["name", "area", "industry", "market", "list_date"])
def test_oversized_text_is_refused_by_field_and_shown_shortened(field: str) -> None:
    error = refusal(**{field: "长" * 65})
    assert error.field == field
    assert len(refusal(**{field: "长" * 10_000}).value) <= 100


def test_the_longest_allowed_text_is_taken() -> None:
    assert build(name="长" * 64).name == "长" * 64


@pytest.mark.parametrize(
    "day",
    [
        "20250229",
        "20251301",
        "20250100",
        "20250132",
        "00000101",
        "00000000",
        "99999999",
        "2025-01-01",
        "2025011",
        "202501011",
        "２０２５０１０１",
        "0",
        "abcdefgh",
        "2025010a",
        "2025 101",
    ],
)
def test_an_impossible_date_is_refused(day: str) -> None:
    error = refusal(list_date=day)
    assert (error.field, error.value) == ("list_date", repr(day))


@pytest.mark.parametrize("day", ["20240229", "19901219", "99991231"])
def test_a_real_date_is_kept(day: str) -> None:
    assert build(list_date=day).list_date == day


def test_a_listing_of_no_a_share_is_refused_before_anything_else_is_looked_at() -> None:
    with pytest.raises(OutOfScope):
        build(code="900901", name=None)
    assert refusal(code="123456", name=None).field == "code"


@given(st.text(max_size=70), st.text(max_size=70))
@examples(300)
def test_any_text_becomes_a_clean_listing_or_a_named_refusal(name: str, area: str) -> None:
    try:
        row = build(name=name, area=area)
    except BadRow as exc:
        refused = exc.field
    else:
        refused = None
    assert refused in {None, "name", "area"}
    if refused is not None:
        return
    assert row.name
    assert row.name == clean_name(name)
    for text in (row.name, row.area or "-"):
        assert text.isprintable()
        text.encode()


@pytest.mark.parametrize(
    "value",
    [
        None,
        0,
        0.0,
        -0.0,
        math.nan,
        math.inf,
        -math.inf,
        10**400,
        "",
        " ",
        "-",
        "--",
        "None",
        "nan",
        "inf",
        "0",
        "0.00",
        "1e999",
        "1,234",
        "12%",
        True,
        False,
        b"1",
        [1.0],
        {},
        Decimal(3),
        1j,
    ],
)
def test_what_is_no_figure_is_unknown(value: object) -> None:
    assert known(value) is None
    assert scaled(value, 10_000) is None


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (1, 1.0),
        (-3, -3.0),
        (1.5, 1.5),
        ("1.5", 1.5),
        (" 12 ", 12.0),
        ("-0.01", -0.01),
        ("1e3", 1000.0),
        (2**70, float(2**70)),
        (sys.float_info.max, sys.float_info.max),
        (5e-324, 5e-324),
    ],
)
def test_a_figure_is_a_finite_float(value: object, number: float) -> None:
    found = known(value)
    assert found == number
    assert type(found) is float


@given(st.one_of(st.floats(), st.integers(), st.text(max_size=12), st.floats().map(str), st.booleans()))
@examples(300)
def test_a_known_figure_is_never_nan_infinite_or_zero(value: object) -> None:
    for found in (known(value), scaled(value, 10_000)):
        assert found is None or (type(found) is float and math.isfinite(found) and found != 0)


@given(
    amount=st.decimals(min_value="-300000000", max_value="300000000", places=4),
    divisor=st.sampled_from([1, 10_000, 100_000_000]),
    as_text=st.booleans(),
)
@examples(500)
def test_units_are_converted_as_decimals_are(amount: Decimal, divisor: int, *, as_text: bool) -> None:
    """To eight decimals and without the noise of floats: 11.111 万元 are 0.0011111 亿元, not 0.00111109…."""
    exact = (amount / divisor).quantize(Decimal("1e-8"), ROUND_HALF_EVEN)
    tie = abs((amount / divisor) % Decimal("1e-8")) == Decimal("5e-9")
    assume(not tie)  # no upstream publishes half a hundred-millionth
    assert scaled(str(amount) if as_text else float(amount), divisor) == (float(exact) or None)


@given(st.integers(1, 5 * 10**12))
@examples(200)
def test_whole_yuan_become_the_same_number_of_yi(yuan: int) -> None:
    assert scaled(yuan, 10**8) == float(Decimal(yuan) / 10**8)


def test_every_metric_of_the_schema_is_a_field_and_every_field_a_metric() -> None:
    fields = [name for name in DailyMetrics.__dataclass_fields__ if name != "code"]
    assert list(METRICS) == fields
    assert (*METRICS, "roe") == FIGURES


names = st.sampled_from(["平安银行", "万科A", "*ST某"])
maybe_text = st.none() | st.sampled_from(["深圳", "上海", "银行"])
days = st.sampled_from(["20260413", "20260414", "20260415"])


@st.composite
def stocks(draw: st.DrawFn) -> StockBasic:
    day = draw(st.none() | days)
    figures = draw(st.dictionaries(st.sampled_from(FIGURES), st.floats(0.01, 1e6), max_size=6)) if day else {}
    texts = {field: draw(maybe_text) for field in ("area", "industry")}
    suppliers = {name: f"{draw(st.sampled_from(['tushare', 'akshare']))}:{day}" for name in figures}
    filled = {name: "akshare" for name, text in texts.items() if text and draw(st.booleans())}
    return a_stock(
        "000001",
        name=draw(names),
        list_date=draw(st.none() | st.just("19910403")),
        trade_date=day,
        figures=figures,
        field_sources={**suppliers, **filled},
        **texts,
    )


@given(stocks(), stocks())
@examples(300)
def test_neither_the_unknown_nor_the_older_overwrites(stored: StockBasic, fresh: StockBasic) -> None:
    merged = overlay(stored, fresh)
    assert (merged.name, merged.market) == (fresh.name, fresh.market)
    for field in ("area", "industry", "list_date"):
        expected = getattr(fresh, field)
        assert getattr(merged, field) == (getattr(stored, field) if expected is None else expected)
    assert merged.trade_date == max(filter(None, (stored.trade_date, fresh.trade_date)), default=None)
    assert merged.figures.keys() == stored.figures.keys() | fresh.figures.keys()
    for name, value in merged.figures.items():
        supplier = fresh if name in fresh.figures else stored
        if name in fresh.figures and name in stored.figures and day_of(stored, name) > day_of(fresh, name):
            supplier = stored
        assert value == supplier.figures[name]
        assert merged.field_sources[name] == supplier.field_sources[name]


def day_of(stock: StockBasic, name: str) -> str:
    return stock.field_sources[name].partition(":")[2]


@given(stocks(), stocks())
@examples(300)
def test_the_same_news_twice_is_no_news(stored: StockBasic, fresh: StockBasic) -> None:
    once = overlay(stored, fresh)
    assert overlay(once, fresh) == once
    assert overlay(stored, stored) == stored


@given(
    stocks(), st.sets(st.sampled_from(FIGURES)), st.sets(st.sampled_from(["area", "industry", "list_date"]))
)
@examples(150)
def test_a_row_that_knows_less_changes_nothing(stored: StockBasic, lost: set[str], blank: set[str]) -> None:
    less = replace(
        stored,
        figures={name: value for name, value in stored.figures.items() if name not in lost},
        field_sources={name: who for name, who in stored.field_sources.items() if name not in lost | blank},
        **dict.fromkeys(blank),
    )
    assert overlay(stored, less) == stored


def test_an_older_figure_keeps_naming_its_day() -> None:
    stored = a_stock(trade_date="20260414", figures={"pe": 9.0}, field_sources={"pe": "tushare:20260414"})
    fresh = a_stock(trade_date="20260415", figures={"pb": 1.0}, field_sources={"pb": "akshare:20260415"})
    merged = overlay(stored, fresh)
    assert merged.trade_date == "20260415"
    assert merged.figures == {"pe": 9.0, "pb": 1.0}
    assert merged.field_sources == {"pe": "tushare:20260414", "pb": "akshare:20260415"}


@pytest.mark.parametrize("field", ["area", "industry"])
def test_a_field_that_its_own_source_supplies_now_no_longer_names_the_one_that_filled_it(field: str) -> None:
    stored = a_stock(**{field: "旧"}, field_sources={field: "akshare"})
    merged = overlay(stored, a_stock(**{field: "新"}))
    assert getattr(merged, field) == "新"
    assert field not in merged.field_sources


def test_a_stock_knows_its_symbol_and_exchange() -> None:
    stock = a_stock("920047")
    assert (stock.full_symbol, stock.sse) == ("920047.BJ", "北京证券交易所")


def test_a_figure_of_an_older_day_does_not_come_back() -> None:
    today = a_stock(
        trade_date="20260415",
        figures={"total_mv": 5.0, "turnover_rate": 1.5, "roe": 2.0},
        field_sources={
            "total_mv": "akshare:20260415",
            "turnover_rate": "akshare:20260415",
            "roe": "akshare:20250930",
        },
    )
    yesterday = a_stock(
        trade_date="20260414",
        figures={"turnover_rate": 0.7, "pe_ttm": 9.0, "roe": 3.0},
        field_sources={
            "turnover_rate": "baostock:20260414",
            "pe_ttm": "baostock:20260414",
            "roe": "tushare:20251231",
        },
    )
    merged = overlay(today, yesterday)
    assert merged.trade_date == "20260415"
    assert merged.figures == {"total_mv": 5.0, "turnover_rate": 1.5, "pe_ttm": 9.0, "roe": 3.0}
    assert merged.field_sources["turnover_rate"] == "akshare:20260415"
    assert merged.field_sources["pe_ttm"] == "baostock:20260414", "and each figure names its own day"
