"""Answers of a server as the domain's values, and its problems as errors."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, Generic, TypeVar

from stocksync.client.flow import Reply
from stocksync.domain.changes import Change, ChangeKind
from stocksync.domain.health import Recommendations, SourceHealth, SourceReport, SourceStanding
from stocksync.domain.journal import LogLine, RunEvent
from stocksync.domain.status import Reject, SyncStats
from stocksync.domain.stock import Dataset
from stocksync.domain.wire import from_wire, moment
from stocksync.errors import ServerError, Unreachable

Value = TypeVar("Value")
Read = Callable[[Any], Value]

_PROBLEM: Final = "application/problem+json"
_UNLIKE_US: Final = (AttributeError, KeyError, TypeError, ValueError)
"""What reading a document of another shape than ours meets with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[Value]):
    """A page of records; `more` says how the next one is asked for, None after the last."""

    records: tuple[Value, ...]
    more: str | int | None


def checked(reply: Reply) -> Reply:
    """Give a good answer back. Raises ServerError for a problem, Unreachable for what is none of ours."""
    if reply.status < HTTPStatus.MULTIPLE_CHOICES:
        return reply
    if reply.headers.get("content-type", "").startswith(_PROBLEM):
        raise _understood(reply.body, lambda document: _problem(document, reply))
    raise Unreachable(f"应答的不是 stocksync 服务器（HTTP {reply.status}）")


def data_of(reply: Reply, read: Read[Value]) -> Value:
    """Read what is in the envelope of an answer. Raises ServerError, Unreachable."""
    return _understood(checked(reply).body, lambda document: read(document["data"]))


def value_of(text: str, read: Read[Value]) -> Value:
    """Read the data of an event. Raises Unreachable."""
    return _understood(text, read)


def _understood(text: bytes | str, read: Read[Value]) -> Value:
    try:
        return read(json.loads(text))
    except _UNLIKE_US as exc:
        raise Unreachable(f"服务器的应答无法理解（{type(exc).__name__}）") from exc


def _problem(document: Mapping[str, Any], reply: Reply) -> ServerError:
    retry_after = reply.headers.get("retry-after", "")
    return ServerError(
        str(document["detail"]),
        code=str(document["code"]),
        status=reply.status,
        retry_after=float(retry_after) if retry_after.isdecimal() else None,
    )


def runs(document: Mapping[str, Any]) -> Page[SyncStats]:
    """A page of the history, which goes on behind a cursor."""
    return Page(records=tuple(map(from_wire, document["records"])), more=document["next_cursor"])


def page_of(read: Read[Value]) -> Read[Page[Value]]:
    """A page of records, which goes on with the next number."""

    def read_page(document: Mapping[str, Any]) -> Page[Value]:
        more = document["page"] + 1 if document["has_more"] else None
        return Page(records=tuple(map(read, document["records"])), more=more)

    return read_page


def lines(document: Mapping[str, Any]) -> Page[LogLine]:
    """A part of a run's log, which goes on behind its last line."""
    records = tuple(map(line, document["records"]))
    over = document["final"] or not records
    return Page(records=records, more=None if over else document["next_after"])


def line(document: Mapping[str, Any]) -> LogLine:
    """A line of a run's log."""
    at = moment(document["at"])
    if at is None:
        raise ValueError("a line of a log has a time")
    event = RunEvent(
        at=at,
        event=document["event"],
        message=document["message"],
        level=document["level"],
        data=document["data"],
    )
    return LogLine(seq=document["seq"], event=event)


def reject(document: Mapping[str, Any]) -> Reject:
    """A row that could not be stored."""
    return Reject(**{name: document[name] for name in ("code", "field", "value", "reason")})


def change(document: Mapping[str, Any]) -> Change:
    """A change of the market."""
    texts = {name: document[name] for name in ("code", "source", "name", "before", "after")}
    return Change(kind=ChangeKind(document["kind"]), **texts)


def sources(document: Sequence[Mapping[str, Any]]) -> tuple[SourceStanding, ...]:
    """Every source, with what is known of each dataset that it was asked for."""
    return tuple(
        SourceStanding(
            report=_report(item), datasets=tuple(_health(item["name"], each) for each in item["datasets"])
        )
        for item in document
    )


def _report(document: Mapping[str, Any]) -> SourceReport:
    return SourceReport(
        name=document["name"],
        priority=document["priority"],
        available=document["available"],
        description=document["description"],
        message=document["message"],
        token_required=document["token_required"],
        token_source=document["token_source"],
        check_ms=document["check_ms"],
        provides=tuple(map(Dataset, document["provides"])),
        checked_at=moment(document["checked_at"]),
    )


def _health(source: str, document: Mapping[str, Any]) -> SourceHealth:
    return SourceHealth(
        source=source,
        dataset=Dataset(document["dataset"]),
        failures=document["failures"],
        open_until=moment(document["open_until"]),
        last_error=document["last_error"],
        last_error_at=moment(document["last_error_at"]),
        last_success_at=moment(document["last_success_at"]),
        latency_ms=document["latency_ms"],
        rows=document["rows"],
    )


def tests(document: Mapping[str, Any]) -> dict[str, str | None]:
    """What each tested source met with, None where it works."""
    return {item["name"]: None if item["available"] else item["message"] for item in document["test_results"]}


def recommendations(document: Mapping[str, Any]) -> Recommendations:
    """What to use, and what to mend."""
    primary = document["primary_source"]
    return Recommendations(
        primary=primary and primary["name"],
        reason=primary and primary["reason"],
        fallbacks=tuple(item["name"] for item in document["fallback_sources"]),
        suggestions=tuple(document["suggestions"]),
        warnings=tuple(document["warnings"]),
    )
