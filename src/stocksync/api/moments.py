"""Days and moments in a query: a day is the market's and is meant as a whole."""

import re
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Final

from fastapi import Query
from pydantic import BeforeValidator, WithJsonSchema

from stocksync.domain.wire import MARKET_ZONE

_EARLIEST: Final = datetime(1900, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(2200, 1, 1, tzinfo=UTC)
"""What lies beyond means these: every date can be asked for, and no database has to know them all."""

_FORM: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}([Tt ].+)?\Z", re.ASCII)
"""With hyphens: 20260415 could as well be a number of seconds."""

_FINEST: Final = timedelta(milliseconds=1)
"""MongoDB's precision."""


def first_moment(text: object) -> datetime:
    """Read "2026-04-15" as its first moment, or a moment as it is; naive, it is the market's time.

    Raises ValueError.
    """
    value, _ = _read(text)
    return value


def end_after(text: object) -> datetime:
    """Read the same as the moment after it: of a whole day, the first of the next. Raises ValueError."""
    value, is_day = _read(text)
    return value + (timedelta(days=1) if is_day else _FINEST)


def _read(text: object) -> tuple[datetime, bool]:
    if not isinstance(text, str) or not _FORM.match(text):
        raise ValueError("日期应为 YYYY-MM-DD 或 ISO 8601 时间")  # pydantic takes no TypeError
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return _within_reason(_moment(text)), False
    return _within_reason(datetime(day.year, day.month, day.day, tzinfo=MARKET_ZONE)), True


def _moment(text: str) -> datetime:
    try:
        value = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("日期应为 YYYY-MM-DD 或 ISO 8601 时间") from None
    return value if value.tzinfo else value.replace(tzinfo=MARKET_ZONE)


def _within_reason(value: datetime) -> datetime:
    if value.year < _EARLIEST.year:
        return _EARLIEST
    return min(value, _LATEST) if value.year <= _LATEST.year else _LATEST


_SCHEMA: Final = {"anyOf": [{"type": "string", "format": "date"}, {"type": "string", "format": "date-time"}]}

_EXAMPLES: Final = ["2026-04-15", "2026-04-15T18:30:00+08:00"]

StartDate = Annotated[
    Annotated[datetime, BeforeValidator(first_moment), WithJsonSchema(_SCHEMA)] | None,
    Query(description="从这一天（北京时间）或这一时刻起", examples=_EXAMPLES),
]
EndDate = Annotated[
    Annotated[datetime, BeforeValidator(end_after), WithJsonSchema(_SCHEMA)] | None,
    Query(description="到这一天结束（含）或这一时刻止", examples=_EXAMPLES),
]
"""The moment after what was named, so a day named as the end is included."""
