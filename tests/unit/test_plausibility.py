"""Whether figures can be in the right unit: no false alarm on whatever selection, no wrong unit missed."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from plausible import BOARDS, made_up, real, scaled
from stocksync.domain.magnitudes import ENOUGH, SIZES, Row, is_believable
from stocksync.domain.plausibility import Verdict, judge

FIELDS = (*SIZES, "turnover_rate", "roe")
POWERS = (1, 2, 4, 8, -1, -2, -4, -8)
MARKET = made_up(each=450)
CANNOT_BE_TOLD = (
    {"total_mv": 1},
    {"total_mv": -1},
    {"circ_mv": 1},
    {"total_mv": 2, "circ_mv": 2},
    {"turnover_rate": -2},
    {"roe": 2},
)

UNITS = (
    {"total_mv": 4, "circ_mv": 4},  # 万元
    {"total_mv": 8, "circ_mv": 8},  # 元
    {"total_mv": 2, "circ_mv": 2},  # 百万元
    {"total_share": 4, "float_share": 4},  # 股
    {"total_share": -4, "float_share": -4},  # 亿股
    {"total_mv": 8, "circ_mv": 8, "total_share": 4, "float_share": 4},  # 元 and 股
    {"turnover_rate": -2, "roe": -2},  # fractions
)


def powers(verdicts: Sequence[Verdict]) -> Mapping[str, int]:
    return {name: power for verdict in verdicts for name, power in verdict.powers.items()}


def test_the_whole_market_is_right() -> None:
    assert judge(MARKET) == []


@pytest.mark.parametrize("prefix", BOARDS)
@pytest.mark.parametrize("size", [ENOUGH, 40, 300])
def test_one_board_alone_is_right(prefix: str, size: int) -> None:
    assert judge(made_up([prefix], size)) == []


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("largest", [True, False])
def test_the_largest_and_the_smallest_alone_are_right(name: str, largest: bool) -> None:  # noqa: FBT001
    assert judge(sorted(MARKET, key=lambda row: row.figures[name], reverse=largest)[:40]) == []


@pytest.mark.parametrize("factor", [0.4, 0.5, 2, 3])
def test_a_crash_and_a_boom_are_no_units(factor: float) -> None:
    assert judge([priced(row, factor) for row in MARKET]) == []


def priced(row: Row, factor: float) -> Row:
    """The stock on a day with other prices."""
    old = row.figures
    price = max(0.01, round(old["total_mv"] / old["total_share"] * 1e4 * factor, 2))
    values = {"total_mv": price * old["total_share"] / 1e4, "circ_mv": price * old["float_share"] / 1e4}
    return Row(row.code, {**old, **values})


@pytest.mark.parametrize("factor", [0.4, 4])
def test_a_dull_and_a_frantic_day_are_no_units(factor: float) -> None:
    rows = [
        Row(row.code, {**row.figures, "turnover_rate": row.figures["turnover_rate"] * factor})
        for row in MARKET
    ]
    assert judge(rows) == []


@pytest.mark.parametrize("digits", [4, 2, 0])
def test_rounded_values_are_right(digits: int) -> None:
    rows = [
        Row(row.code, {**row.figures, "total_mv": round(row.figures["total_mv"], digits) or 1.0})
        for row in MARKET
    ]
    assert judge(rows) == []


@pytest.mark.parametrize(
    "names", [("total_mv",), ("total_mv", "circ_mv"), ("total_share",), ("roe", "pb", "pe")]
)
def test_what_is_not_known_raises_no_alarm(names: tuple[str, ...]) -> None:
    assert judge([Row(row.code, {name: row.figures[name] for name in names}) for row in MARKET]) == []


@pytest.mark.parametrize("off", UNITS, ids=str)
def test_units_of_the_upstreams_are_recognised(off: Mapping[str, int]) -> None:
    verdicts = judge(scaled(MARKET, off))
    assert powers(verdicts) == off
    assert all(verdict.whole and verdict.sure for verdict in verdicts)
    assert all(len(verdict.codes) == len(MARKET) for verdict in verdicts)


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("power", POWERS)
def test_any_power_of_ten_is_found(name: str, power: int) -> None:
    assert powers(judge(scaled(MARKET, {name: power}))) == {name: power}


@pytest.mark.parametrize("prefix", BOARDS)
@pytest.mark.parametrize("off", UNITS[:5], ids=str)
def test_forty_stocks_are_enough_where_the_prices_tell(prefix: str, off: Mapping[str, int]) -> None:
    assert powers(judge(scaled(made_up([prefix], 40), off))) == off


def test_too_few_values_are_not_judged() -> None:
    rows = scaled(made_up(["600"], ENOUGH - 1), {"total_mv": 1})
    assert judge(rows) == []


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.9])
@pytest.mark.parametrize(
    "off", [{"total_mv": 4, "circ_mv": 4}, {"total_share": 4, "float_share": 4}], ids=str
)
def test_a_part_of_the_rows_is_found_by_itself(share: float, off: Mapping[str, int]) -> None:
    rows = scaled(MARKET, off, share)
    (verdict,) = judge(rows)
    wrong = {row.code for row, right in zip(rows, MARKET, strict=True) if row is not right}
    assert verdict.powers == off
    assert (verdict.whole, verdict.sure) == (False, True)
    assert set(verdict.codes) <= wrong
    assert len(verdict.codes) > 0.98 * len(wrong)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.6, 0.9])
@pytest.mark.parametrize("off", CANNOT_BE_TOLD, ids=str)
def test_a_part_that_cannot_be_told_from_the_rest_is_never_sure(share: float, off: Mapping[str, int]) -> None:
    assert not any(verdict.sure for verdict in judge(scaled(MARKET, off, share)))


def test_everything_off_alike_is_only_believed_of_the_whole_market() -> None:
    alike = dict.fromkeys(SIZES, 1)
    assert powers(judge(scaled(MARKET, alike))) == alike
    assert not any(verdict.sure for verdict in judge(scaled(MARKET, alike)))
    assert powers(judge(scaled(made_up(["688"], 300), alike))) == {}


def test_rows_that_no_unit_explains_are_named() -> None:
    rows = [*MARKET, Row("600999", {"total_mv": 1e9, "total_share": 5_000.0})]
    (verdict,) = judge(rows)
    assert (verdict.powers, verdict.codes, verdict.sure) == ({}, ("600999",), False)


def test_a_share_that_is_about_to_be_delisted_is_believable() -> None:
    assert is_believable({"total_mv": 1.733, "circ_mv": 1.728, "total_share": 64_170, "float_share": 64_000})
    assert not is_believable({"total_mv": 1.733e4, "total_share": 641.7})


def test_the_real_market_is_right(dumps: Path) -> None:
    assert judge([stock.row for stock in real(dumps)]) == []


def test_any_selection_of_the_real_market_is_right(dumps: Path) -> None:
    stocks = real(dumps)
    traded = [stock.row for stock in stocks if "total_mv" in stock.row.figures]
    selections = {
        industry: [stock.row for stock in stocks if stock.industry == industry]
        for industry in {stock.industry for stock in stocks}
    }
    selections |= {prefix: [row for row in traded if row.code.startswith(prefix)] for prefix in BOARDS}
    for name in SIZES:
        ordered = sorted(traded, key=lambda row: row.figures[name])
        for size in (40, 300, 2500):
            selections |= {
                f"{name} smallest {size}": ordered[:size],
                f"{name} largest {size}": ordered[-size:],
            }
    dear = sorted(traded, key=lambda row: row.figures["total_mv"] / row.figures["total_share"])
    selections |= {"cheapest": dear[:40], "dearest": dear[-40:]}
    assert len(selections["银行"]) > 40
    assert {name: judge(rows) for name, rows in selections.items() if judge(rows)} == {}


@pytest.mark.parametrize("name", FIELDS)
def test_any_power_of_ten_is_found_in_the_real_market(dumps: Path, name: str) -> None:
    rows = [stock.row for stock in real(dumps)]
    for power in POWERS:
        assert powers(judge(scaled(rows, {name: power}))) == {name: power}


@pytest.mark.parametrize("off", UNITS, ids=str)
def test_units_of_the_upstreams_are_recognised_in_the_real_market(
    dumps: Path, off: Mapping[str, int]
) -> None:
    verdicts = judge(scaled([stock.row for stock in real(dumps)], off))
    assert powers(verdicts) == off
    assert all(verdict.sure for verdict in verdicts)
