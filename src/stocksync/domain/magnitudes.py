"""How large the figures of A shares are, and what they have to do with each other.

Measured on the whole market of 2026-04-15 (Tushare's daily_basic as collected by henrylin99/stock_web_app,
MIT: 5,473 traded stocks), with room for other days.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from stocksync.domain.codes import locate
from stocksync.errors import RowError

ENOUGH: Final = 30
"""Fewer known values say nothing about a unit."""

WHOLE_MARKET: Final = 2000
"""So many stocks are no selection any more: the largest 2,000 are 2.8 times the usual size, not 10 times."""

SIZES: Final = ("total_mv", "circ_mv", "total_share", "float_share")
FLOATS: Final = (("circ_mv", "total_mv"), ("float_share", "total_share"))
PRICES: Final = (("total_mv", "total_share"), ("circ_mv", "float_share"))

_USUAL: Final[Mapping[str, Mapping[str, float]]] = {
    "主板": {"total_mv": 82, "circ_mv": 74, "total_share": 74_000, "float_share": 68_000, "price": 12},
    "创业板": {"total_mv": 56, "circ_mv": 42, "total_share": 28_000, "float_share": 22_000, "price": 23},
    "科创板": {"total_mv": 82, "circ_mv": 71, "total_share": 18_000, "float_share": 16_000, "price": 42},
    "北交所": {"total_mv": 19, "circ_mv": 10, "total_share": 10_400, "float_share": 6_400, "price": 18},
}
"""Medians by board, in the mission's units; price in yuan."""

_BELIEVABLE: Final[Mapping[str, tuple[float, float]]] = {
    "price": (0.05, 5_000),
    "total_mv": (0.2, 200_000),
    "circ_mv": (0.05, 200_000),
    "total_share": (1_000, 100_000_000),
    "float_share": (10, 100_000_000),
}
"""What no stock is beyond. Seen were prices of 0.27 to 1,468 (once 2,600), values of 1.7 to 27,000 亿元 (once
80,000), 3,894 to 35,640,000 万股 (the law asks for 3,000), and floats of 720 万股 and more."""

_MAX_POWER: Final = 9
POWERS: Final = range(-_MAX_POWER, _MAX_POWER + 1)
"""The powers of ten by which a unit may be off."""

_UPPER: Final = 0.9
_ENTIRELY: Final = 0.3
"""The upper tenth of float / whole begins at 0.94 to 1 on every board. Of newcomers alone (0.15 to 0.25) it
says nothing: they are further than this many decades from any power of ten."""

_TICKS: Final = 100
_TOO_FINE: Final = 1e9
"""Ticks of so large a number are rounding noise."""
_ON_GRID: Final = 0.05
_MOST, _FEW = 0.8, 0.5
_SAMPLE: Final = 1000
_ALL, _BY_CHANCE = 0.98, 0.18


@dataclass(frozen=True, slots=True)
class Row:
    """The known figures of one stock."""

    code: str
    figures: Mapping[str, float]


def is_believable(figures: Mapping[str, float], powers: Mapping[str, int] | None = None) -> bool:
    """Whether any stock could have these figures, once they are corrected by `powers`."""
    corrected = {
        name: figures[name] / 10.0 ** (powers or {}).get(name, 0) for name in SIZES if name in figures
    }
    if not all(within(value, _BELIEVABLE[name]) for name, value in corrected.items()):
        return False
    prices = (price(corrected, *pair) for pair in PRICES)
    return all(each is None or within(each, _BELIEVABLE["price"]) for each in prices)


def unusual(rows: Sequence[Row], name: str) -> float | None:
    """How far a figure is from its usual size, in decades; None where too few are known."""
    values = [(row, row.figures[name]) for row in rows if row.figures.get(name, 0) > 0]
    return _decades_off(values, name) if len(values) >= ENOUGH else None


def float_power(rows: Sequence[Row], part: str, total: str) -> int | None:
    """By which power of ten floats are off against their wholes: some stocks always float entirely."""
    ratios = sorted(found for row in rows if (found := ratio(row.figures, part, total)) is not None)
    if len(ratios) < ENOUGH:
        return None
    decades = math.log10(ratios[int(_UPPER * len(ratios))])
    return round(decades) if abs(decades - round(decades)) < _ENTIRELY else None


def price_power(rows: Sequence[Row], value: str, shares: str) -> int | None:
    """By which power of ten the implied prices are off.

    Prices are multiples of 0.01 yuan, which tells exactly: up to the right power all of them are, beyond it
    a tenth, and some by chance. Where the values are too coarse for that, the usual price tells, if the rows
    are no selection.
    """
    prices = [(row, found) for row in rows if (found := price(row.figures, value, shares)) is not None]
    if len(prices) < ENOUGH:
        return None
    some = [found for _, found in prices[:: max(1, len(prices) // _SAMPLE)]]
    power = next((power for power in reversed(POWERS) if _on_grid(some, power) >= _MOST), None)
    if power is not None and _on_grid(some, power + 1) <= _FEW:
        return power
    return round(_decades_off(prices, "price")) if len(prices) >= WHOLE_MARKET else None


def is_uniform(rows: Sequence[Row], powers: Mapping[str, int]) -> bool:
    """Whether the prices prove that all rows are off by the same, not only most of them."""
    for value, shares in PRICES:
        power = powers.get(value, 0) - powers.get(shares, 0)
        prices = [found for row in rows if (found := price(row.figures, value, shares)) is not None]
        if not power and not powers.keys() & {value, shares}:
            continue
        if not power or _on_grid(prices, power) < _ALL or _on_grid(prices, power + 1) > _BY_CHANCE:
            return False
    return True


def _on_grid(prices: Sequence[float], power: int) -> float:
    """The share of prices that are multiples of 0.01 yuan once they are corrected."""
    ticks = [found / 10.0**power * _TICKS for found in prices]
    hits = sum(_MOST < tick < _TOO_FINE and abs(tick - round(tick)) < _ON_GRID for tick in ticks)
    return hits / max(1, len(ticks))


def price(figures: Mapping[str, float], value: str, shares: str) -> float | None:
    """亿元 / 万股, in yuan; None where one of them is unknown."""
    found = ratio(figures, value, shares)
    return None if found is None else found * 1e4


def ratio(figures: Mapping[str, float], part: str, total: str) -> float | None:
    """One figure by another; None where one of them is unknown or no size."""
    one, other = figures.get(part, 0), figures.get(total, 0)
    return one / other if one > 0 and other > 0 else None


def decade(value: float, start: float) -> int:
    """The power of ten that brings a value into [start, 10 × start)."""
    return math.floor(math.log10(value / start))


def within(value: float, limits: tuple[float, float]) -> bool:
    """Whether a value is between two limits, both included."""
    return limits[0] <= value <= limits[1]


def _decades_off(values: Sequence[tuple[Row, float]], name: str) -> float:
    return median(
        math.log10(value / _USUAL.get(_board(row.code), _USUAL["主板"])[name]) for row, value in values
    )


def _board(code: str) -> str:
    try:
        return locate(code).board
    except RowError:
        return ""
