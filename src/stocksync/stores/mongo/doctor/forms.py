"""The form of the fields of a stored stock (mission, section 4), and how older ones are brought into it.

Pure functions over one document: the look counts with them what the repair changes with them.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any, Final

from bson.decimal128 import Decimal128
from bson.timestamp import Timestamp
from pymongo import UpdateOne

from stocksync.domain.codes import full_symbol
from stocksync.domain.stock import FIGURES, known
from stocksync.domain.wire import MARKET_ZONE
from stocksync.errors import RowError

Document = Mapping[str, Any]

DAYS: Final = ("list_date", "trade_date")
MOMENT: Final = "updated_at"

_PLACEHOLDERS: Final = frozenset(
    {"", "-", "--", "—", "/", "nan", "none", "null", "n/a", "na", "nat", "inf", "+inf", "-inf", "infinity"}
)
"""What services write for a value that they do not have."""

_DIGITS: Final = 6
_DAY_DIGITS: Final = 8
_FIRST_SECOND, _LAST_SECOND = 631_152_000, 4_102_444_800
"""1990, when the exchanges opened, and 2100: a number between them is a moment in seconds."""
_MILLIS: Final = 1000


class Unreadable(ValueError):
    """A value that nothing sensible can be made of: it is left as it is, for a person to look at."""


@dataclass(slots=True)
class Fix:
    """What has to change in one document, and what cannot be read."""

    values: dict[str, Any] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)

    @property
    def fields(self) -> list[str]:
        """The fields that change."""
        return [*self.values, *self.unknown]

    def as_update(self, document: Document) -> UpdateOne:
        """Change these fields if they still are as they were found. May be repeated."""
        as_found = {name: document[name] for name in self.fields if name in document}
        change = {"$set": self.values, "$unset": dict.fromkeys(self.unknown, "")}
        return UpdateOne(
            {"_id": document["_id"], **as_found}, {name: what for name, what in change.items() if what}
        )


def fix_dates(document: Document) -> Fix:
    """Moments are BSON dates, days are "YYYYMMDD", an unknown one is absent."""
    fix = Fix()
    _fix_field(fix, document, MOMENT, as_moment)
    for name in DAYS:
        _fix_field(fix, document, name, as_day)
    return fix


def fix_moments(document: Document, names: tuple[str, ...]) -> Fix:
    """Bring moments into the form of BSON dates."""
    fix = Fix()
    for name in names:
        _fix_field(fix, document, name, as_moment)
    return fix


def fix_figures(document: Document) -> Fix:
    """A figure is a finite number other than 0, an unknown one is absent."""
    fix = Fix()
    for name in FIGURES:
        if name in document and not _is_figure(document[name]):
            _fix_field(fix, document, name, as_figure)
    return fix


def fix_code(document: Document) -> Fix:
    """A code that was stored as a number gets its six digits back, with the symbols that follow from it."""
    code = text_code(document.get("code"))
    if code is None or code == document["code"]:
        return Fix()
    try:
        return Fix(values={"code": code, "symbol": code, "full_symbol": full_symbol(code)})
    except RowError:
        return Fix(unreadable=["code"])


def _fix_field(fix: Fix, document: Document, name: str, read: Callable[[Any], Any]) -> None:
    if name not in document:
        return
    found = document[name]
    try:
        value = read(found)
    except Unreadable:
        fix.unreadable.append(name)
        return
    if value is None:
        fix.unknown.append(name)
    elif value != found or type(value) is not type(found):
        fix.values[name] = value


def text_code(value: object) -> str | None:
    """The code as text: 600519 and 600519.0 are "600519", 1 is "000001"; None for what is no code at all."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    whole = math.isfinite(value) and value == int(value) and 0 < value < 10**_DIGITS
    return f"{int(value):0{_DIGITS}d}" if whole else None


def figures_of(document: Document) -> dict[str, float]:
    """The figures that are known, whatever they were stored as."""
    found: dict[str, float] = {}
    for name in FIGURES:
        value = document.get(name)
        if isinstance(value, float | int) and _is_figure(value):
            found[name] = float(value)
        elif value is not None and (number := _figure_or_none(value)) is not None:
            found[name] = number
    return found


def _figure_or_none(value: object) -> float | None:
    try:
        return as_figure(value)
    except Unreadable:
        return None


def _is_figure(value: Any) -> bool:
    if type(value) is float:  # nearly all of them: quickly
        return math.isfinite(value) and value != 0
    return isinstance(value, int | float) and not isinstance(value, bool) and known(value) is not None


def as_figure(value: object) -> float | None:
    """Read a figure as any service may have stored it; None for unknown. Raises Unreadable."""
    if isinstance(value, Decimal128):
        value = str(value)
    if isinstance(value, str):
        text = value.strip()
        if text.lower() in _PLACEHOLDERS:
            return None
        try:
            value = float(text if "_" not in text else "?")
        except ValueError:
            raise Unreadable from None
    if isinstance(value, bool) or not (value is None or isinstance(value, int | float)):
        raise Unreadable
    return known(value)


def as_moment(value: object) -> datetime | None:
    """Read a moment: a naive one is the market's time; None for unknown. Raises Unreadable."""
    if isinstance(value, datetime):
        return value
    if isinstance(value, Timestamp):
        return value.as_datetime()
    if isinstance(value, bool):
        raise Unreadable
    if isinstance(value, int | float):
        return _numbered_moment(value)
    text = _text(value)
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text.replace("/", "-"))
        # A BSON date has milliseconds: what is rounded off here would look like a change the next time.
        moment = moment.replace(microsecond=moment.microsecond // _MILLIS * _MILLIS)
        return (moment if moment.tzinfo else moment.replace(tzinfo=MARKET_ZONE)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise Unreadable from None


def _numbered_moment(value: float) -> datetime | None:
    if not math.isfinite(value) or not value:
        return None
    if _FIRST_SECOND <= value / _MILLIS < _LAST_SECOND:
        value /= _MILLIS
    if not _FIRST_SECOND <= value < _LAST_SECOND:
        raise Unreadable
    return datetime.fromtimestamp(round(value, 3), UTC)


def as_day(value: object) -> str | None:
    """Read a day as "YYYYMMDD": a moment is a day on the market's clock; None for unknown.

    Raises Unreadable.
    """
    if isinstance(value, datetime):
        return _compact(_on_the_market(value).date())
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value) if math.isfinite(value) and value else None  # 20010827.0, as pandas leaves it
    text = _text(value)
    return None if text is None else _written_day(text)


@lru_cache(maxsize=16_384)  # a trade date is the same in thousands of rows
def _written_day(text: str) -> str:
    digits = text.removesuffix(".0").replace("/", "-").partition("T")[0].partition(" ")[0]
    if "-" in digits:
        digits = "".join(part.zfill(2) for part in digits.split("-"))
    if len(digits) != _DAY_DIGITS:
        raise Unreadable
    try:
        return _compact(date(int(digits[:4]), int(digits[4:6]), int(digits[6:])))
    except ValueError:
        raise Unreadable from None


def _on_the_market(moment: datetime) -> datetime:
    try:
        return moment.astimezone(MARKET_ZONE)
    except OverflowError:  # the last hours of the year 9999
        raise Unreadable from None


def _compact(day: date) -> str:
    return day.isoformat().replace("-", "")  # which, unlike strftime, always has four digits for the year


def _text(value: object) -> str | None:
    """A text to be read; None for a placeholder. Raises Unreadable for what is no text."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise Unreadable
    text = value.strip()
    return None if text.lower() in _PLACEHOLDERS else text
