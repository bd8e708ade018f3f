"""What is kept of every run: its record in the history, its log, its rejected rows and its changes."""

import json
import sqlite3
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from stocksync.domain.changes import Change, ChangeKind
from stocksync.domain.journal import LogLine, RunEvent
from stocksync.domain.status import Reject, SyncStats
from stocksync.domain.wire import from_wire
from stocksync.errors import StoreInvalid
from stocksync.ports import Journal, RunFilter
from stocksync.stores.text import storable, storable_json

_TABLES: Final = {
    "sync_run_events": ("at", "level", "event", "message", "data"),
    "sync_run_rejects": ("code", "field", "value", "reason"),
    "sync_run_changes": ("kind", "code", "source", "name", "before", "after"),
}

Row = tuple[Any, ...]
Read = Callable[[sqlite3.Connection], list[Row]]


def load(document: str) -> SyncStats:
    """Read a stored snapshot. Raises StoreInvalid."""
    try:
        return from_wire(json.loads(document))
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise StoreInvalid(f"数据库中的同步状态无法识别（{type(exc).__name__}）") from exc


def seconds(moment: datetime | None) -> float | None:
    """Write a moment as the tables have it: seconds since 1970."""
    return None if moment is None else moment.timestamp()


def append(db: sqlite3.Connection, run_id: str | None, journal: Journal) -> None:
    """Store each line in its place of the run's log; one that is there already stays as it is."""
    events = [
        (event.at.timestamp(), event.level, event.event, storable(event.message), storable_json(event.data))
        for event in journal.events
    ]
    rejects = [
        tuple(map(storable, (reject.code, reject.field, reject.value, reject.reason)))
        for reject in journal.rejects
    ]
    changes = [
        (each.kind.value, each.code, each.source, each.name, each.before, each.after)
        for each in journal.changes
    ]
    _insert(db, "sync_run_events", run_id, journal.first_event, events)
    _insert(db, "sync_run_rejects", run_id, journal.first_reject, rejects)
    _insert(db, "sync_run_changes", run_id, journal.first_change, changes)


def _insert(db: sqlite3.Connection, table: str, run_id: str | None, first: int, rows: Sequence[Row]) -> None:
    columns = ("run_id", "seq", *_TABLES[table])
    db.executemany(
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))}) "
        "ON CONFLICT (run_id, seq) DO NOTHING",
        [(run_id, place, *row) for place, row in enumerate(rows, first)],
    )


def end_of_log(db: sqlite3.Connection, run_id: str) -> int:
    """The place behind the last line: whoever closes another's run does not know how many it said."""
    query = "SELECT coalesce(max(seq) + 1, 0) FROM sync_run_events WHERE run_id = ?"
    place: int = db.execute(query, (run_id,)).fetchone()[0]
    return place


def runs(which: RunFilter, *, limit: int, offset: int, before: int | None) -> Read:
    """The documents of the runs that are meant, newest first."""
    condition, values = _meant(which)
    return lambda db: db.execute(
        f"SELECT document FROM sync_runs WHERE {condition} AND revision < coalesce(?, revision + 1) "
        "ORDER BY revision DESC LIMIT ? OFFSET ?",
        (*values, before, limit, offset),
    ).fetchall()


def run_count(which: RunFilter) -> Read:
    """How many runs are meant, in one row."""
    condition, values = _meant(which)
    return lambda db: db.execute(f"SELECT count(*) FROM sync_runs WHERE {condition}", values).fetchall()


def _meant(which: RunFilter) -> tuple[str, Sequence[Any]]:
    sets = {"status": which.statuses, "job": which.jobs, "trigger": which.triggers}
    conditions = ["TRUE"] + [
        f"{name} IN ({', '.join('?' * len(each))})" for name, each in sets.items() if each
    ]
    values: list[Any] = [str(member) for each in sets.values() for member in sorted(each)]
    for comparison, moment in ((">=", which.since), ("<", which.until)):
        if moment is not None:
            conditions.append(f"started_at {comparison} ?")
            values.append(moment.timestamp())
    return " AND ".join(conditions), values


def events(run_id: str, *, after: int, limit: int, levels: Collection[str]) -> Read:
    """The lines of a log after a place: their places, then the columns of the table."""
    return lambda db: db.execute(
        f"SELECT seq, {', '.join(_TABLES['sync_run_events'])} FROM sync_run_events "
        f"WHERE run_id = ? AND seq > ? AND level IN ({', '.join('?' * len(levels))}) ORDER BY seq LIMIT ?",
        (run_id, after, *levels, limit),
    ).fetchall()


def as_line(row: Row) -> LogLine:
    """Read a line as `events` gives it."""
    seq, at, level, event, message, data = row
    moment = datetime.fromtimestamp(at, UTC)
    return LogLine(
        seq=seq,
        event=RunEvent(at=moment, level=level, event=event, message=message, data=json.loads(data)),
    )


def rejects(run_id: str, *, limit: int, offset: int) -> Read:
    """Some rejected rows of a run."""
    return lambda db: db.execute(
        f"SELECT {', '.join(_TABLES['sync_run_rejects'])} FROM sync_run_rejects "
        "WHERE run_id = ? ORDER BY seq LIMIT ? OFFSET ?",
        (run_id, limit, offset),
    ).fetchall()


def reject_count(run_id: str) -> Read:
    """How many rejected rows a run has, in one row."""
    return lambda db: db.execute(
        "SELECT count(*) FROM sync_run_rejects WHERE run_id = ?", (run_id,)
    ).fetchall()


def as_reject(row: Row) -> Reject:
    """Read a row as `rejects` gives it."""
    return Reject(**dict(zip(_TABLES["sync_run_rejects"], row, strict=True)))


def changes(run_id: str, *, kind: ChangeKind | None, limit: int, offset: int) -> Read:
    """Some changes of a run, of one kind or of all."""
    return lambda db: db.execute(
        f"SELECT {', '.join(_TABLES['sync_run_changes'])} FROM sync_run_changes "
        "WHERE run_id = ? AND kind = coalesce(?, kind) ORDER BY seq LIMIT ? OFFSET ?",
        (run_id, kind, limit, offset),
    ).fetchall()


def change_counts(run_id: str) -> Read:
    """How many changes a run has, by kind."""
    return lambda db: db.execute(
        "SELECT kind, count(*) FROM sync_run_changes WHERE run_id = ? GROUP BY kind", (run_id,)
    ).fetchall()


def as_change(row: Row) -> Change:
    """Read a row as `changes` gives it."""
    kind, *rest = row
    names = _TABLES["sync_run_changes"][1:]
    return Change(kind=ChangeKind(kind), **dict(zip(names, rest, strict=True)))
