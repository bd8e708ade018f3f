"""Open days of the market, and which of them has final figures.

The sources' calendars are the authority and are kept in the store; the table below is the last resort.
It holds the weekdays on which the exchanges of Shanghai, Shenzhen and Beijing were or will be closed, as
they announced them each December for the next year.
"""

import re
from collections.abc import Iterable, Sequence
from datetime import date, datetime, time, timedelta
from typing import Final

from stocksync.domain.wire import MARKET_ZONE

FINAL_AFTER: Final = time(15, 5)
"""Trading ends at 15:00; five minutes later the day's figures no longer move."""

LOOK_BACK_DAYS: Final = 30
"""Calendar days asked of a source: more than the longest closure, the ten days around a Spring Festival."""

_CLOSED_WEEKDAYS: Final = {
    2024: "0101 0209 0212 0213 0214 0215 0216 0404 0405 0501 0502 0503 0610 0916 0917 "
    "1001 1002 1003 1004 1007",
    2025: "0101 0128 0129 0130 0131 0203 0204 0404 0501 0502 0505 0602 1001 1002 1003 1006 1007 1008",
    2026: "0101 0102 0216 0217 0218 0219 0220 0223 0406 0501 0504 0505 0619 0925 1001 1002 1005 1006 1007",
}
_SATURDAY: Final = 5
_COMPACT = re.compile(r"[0-9]{8}\Z", re.ASCII)


def compact(day: date) -> str:
    """Write a day as the upstreams and the schema do, "YYYYMMDD"."""
    return day.strftime("%Y%m%d")


def parse_compact(text: str) -> date:
    """Read "YYYYMMDD". Raises ValueError for anything else."""
    if not _COMPACT.match(text):
        raise ValueError(f"not a day as YYYYMMDD: {text[:20]!r}")
    return date(int(text[:4]), int(text[4:6]), int(text[6:]))


def builtin_open_days(start: date, end: date) -> list[date]:
    """List the open days from `start` to `end` by the built-in table.

    For a year that is not in the table every weekday counts as open: a day on which no source has figures
    is walked back over, so a wrong guess costs a question and no wrong answer.
    """
    days = (start + timedelta(days=n) for n in range((end - start).days + 1))
    return [day for day in days if day.weekday() < _SATURDAY and not _closed(day)]


def _closed(day: date) -> bool:
    return day.strftime("%m%d") in _CLOSED_WEEKDAYS.get(day.year, "").split()


def missing_days(open_days: Iterable[date], start: date, end: date) -> list[date]:
    """List the days that the built-in table calls open and a source's calendar does not."""
    named = set(open_days)
    return [day for day in builtin_open_days(start, end) if day not in named]


def tolerated_gaps(start: date, end: date) -> int:
    """How many missing days a source's calendar may have and still be believed.

    An unforeseen closure (a storm, a day of mourning) where the table knows the year; a whole holiday week
    and its bridge days where it does not.
    """
    return 2 if {start.year, end.year} <= _CLOSED_WEEKDAYS.keys() else 10


def market_day(now: datetime) -> date:
    """The market's calendar day at an aware moment."""
    return now.astimezone(MARKET_ZONE).date()


def days_with_final_figures(open_days: Iterable[date], now: datetime) -> list[date]:
    """List the open days whose trading has ended at `now`, newest first."""
    local = now.astimezone(MARKET_ZONE)
    today_counts = local.time() >= FINAL_AFTER
    ended = {day for day in open_days if day < local.date() or (day == local.date() and today_counts)}
    return sorted(ended, reverse=True)


def latest_report_period(today: date) -> date:
    """Tell the newest quarter end for which every listed company must have reported.

    Deadlines (Measures for Information Disclosure of Listed Companies): first quarter and annual report by
    30 April, half year by 31 August, third quarter by 31 October.
    """
    year = today.year
    if today > date(year, 10, 31):
        return date(year, 9, 30)
    if today > date(year, 8, 31):
        return date(year, 6, 30)
    if today > date(year, 4, 30):
        return date(year, 3, 31)
    return date(year - 1, 9, 30)


def covers(open_days: Sequence[date], today: date) -> bool:
    """Whether a kept calendar is recent enough to be used: it has a day in the last half of the look-back."""
    return any(today - timedelta(days=LOOK_BACK_DAYS // 2) <= day for day in open_days)
