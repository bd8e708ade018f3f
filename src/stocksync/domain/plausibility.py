"""Whether stored figures can be in the units of the mission: a judgement, and how sure it is.

Units get lost in powers of ten (元, 万元, 亿元; 股, 万股; a fraction or a percentage), so what is looked for
is the power of each field. Three facts of the market carry most of the weight, because they hold for any
selection of stocks, banks or newcomers alike:

- a float is never larger than its whole, and in any group some stocks float entirely;
- market value / shares is a price, and prices of A shares are multiples of 0.01 yuan;
- return on equity is price/book over price/earnings, of one to four quarters.

Only what these leave open is decided by how large companies usually are.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from stocksync.domain.magnitudes import (
    ENOUGH,
    FLOATS,
    POWERS,
    PRICES,
    SIZES,
    WHOLE_MARKET,
    Row,
    decade,
    float_power,
    is_believable,
    is_uniform,
    price_power,
    unusual,
    within,
)

_Limits = tuple[float, float]


@dataclass(frozen=True, slots=True)
class _Rate:
    """Where a percentage is right: its median, over the whole market or a selection, and nearly all rows."""

    name: str
    whole_market: _Limits
    selection: _Limits
    rows: _Limits


_USUAL_TURNOVER: Final = 2.0
_TURNOVER: Final = _Rate("turnover_rate", (0.25, 9.5), (0.05, 30), (0.03, 100))
"""The medians of a dull and of a frantic day are about 0.8 and 8 %; on one day 42 banks have 0.4 and the 40
dearest stocks 5 %, and all stocks 0.08 to 40 %."""

_ROE_DECADE: Final = 0.15
_ROE: Final = _Rate("roe", (_ROE_DECADE, 10 * _ROE_DECADE), (0.03, 5), (0.02, 10))
"""Against pb / pe, which is about 0.22 after one quarter and 1.05 after four: one decade holds both."""

_PERCENT: Final = 2
_MOSTLY: Final = 0.98
_CLEARLY: Final = 3
_UNIT_STEPS: Final = (4, 8)
"""From 元 to 万元 and 亿元, from 股 to 万股."""

_OCCAM_WHOLE, _OCCAM_SOME = 0.5, 3.0
"""How many decades of unusual size are believed before all figures are called wrong: 42 banks are 1.1 decades
above the usual, the 40 largest stocks 1.8, the largest 2,000 of all 0.5."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Which fields are off, each by its power of ten: 4 means 10,000 times too large, -2 a hundredth.

    `whole`: in all rows, else only in those that `is_believable` refuses. `sure`: nothing else explains it.
    Without powers: these rows cannot be true, and no unit explains them.
    """

    powers: Mapping[str, int]
    codes: tuple[str, ...]
    whole: bool
    sure: bool


def judge(rows: Sequence[Row]) -> Sequence[Verdict]:
    """Judge the rows of one source. Nothing is said where the figures can be right, or are too few."""
    return [*_judge_sizes(rows), *_judge_turnover(rows), *_judge_roe(rows)]


def _judge_sizes(rows: Sequence[Row]) -> Iterator[Verdict]:
    """Find one explanation for all rows, or one for those that cannot be true."""
    verdict = _explain(rows, whole=True)
    if verdict is None:
        strange = [row for row in rows if not is_believable(row.figures)]
        unexplained = Verdict(powers={}, codes=_codes(strange), whole=False, sure=False)
        verdict = _explain(strange, whole=False) or (unexplained if strange else None)
    if verdict is not None:
        yield verdict


def _explain(rows: Sequence[Row], *, whole: bool) -> Verdict | None:
    """Find powers that make nearly all of these rows believable; None where none are off, or none help."""
    sizes = {name: decades for name in SIZES if (decades := unusual(rows, name)) is not None}
    relations = list(_relations(rows))
    powers: dict[str, int] = {}
    sure = True
    for group in _related(sizes, relations):
        best, clear = _cheapest(group, sizes, whole_market=len(rows) >= WHOLE_MARKET)
        powers |= {name: power for name, power in best.items() if power}
        sure = sure and clear
    if not powers or sum(is_believable(row.figures, powers) for row in rows) < _MOSTLY * len(rows):
        return None
    if not whole:  # rows that were picked for being strange are no fair sample: only real units count
        sure = sure and all(abs(power) in _UNIT_STEPS for power in powers.values())
    elif any(abs(power) < _CLEARLY for power in powers.values()):  # right rows would pass for believable too
        sure = sure and is_uniform(rows, powers)
    sure = sure and all(powers.get(one, 0) - powers.get(other, 0) == power for one, other, power in relations)
    affected = [row for row in rows if powers.keys() & row.figures.keys()]
    return Verdict(powers=powers, codes=_codes(affected), whole=whole, sure=sure)


_Relation = tuple[str, str, int]
"""Two fields, and the power of the first minus that of the second."""


def _relations(rows: Sequence[Row]) -> Iterator[_Relation]:
    """What the figures say about each other, the surest first."""
    for part, total in FLOATS:
        if (power := float_power(rows, part, total)) is not None:
            yield part, total, power
    for value, shares in PRICES:
        if (power := price_power(rows, value, shares)) is not None:
            yield value, shares, power


def _related(names: Iterable[str], relations: Sequence[_Relation]) -> Iterator[Mapping[str, int]]:
    """Group the fields that are related, with their powers relative to each other."""
    left = set(names)
    while left:
        group = {min(left): 0}
        grown = True
        while grown:
            grown = False
            for one, other, power in relations:
                if one in group and other in left - group.keys():
                    group[other], grown = group[one] - power, True
                elif other in group and one in left - group.keys():
                    group[one], grown = group[other] + power, True
        left -= group.keys()
        yield group


def _cheapest(
    group: Mapping[str, int], sizes: Mapping[str, float], *, whole_market: bool
) -> tuple[Mapping[str, int], bool]:
    """Choose the powers of related fields: few that are off, and usual sizes once they are corrected.

    `group` are the powers relative to each other. Clear is what the whole market shows. A selection needs a
    field that is right, to measure the others by, and must leave no choice: off by thousands, or explained
    by fewer fields than in any other way.
    """
    occam = _OCCAM_WHOLE if whole_market else _OCCAM_SOME
    hypotheses = [{name: power + shift for name, power in group.items()} for shift in POWERS]

    def cost(powers: Mapping[str, int]) -> float:
        return occam * _off(powers) + sum(abs(sizes[name] - power) for name, power in powers.items())

    best = min(hypotheses, key=cost)
    rivals = [other for other in hypotheses if _off(other) <= _off(best)]
    clearly = all(abs(power) >= _CLEARLY for power in best.values() if power) or len(rivals) == 1
    return best, whole_market or (clearly and _off(best) < len(best))


def _off(powers: Mapping[str, int]) -> int:
    return sum(1 for power in powers.values() if power)


def _judge_turnover(rows: Sequence[Row]) -> Iterator[Verdict]:
    values = [(row, row.figures["turnover_rate"]) for row in rows if "turnover_rate" in row.figures]
    return _judge_rate(_TURNOVER, values, lambda rate: round(math.log10(rate / _USUAL_TURNOVER)))


def _judge_roe(rows: Sequence[Row]) -> Iterator[Verdict]:
    values = [(row, ratio) for row in rows if (ratio := _roe_ratio(row.figures)) is not None]
    return _judge_rate(_ROE, values, lambda ratio: decade(ratio, _ROE_DECADE))


def _judge_rate(
    rate: _Rate, values: Sequence[tuple[Row, float]], power_of: Callable[[float], int]
) -> Iterator[Verdict]:
    """Judge a percentage by its median. Sure is only what a fraction explains, and explains in all rows."""
    positive = [value for _, value in values if value > 0]
    if len(positive) < ENOUGH:
        return
    found, whole_market = median(positive), len(positive) >= WHOLE_MARKET
    power = power_of(found)
    if within(found, rate.whole_market if whole_market else rate.selection) or not power:
        return
    uniform = sum(within(value / 10.0**power, rate.rows) for value in positive) >= _MOSTLY * len(positive)
    sure = whole_market and uniform and abs(power) == _PERCENT
    codes = _codes([row for row, _ in values])
    yield Verdict(powers={rate.name: power}, codes=codes, whole=True, sure=sure)


def _roe_ratio(figures: Mapping[str, float]) -> float | None:
    """Roe against the one that pb and pe imply; only where a profit was made."""
    pb, pe = figures.get("pb", 0), figures.get("pe_ttm") or figures.get("pe", 0)
    return figures["roe"] / (100 * pb / pe) if "roe" in figures and pb > 0 and pe > 0 else None


def _codes(rows: Sequence[Row]) -> tuple[str, ...]:
    return tuple(row.code for row in rows)
