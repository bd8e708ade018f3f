import math

import pytest

from stocksync.domain import stock
from stocksync.errors import BadRow, OutOfScope
from stocksync.simulator.faults import Calls, Fault, FaultInvalid, Faults, Kind
from stocksync.simulator.http import Delivery, Response
from stocksync.simulator.http_faults import on_the_wire
from stocksync.simulator.pace import Pace, delay_seconds
from stocksync.simulator.tables import POISON_CODES, Table, poison_rows, spoil

FIELDS = ("ts_code", "symbol", "name", "total_mv")
ROWS = [(f"{600000 + n}.SH", str(600000 + n), f"虚{n}", n + 0.5) for n in range(30)]
ROWS += [(f"{920000 + n}.BJ", str(920000 + n), f"幻{n}", n + 0.5) for n in range(10)]


@pytest.fixture
def faults() -> Faults:
    return Faults({"tushare": {"daily_basic", "trade_cal"}})


@pytest.fixture
def table() -> Table:
    return Table(fields=FIELDS, rows=ROWS, code="ts_code", vital="name")


def test_every_kind_is_documented_and_parsed() -> None:
    for kind in Kind:
        assert kind.meaning
        assert "\n" not in kind.meaning
        assert Fault.parse(str(kind)) == Fault(kind)
        assert Fault.parse(f"{kind}:3") == Fault(kind, 3)
        assert str(Fault.parse(f"{kind}:3")) == f"{kind}:3"


@pytest.mark.parametrize(
    "text", ["", "http999", "HANG", "hang:", "hang:0", "hang:-1", "hang:x", "hang:1:2", "hang:٣"]
)
def test_what_is_no_fault_is_refused_and_told_what_there_is(text: str) -> None:
    with pytest.raises(FaultInvalid, match="http502, http503, hang"):
        Fault.parse(text)


def test_a_fault_lasts_until_it_is_cleared(faults: Faults) -> None:
    faults.set("tushare.daily_basic", "http502")
    assert [faults.take("tushare", "daily_basic") for _ in range(3)] == [Kind.HTTP502] * 3
    assert faults.take("tushare", "trade_cal") is None
    faults.clear("tushare.daily_basic")
    assert faults.take("tushare", "daily_basic") is None


def test_a_counted_fault_heals_by_itself(faults: Faults) -> None:
    faults.read(["tushare.daily_basic=hang:2"])
    assert faults.take("tushare", "daily_basic") is Kind.HANG
    assert faults.get() == {"tushare.daily_basic": "hang:1"}
    assert faults.take("tushare", "daily_basic") is Kind.HANG
    assert faults.take("tushare", "daily_basic") is None
    assert faults.get() == {}


def test_a_calls_own_fault_goes_before_that_of_every_call(faults: Faults) -> None:
    faults.read(["tushare.*=hang", "tushare.daily_basic=empty:1"])
    assert faults.take("tushare", "daily_basic") is Kind.EMPTY
    assert faults.take("tushare", "daily_basic") is Kind.HANG
    assert faults.take("tushare", "trade_cal") is Kind.HANG


@pytest.mark.parametrize(
    "text",
    [
        "tushare.daly_basic=hang",
        "sina.*=hang",
        "tushare=hang",
        "*=hang",
        "tushare.daily_basic",
        "=",
        "tushare.*=no",
    ],
)
def test_an_invalid_one_switches_none_on(faults: Faults, text: str) -> None:
    with pytest.raises(FaultInvalid):
        faults.read(["tushare.trade_cal=hang", text])
    assert faults.get() == {}


def test_clearing_switches_all_off(faults: Faults) -> None:
    faults.read(["tushare.*=hang", "tushare.daily_basic=empty"])
    faults.clear()
    assert faults.get() == {}


def test_calls_are_counted_by_target() -> None:
    calls = Calls()
    for _ in range(3):
        calls.count("tushare", "daily_basic")
    assert (calls.of("tushare.daily_basic"), calls.of("tushare.trade_cal")) == (3, 0)
    assert calls.get() == {"tushare.daily_basic": 3}
    calls.reset()
    assert calls.get() == {}


def test_a_cut_keeps_the_first_rows(table: Table) -> None:
    assert spoil(table, Kind.EMPTY, newest=False).rows == []
    assert spoil(table, Kind.TEN_ROWS, newest=False).rows == ROWS[:10]
    assert spoil(table, Kind.HALF, newest=False).rows == ROWS[:20]


def test_only_the_newest_day_is_unpublished(table: Table) -> None:
    assert spoil(table, Kind.UNPUBLISHED, newest=True).rows == []
    assert spoil(table, Kind.HALF_PUBLISHED, newest=True).rows == ROWS[:10]
    assert spoil(table, Kind.UNPUBLISHED, newest=False) is table
    assert spoil(table, Kind.HALF_PUBLISHED, newest=False) is table


def test_columns_are_renamed_or_missing(table: Table) -> None:
    assert spoil(table, Kind.RENAMED, newest=False).fields == (
        "ts_code_new",
        "symbol_new",
        "name_new",
        "total_mv_new",
    )
    without = spoil(table, Kind.MISSING_COLUMN, newest=False)
    assert without.fields == ("ts_code", "symbol", "total_mv")
    assert without.rows[0] == ("600000.SH", "600000", 0.5)
    not_asked = spoil(table.select(["ts_code", "symbol"]), Kind.MISSING_COLUMN, newest=False)
    assert not_asked.fields == ("ts_code",)


def test_wrong_types_spare_the_code_only(table: Table) -> None:
    for good, bad in zip(ROWS, spoil(table, Kind.WRONG_TYPES, newest=False).rows, strict=True):
        assert bad[0] == good[0]
        assert all(type(wrong) is not type(right) for wrong, right in zip(bad[1:], good[1:], strict=True))


def test_nan_is_in_every_third_row(table: Table) -> None:
    rows = spoil(table, Kind.NAN, newest=False).rows
    hit = [isinstance(row[3], float) and math.isnan(row[3]) for row in rows]
    assert hit == [index % 3 == 0 for index in range(len(ROWS))]


def test_beijing_is_missing_in_any_spelling(table: Table) -> None:
    assert [*spoil(table, Kind.NO_EXCHANGE_BJ, newest=False).rows] == ROWS[:30]
    other = Table(
        fields=("code",), rows=[("bj.920001",), ("sh.600000",), ("nonsense",)], code="code", vital="code"
    )
    assert spoil(other, Kind.NO_EXCHANGE_BJ, newest=False).rows == [("sh.600000",), ("nonsense",)]
    no_stocks = Table(fields=("day",), rows=[("920001",)], code=None, vital="day")
    assert spoil(no_stocks, Kind.NO_EXCHANGE_BJ, newest=False) is no_stocks


def test_poison_lies_among_the_good_rows_and_is_refused_by_the_domain(table: Table) -> None:
    rows = list(spoil(table, Kind.POISON, newest=False).rows)
    assert [row for row in rows if isinstance(row, tuple)] == ROWS
    bad = [dict(zip(FIELDS, row, strict=True)) for row in rows if not isinstance(row, tuple)]
    assert rows[-1] == ROWS[-1]
    assert [row["symbol"] for row in bad] == [*POISON_CODES, "999999", "900999", "600000"]
    outcomes: list[type[Exception] | None] = []
    for row in bad:
        try:
            stock.listing(code=str(row["symbol"]), name=row["name"])
        except (BadRow, OutOfScope) as error:
            outcomes.append(type(error))
        else:
            outcomes.append(None)
    assert outcomes == [BadRow] * 6 + [OutOfScope, None]


def test_poison_reaches_tables_without_names_and_spares_empty_ones() -> None:
    metrics = Table(
        fields=("ts_code", "total_mv"), rows=[("600000.SH", 1.5)], code="ts_code", vital="total_mv"
    )
    assert [row[1] for row in poison_rows(metrics)][1] == 2**70
    empty = Table(fields=("ts_code",), rows=[], code="ts_code", vital="ts_code")
    assert spoil(empty, Kind.POISON, newest=False) is empty


def test_faults_of_the_protocol_leave_the_table_alone(table: Table) -> None:
    assert spoil(table, None, newest=True) is table
    assert spoil(table, Kind.BAD_TOKEN, newest=True) is table


def test_faults_of_http_leave_or_spoil_the_answer() -> None:
    healthy = Response(body=b"{}")
    assert on_the_wire(None, healthy) is healthy
    assert on_the_wire(Kind.POISON, healthy) is healthy
    assert on_the_wire(Kind.HANG, healthy).delivery is Delivery.HANG
    assert on_the_wire(Kind.HTTP429, healthy).status == 429


def test_only_the_realistic_pace_takes_time() -> None:
    assert delay_seconds(Pace.FAST, "tushare", "stock_basic") == 0
    assert delay_seconds(Pace.REALISTIC, "tushare", "stock_basic") == 1.2
    assert delay_seconds(Pace.REALISTIC, "tushare", "unheard_of") == 0
