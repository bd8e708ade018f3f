"""The table operation_logs."""

import json
import math
import secrets
import sqlite3
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from stocksync.ports import EVERY_LOG, LogFilter, LogStats, OperationLog
from stocksync.stores.logs import tally
from stocksync.stores.sqlite.database import NOW, Database
from stocksync.stores.text import storable, storable_json

_COLUMNS: Final = (
    "id, timestamp, created_at, action_type, action, success, details, error_message, duration_ms, "
    "user_id, username, ip_address, user_agent, session_id, run_id"
)
_NEWEST_FIRST: Final = "ORDER BY timestamp DESC, rowid DESC"

_PAGE: Final = 500
_DELETED_AT_ONCE: Final = 5_000
"""Some 30 ms of holding the write lock, which a run's heartbeat waits for."""

_SECONDS_AHEAD: Final = 8 * 3600
"""The market's zone is 8 h ahead of UTC; it has had no summer time since 1991."""

_TEXTS: Final = ("action", "username", "error_message", "ip_address")

# As JSON spells it the keyword is looked for first: to read every record's JSON takes ten times as long.
_IN_DETAILS: Final = (
    "(details LIKE :json_keyword ESCAPE '\\' AND EXISTS "
    "(SELECT 1 FROM json_tree(details) WHERE type = 'text' AND value LIKE :keyword ESCAPE '\\'))"
)
_KEYWORD: Final = " OR ".join([*(f"{name} LIKE :keyword ESCAPE '\\'" for name in _TEXTS), _IN_DETAILS])

Conditions = tuple[str, dict[str, Any]]
"""What follows WHERE, and the values that it names."""


class SqliteOperationLogStore:
    """Implements ports.OperationLogStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, log: OperationLog) -> str:
        log_id = secrets.token_hex(12)

        def work(db: sqlite3.Connection) -> None:
            db.execute(
                f"INSERT INTO operation_logs ({_COLUMNS}) "
                f"VALUES (?, ?, {NOW}, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    log_id,
                    log.timestamp.timestamp(),
                    storable(log.action_type),
                    storable(log.action),
                    int(log.success),
                    storable_json(log.details),
                    _text(log.error_message),
                    log.duration_ms,
                    *map(_text, (log.user_id, log.username, log.ip_address, log.user_agent, log.session_id)),
                    log.run_id,
                ),
            )

        await self._database.write(work)
        return log_id

    async def complete(
        self, log_id: str, *, error_message: str | None, duration_ms: int, details: Mapping[str, Any]
    ) -> None:
        changed = (error_message is None, _text(error_message), duration_ms, storable_json(details), log_id)
        await self._database.write(
            lambda db: db.execute(
                "UPDATE operation_logs SET success = ?, error_message = ?, duration_ms = ?, "
                "details = json_patch(details, ?) WHERE id = ?",
                changed,
            )
        )

    async def get(self, log_id: str) -> OperationLog | None:
        query = f"SELECT {_COLUMNS} FROM operation_logs WHERE id = ?"
        row = await self._database.read(lambda db: db.execute(query, (storable(log_id),)).fetchone())
        return None if row is None else _log(row)

    async def search(
        self, wanted: LogFilter = EVERY_LOG, *, limit: int, offset: int = 0
    ) -> Sequence[OperationLog]:
        where, values = _conditions(wanted)
        query = (
            f"SELECT {_COLUMNS} FROM operation_logs WHERE {where} {_NEWEST_FIRST} LIMIT :limit OFFSET :offset"
        )
        rows = await self._search(query, values | {"limit": limit, "offset": offset})
        return [_log(row) for row in rows]

    async def count(self, wanted: LogFilter = EVERY_LOG) -> int:
        where, values = _conditions(wanted)
        [(count,)] = await self._search(f"SELECT count(*) FROM operation_logs WHERE {where}", values)
        return int(count)

    async def stats(self, wanted: LogFilter = EVERY_LOG) -> LogStats:
        where, values = _conditions(wanted)
        hour = f"CAST((timestamp + {_SECONDS_AHEAD}) / 3600 AS INTEGER) % 24"
        query = (
            f"SELECT action_type, success, {hour} AS hour, count(*) FROM operation_logs "
            f"WHERE {where} GROUP BY action_type, success, hour"
        )
        return tally(
            (action_type, bool(success), hour, count)
            for action_type, success, hour, count in await self._search(query, values)
        )

    async def pages(self, wanted: LogFilter = EVERY_LOG) -> AsyncIterator[Sequence[OperationLog]]:
        # Each page is a transaction of its own: one over all of them would keep the WAL from shrinking.
        where, values = _conditions(wanted)
        query = (
            f"SELECT {_COLUMNS}, rowid FROM operation_logs WHERE {where} "
            f"AND (timestamp, rowid) < (:timestamp, :rowid) {_NEWEST_FIRST} LIMIT {_PAGE}"
        )
        place = {"timestamp": math.inf, "rowid": 0}
        while rows := await self._search(query, values | place):
            yield [_log(row[:-1]) for row in rows]
            place = {"timestamp": rows[-1][1], "rowid": rows[-1][-1]}

    async def _search(self, query: str, values: Mapping[str, Any]) -> Sequence[tuple[Any, ...]]:
        return await self._database.search(lambda db: db.execute(query, values).fetchall())

    async def delete(self, wanted: LogFilter = EVERY_LOG, *, keep: str = "") -> int:
        where, values = _conditions(wanted)
        statement = (
            "DELETE FROM operation_logs WHERE rowid IN (SELECT rowid FROM operation_logs "
            f"WHERE {where} AND id <> :keep LIMIT {_DELETED_AT_ONCE})"
        )
        given = values | {"keep": keep}
        deleted = 0
        while True:
            count = await self._database.write(lambda db: db.execute(statement, given).rowcount)
            deleted += count
            if count < _DELETED_AT_ONCE:
                return deleted


def complete_record(
    db: sqlite3.Connection, run_id: str, *, outcome: str, error: str | None, elapsed_ms: int
) -> None:
    """Set in place how the run that a record started has ended; part of the transaction that ends the run."""
    db.execute(
        "UPDATE operation_logs SET duration_ms = ?, error_message = ?, "
        "details = json_set(details, '$.outcome', ?) WHERE run_id = ?",
        (elapsed_ms, _text(error), outcome, run_id),
    )


def _conditions(wanted: LogFilter) -> Conditions:
    conditions = ["TRUE"]
    values: dict[str, Any] = {}
    if wanted.start is not None:
        conditions.append("timestamp >= :start")
        values["start"] = wanted.start.timestamp()
    if wanted.end is not None:
        conditions.append("timestamp < :end")
        values["end"] = wanted.end.timestamp()
    if wanted.action_type is not None:
        conditions.append("action_type = :action_type")
        values["action_type"] = storable(wanted.action_type)
    if wanted.success is not None:
        conditions.append("success = :success")
        values["success"] = int(wanted.success)
    if wanted.keyword:
        keyword = storable(wanted.keyword)
        conditions.append(f"({_KEYWORD})")
        values["keyword"] = _containing(keyword)
        values["json_keyword"] = _containing(json.dumps(keyword, ensure_ascii=False)[1:-1])
    return " AND ".join(conditions), values


def _containing(text: str) -> str:
    """The LIKE pattern of everything that contains a text, which is taken literally."""
    for special in "\\%_":
        text = text.replace(special, f"\\{special}")
    return f"%{text}%"


def _text(text: str | None) -> str | None:
    return None if text is None else storable(text)


def _log(row: tuple[Any, ...]) -> OperationLog:
    log_id, timestamp, created_at, action_type, action, success, details, error, duration, *rest = row
    user_id, username, ip_address, user_agent, session_id, run_id = rest
    return OperationLog(
        id=log_id,
        timestamp=datetime.fromtimestamp(timestamp, UTC),
        created_at=datetime.fromtimestamp(created_at, UTC),
        action_type=action_type,
        action=action,
        success=bool(success),
        details=json.loads(details),
        error_message=error,
        duration_ms=duration,
        user_id=user_id,
        username=username,
        ip_address=ip_address,
        user_agent=user_agent,
        session_id=session_id,
        run_id=run_id,
    )
