"""Conversations of one answer, and of one that comes page by page."""

import random
import uuid
from collections.abc import Collection, Mapping
from datetime import date, datetime
from typing import Final, Literal, Never, TypeVar
from urllib.parse import quote

from stocksync.client import reading
from stocksync.client.flow import Flow, Give, Pause, Query, Reply, Request, Send
from stocksync.client.reading import Page, Read
from stocksync.domain.changes import Change, ChangeKind
from stocksync.domain.health import Recommendations, SourceStanding
from stocksync.domain.journal import LogLine
from stocksync.domain.status import Job, Reject, SyncStats, SyncStatus, Trigger
from stocksync.domain.wire import from_wire, iso
from stocksync.errors import ServerError, Unreachable

Value = TypeVar("Value")
Mode = Literal["multi", "single"]
Level = Literal["info", "warning", "error"]

STATUS: Final = "/api/sync/stock_basics/status"
_RUNS: Final = "/api/sync/runs"

_PAUSES: Final = (0.2, 0.6)
"""Seconds before a request that may be repeated is sent for the second and the third time."""

_BUSY: Final = "idempotency_in_progress"
_TEST_SECONDS: Final = 60.0
_RUNS_A_PAGE: Final = 100
_ROWS_A_PAGE: Final = 1000


def jittered(seconds: float) -> Pause:
    """A wait of about so long: clients that lost a server together should not come back together."""
    return Pause(seconds * random.uniform(0.5, 1))  # noqa: S311 - spreads load, guards nothing


def ask(request: Request, *, repeatable: bool = True) -> Flow[Never, Reply]:
    """Get a good answer; where the transport fails, send it again. Raises ServerError, Unreachable."""
    for pause in _PAUSES:
        try:
            return reading.checked((yield Send(request)))
        except Unreachable:
            if not repeatable:
                raise
            yield jittered(pause)
        except ServerError as exc:
            if exc.code != _BUSY:
                raise
            yield Pause(exc.retry_after or pause)
    return reading.checked((yield Send(request)))


def value(request: Request, read: Read[Value], *, repeatable: bool = True) -> Flow[Never, Value]:
    """Ask, and read what is in the envelope."""
    return reading.data_of((yield from ask(request, repeatable=repeatable)), read)


def status(job: Job | None = None) -> Flow[Never, SyncStats]:
    """How a job stands, or the newest of the two."""
    return value(Request(path=STATUS, query=of(job)), from_wire)


def get_run(run_id: str) -> Flow[Never, SyncStats]:
    """How one run of any time stands."""
    return value(Request(path=path_of(run_id)), from_wire)


def run(
    *, force: bool, preferred_sources: Collection[str], mode: Mode, idempotency_key: str | None
) -> Flow[Never, SyncStats]:
    """Start a run. Its key makes it one run, however often the request has to be sent."""
    preferred: Query = {"preferred_sources": ",".join(preferred_sources)} if preferred_sources else {}
    return value(
        Request(
            method="POST",
            path="/api/sync/stock_basics/run",
            query={"force": str(force).lower(), "mode": mode, **preferred},
            headers={"Idempotency-Key": idempotency_key or str(uuid.uuid4()), "Prefer": "handling=strict"},
        ),
        from_wire,
    )


def cancel(run_id: str | None) -> Flow[Never, SyncStats]:
    """Ask for the end of a run. Without its id a repetition could hit the next one."""
    which: Query = {"run_id": run_id} if run_id else {}
    request = Request(method="POST", path="/api/sync/stock_basics/cancel", query=which)
    return value(request, from_wire, repeatable=run_id is not None)


def sources() -> Flow[Never, tuple[SourceStanding, ...]]:
    """How the sources do."""
    return value(Request(path="/api/sync/sources/health"), reading.sources)


def test_sources(name: str | None) -> Flow[Never, Mapping[str, str | None]]:
    """Let the server call the sources."""
    request = Request(
        method="POST",
        path="/api/sync/multi-source/test-sources",
        json={"source_name": name},
        silence=_TEST_SECONDS,
    )
    return value(request, reading.tests)


def recommendations() -> Flow[Never, Recommendations]:
    """What to use, and what to mend."""
    return value(Request(path="/api/sync/multi-source/recommendations"), reading.recommendations)


def history(
    *,
    statuses: Collection[SyncStatus],
    job: Job | None,
    triggers: Collection[Trigger],
    start: date | datetime | None,
    end: date | datetime | None,
    limit: int | None,
) -> Flow[SyncStats, None]:
    """The runs, newest first."""
    which: Query = {
        **of(job),
        "status": [each.value for each in statuses],
        "trigger": [each.value for each in triggers],
        **{name: _text(at) for name, at in (("start_date", start), ("end_date", end)) if at is not None},
        "page_size": _RUNS_A_PAGE if limit is None else min(limit, _RUNS_A_PAGE),
    }
    return _pages(_RUNS, which, "cursor", reading.runs, limit=limit)


def log(run_id: str, *, level: Level) -> Flow[LogLine, None]:
    """What a run has said so far."""
    return _pages(path_of(run_id, "/log"), {"level": level, "limit": _ROWS_A_PAGE}, "after", reading.lines)


def rejects(run_id: str) -> Flow[Reject, None]:
    """The rows of a run that could not be stored."""
    query = {"page_size": _ROWS_A_PAGE}
    return _pages(path_of(run_id, "/rejects"), query, "page", reading.page_of(reading.reject))


def changes(run_id: str, kind: ChangeKind | None) -> Flow[Change, None]:
    """What a run changed in the market."""
    query = {"page_size": _ROWS_A_PAGE, **({"kind": kind.value} if kind else {})}
    return _pages(path_of(run_id, "/changes"), query, "page", reading.page_of(reading.change))


def _pages(
    path: str, query: Query, name: str, read: Read[Page[Value]], *, limit: int | None = None
) -> Flow[Value, None]:
    """Give the records of all pages, or the first ones; `name` is the parameter that asks for the next."""
    given = 0
    more: Query = {}
    while True:
        page = yield from value(Request(path=path, query={**query, **more}), read)
        for record in page.records:
            yield Give(record)
            given += 1
            if given == limit:
                return
        if page.more is None:
            return
        more = {name: page.more}


def path_of(run_id: str, part: str = "") -> str:
    """Where a run is found, or a part of what it left behind."""
    return f"{_RUNS}/{quote(run_id, safe='')}{part}"


def of(job: Job | None) -> dict[str, str]:
    """The parameter that picks a job; without one the newest of both is meant."""
    return {} if job is None else {"job": job.value}


def _text(at: date | datetime) -> str:
    if not isinstance(at, datetime):
        return at.isoformat()
    if at.tzinfo is None:
        raise ValueError("a moment needs its time zone")
    return iso(at) or ""
