"""The default market: made-up companies over all boards, whose figures move from day to day.

Everything is a function of (seed, size) and the day asked, so any day can be asked on its own and a test that
saw a figure yesterday sees it again. No company here exists: no real one's name begins as these do.
"""

import math
import random
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from threading import Lock
from typing import Final, NamedTuple

from stocksync.domain.calendar import (
    builtin_open_days,
    days_with_final_figures,
    latest_report_period,
    market_day,
)
from stocksync.domain.wire import MARKET_ZONE
from stocksync.simulator.companies import Company, found_companies
from stocksync.simulator.market import CalendarDay, DayMetrics, Stock

FIRST_DAY: Final = date(2020, 1, 1)
_SUSPENDED_SHARE: Final = 0.002
_LATE_REPORT_SHARE: Final = 0.01
_KEPT_DAYS: Final = 8


class _Calendar(NamedTuple):
    days: tuple[CalendarDay, ...]
    open_days: tuple[date, ...]


@lru_cache(maxsize=4)
def _calendar(last_year: int) -> _Calendar:
    end = date(last_year, 12, 31)
    open_days = tuple(builtin_open_days(FIRST_DAY, end))
    is_open = frozenset(open_days)
    days: list[CalendarDay] = []
    previous: date | None = None
    for offset in range((end - FIRST_DAY).days + 1):
        day = FIRST_DAY + timedelta(days=offset)
        days.append(CalendarDay(day, day in is_open, previous))
        previous = day if day in is_open else previous
    return _Calendar(tuple(days), open_days)


class MadeUpMarket:
    """A market of `size` made-up companies. `today` stands still if given, or else is the market's today."""

    def __init__(self, *, seed: int = 1, size: int = 5450, today: date | None = None) -> None:
        """Found the companies. Raises MarketInvalid where the code ranges do not hold `size` of them."""
        self._seed = seed
        self._today = today
        self._companies = found_companies(seed, size)
        self._stocks = tuple(company.stock for company in self._companies)
        self._kept: dict[date, tuple[DayMetrics, ...]] = {}
        self._lock = Lock()  # replicas ask from worker threads; a day is made once

    @property
    def today(self) -> date:
        """The day on which this market stands."""
        return self._today or market_day(datetime.now(UTC))

    @property
    def stocks(self) -> Sequence[Stock]:
        """All companies, ordered by ts_code."""
        return self._stocks

    @property
    def calendar(self) -> Sequence[CalendarDay]:
        """Every day from 2020 to the end of the current year."""
        return _calendar(self.today.year).days

    @property
    def latest_day(self) -> date:
        """The newest open day whose trading has ended; a day that stands still has ended."""
        now = datetime.combine(self._today, time.max, MARKET_ZONE) if self._today else datetime.now(UTC)
        return days_with_final_figures(_calendar(self.today.year).open_days, now)[0]

    @property
    def edition(self) -> date:
        """The newest day: with it this market's answers change."""
        return self.latest_day

    def metrics(self, day: date) -> Sequence[DayMetrics]:
        """List what traded on a day; suspended companies and those not listed yet are missing."""
        if day > self.latest_day or day not in _calendar(self.today.year).open_days:
            return ()
        with self._lock:
            if day not in self._kept:
                self._kept[day] = self._trade(day)
                if len(self._kept) > _KEPT_DAYS:
                    del self._kept[next(iter(self._kept))]
            return self._kept[day]

    def _trade(self, day: date) -> tuple[DayMetrics, ...]:
        ordinal = day.toordinal()
        moves = _dice(self._seed, "day", ordinal)
        suspended = self._suspended(ordinal)
        # A roll for every company, traded or not: one company's absence must not move the others' figures.
        rolls = ((company, moves.random(), moves.random()) for company in self._companies)
        return tuple(
            _measure(company, ordinal, noise, activity)
            for company, noise, activity in rolls
            if company.listed <= day and company.stock.ts_code not in suspended
        )

    def _suspended(self, ordinal: int) -> frozenset[str]:
        dice = _dice(self._seed, "suspended", ordinal // 7)  # a suspension lasts for a week
        count = round(len(self._stocks) * _SUSPENDED_SHARE)
        return frozenset(stock.ts_code for stock in dice.sample(self._stocks, count))

    def roe(self, period: date) -> Mapping[str, float]:
        """Return on equity in percent, accumulated over the year as reports have it."""
        if not _is_quarter_end(period) or not FIRST_DAY <= period <= latest_report_period(self.today):
            return {}
        dice = _dice(self._seed, "roe", period.toordinal())
        rolls = ((company, dice.random(), dice.random()) for company in self._companies)
        return {
            company.stock.ts_code: round(company.roe * period.month / 12 * (0.8 + 0.4 * drift), 4)
            for company, late, drift in rolls
            if late >= _LATE_REPORT_SHARE
        }


def _dice(seed: int, *purpose: str | int) -> random.Random:
    # A text seed is hashed by `random` itself, the same on every machine and Python version.
    return random.Random(f"{seed}:{purpose}")  # noqa: S311 - made-up figures, no secret


def _is_quarter_end(day: date) -> bool:
    return day.month % 3 == 0 and (day + timedelta(days=1)).day == 1


def _measure(company: Company, ordinal: int, noise: float, activity: float) -> DayMetrics:
    """Compute one day's figures from a company's traits and two rolls in 0..1."""
    wave = math.sin(ordinal / 97 + company.phase) * 0.25 + math.sin(ordinal / 11 + company.phase * 7) * 0.08
    close = max(0.5, round(company.price * (1 + wave + (noise - 0.5) * 0.06), 2))
    turnover = round(0.05 + activity * activity * 9, 4)
    return DayMetrics(
        company.stock.ts_code,
        close,
        turnover,
        round(turnover / company.free_share * company.float_share, 4),
        round(0.3 + (noise + activity) * 1.2, 2),
        _multiple(close, company.earnings),
        _multiple(close, company.earnings_ttm),
        _multiple(close, company.book),
        _multiple(close, company.sales),
        _multiple(close, company.sales * 1.04),
        _percent(company.dividend, close),
        _percent(company.dividend, close),
        company.total_share,
        company.float_share,
        company.free_share,
        round(close * company.total_share, 4),
        round(close * company.float_share, 4),
    )


def _multiple(close: float, per_share: float) -> float | None:
    return round(close / per_share, 4) if per_share > 0 else None


def _percent(dividend: float, close: float) -> float | None:
    return round(dividend / close * 100, 4) if dividend > 0 else None
