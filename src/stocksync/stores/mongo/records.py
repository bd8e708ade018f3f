"""Between records of the operation log and BSON documents; what an older service wrote is read as well.

Such a record may lack what ours always have, its _id may be of any type, and its time may be a text or only
stand in created_at. Ours also have `_search`: the texts within details, which no regular expression could
look through where they are. `asked` are those of the trigger, `ended` those that came with the end.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Final

from bson import ObjectId, Regex

from stocksync.domain.wire import MARKET_ZONE, iso
from stocksync.ports import LogFilter, OperationLog
from stocksync.stores.mongo.documents import read_moment, storable_tree
from stocksync.stores.text import storable

_UNKNOWN: Final = datetime(1970, 1, 1, tzinfo=UTC)

_TEXTS: Final = ("error_message", "user_id", "username", "ip_address", "user_agent", "session_id", "run_id")

_SEARCHED: Final = ("action", "username", "error_message", "ip_address", "_search.asked", "_search.ended")


def _moment(name: str) -> Mapping[str, Any]:
    """An expression: a field as a date, also where it is ISO 8601 text (naive: the market's time)."""
    path = f"${name}"
    text = {"dateString": path, "onNull": None}
    with_offset = {"$dateFromString": {**text, "onError": None}}
    naive = {"$dateFromString": {**text, "timezone": MARKET_ZONE.key, "onError": with_offset}}
    return {"$cond": [{"$eq": [{"$type": path}, "date"]}, path, naive]}


_WHEN: Final = {"$ifNull": [_moment("timestamp"), _moment("created_at")]}

HOUR: Final = {"$hour": {"date": _WHEN, "timezone": MARKET_ZONE.key}}
"""An expression: the hour of a record in the market's zone; null where its time cannot be read."""


def encode_log(log: OperationLog, log_id: ObjectId, now: datetime) -> dict[str, Any]:
    """Write a new record."""
    said = {name: value for name, value in asdict(log).items() if name != "id"}
    searched = {"_search": {"asked": _texts_of(log.details)}}
    return {"_id": log_id, **storable_tree(said | searched), "created_at": now}


def ending(*, error_message: str | None, duration_ms: int, details: Mapping[str, Any]) -> Mapping[str, Any]:
    """What is set in a record when what it tells of has ended; `details` are added by their names."""
    added = {f"details.{name}": value for name, value in details.items()}
    ended = {"error_message": error_message, "duration_ms": duration_ms, "_search.ended": _texts_of(details)}
    return {name: storable_tree(value) for name, value in (ended | added).items()}


def _texts_of(details: Mapping[str, Any]) -> str:
    return "\n".join(_texts_within(details))


def _texts_within(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _texts_within(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _texts_within(each)


def decode_log(document: Mapping[str, Any]) -> OperationLog:
    """Read a record, whoever wrote it."""
    created_at = read_moment(document.get("created_at"))
    details = _plain(document.get("details"))
    return OperationLog(
        id=str(document["_id"]),
        created_at=created_at,
        timestamp=read_moment(document.get("timestamp")) or created_at or _UNKNOWN,
        action_type=_text(document.get("action_type")) or "",
        action=_text(document.get("action")) or "",
        success=document.get("success") is True,
        details=details if isinstance(details, dict) else {} if details is None else {"value": details},
        duration_ms=_duration(document.get("duration_ms")),
        **{name: _text(document.get(name)) for name in _TEXTS},
    )


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _duration(value: object) -> int | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return max(0, int(value)) if is_number else None  # type: ignore[call-overload] # checked just now


def _plain(value: object) -> Any:
    """A BSON value as JSON has it."""
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime):
        return iso(value)
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def possible_ids(log_id: str) -> list[Any]:
    """What an id on the wire may be in the database."""
    text = storable(log_id)
    return [text, ObjectId(text)] if ObjectId.is_valid(text) else [text]


def conditions(wanted: LogFilter) -> Mapping[str, Any]:
    """The filter that matches what is wanted: values of the caller's, and never an operator of his."""
    parts: list[Mapping[str, Any]] = []
    if wanted.start is not None or wanted.end is not None:
        parts.append({"$or": _within(wanted)})
    if wanted.action_type is not None:
        parts.append({"action_type": storable(wanted.action_type)})
    if wanted.success is not None:  # a record that does not say so was no success
        parts.append({"success": True if wanted.success else {"$in": [False, None]}})
    if wanted.keyword:
        # PCRE takes a backslash before anything that Python escapes; what is no letter stands for itself.
        literal = Regex(re.escape(storable(wanted.keyword)), "i")
        parts.append({"$or": [{name: literal} for name in _SEARCHED]})
    return {"$and": parts} if parts else {}


def _within(wanted: LogFilter) -> list[Mapping[str, Any]]:
    """Three ranges of one index: dates, which need no look at the records, and what is read as dates."""
    bounds = {"$gte": wanted.start, "$lt": wanted.end}
    given = {operator: bound for operator, bound in bounds.items() if bound is not None}
    read = {"$expr": {"$and": [{operator: [_WHEN, bound]} for operator, bound in given.items()]}}
    # With $lt alone an unreadable time, which is null and less than every date, would be within.
    readable = {"$expr": {"$ne": [_WHEN, None]}}
    return [
        {"timestamp": {"$type": "date", **given}},
        {"timestamp": {"$type": "string"}, "$and": [read, readable]},
        {"timestamp": None, "$and": [read, readable]},
    ]


def after(last: Mapping[str, Any]) -> Mapping[str, Any]:
    """The filter that matches what comes after a record where the newest are first.

    The order is that of all BSON types, as in an index: $lt alone would leave out the records of an older
    service whose time is no date. What makes use of the index is the first part, which keeps ties.
    """
    time, its_time = {"$ifNull": ["$timestamp", None]}, {"$literal": last.get("timestamp")}
    earlier = {"$lt": [time, its_time]}
    tied = {"$and": [{"$eq": [time, its_time]}, {"$lt": ["$_id", {"$literal": last["_id"]}]}]}
    not_later = {"timestamp": {"$not": {"$gt": last.get("timestamp")}}}
    return {**not_later, "$expr": {"$or": [earlier, tied]}}
