"""The table operation_logs."""

import json
import secrets
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from stocksync.ports import OperationLog
from stocksync.stores.sqlite.database import NOW, Database
from stocksync.stores.text import storable, storable_json


class SqliteOperationLogStore:
    """Implements ports.OperationLogStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, log: OperationLog) -> str:
        log_id = secrets.token_hex(12)

        def work(db: sqlite3.Connection) -> None:
            db.execute(
                "INSERT INTO operation_logs "
                "(id, timestamp, action_type, action, success, details, error_message, "
                "duration_ms, user_id, username, ip_address, user_agent, session_id, run_id, created_at) "
                f"VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, {NOW})",
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

    async def recent(self, limit: int) -> Sequence[OperationLog]:
        def work(db: sqlite3.Connection) -> list[OperationLog]:
            rows = db.execute(
                "SELECT timestamp, action_type, action, success, details, error_message, duration_ms, "
                "user_id, "
                "username, ip_address, user_agent, session_id, run_id FROM operation_logs "
                "ORDER BY timestamp DESC, rowid DESC LIMIT ?",
                (limit,),
            )
            return [_log(row) for row in rows]

        return await self._database.read(work)


def complete_record(
    db: sqlite3.Connection, run_id: str, *, outcome: str, error: str | None, elapsed_ms: int
) -> None:
    """Set in place how the run that a record started has ended; part of the transaction that ends the run."""
    db.execute(
        "UPDATE operation_logs SET duration_ms = ?, error_message = ?, "
        "details = json_set(details, '$.outcome', ?) WHERE run_id = ?",
        (elapsed_ms, _text(error), outcome, run_id),
    )


def _text(text: str | None) -> str | None:
    return None if text is None else storable(text)


def _log(row: tuple[Any, ...]) -> OperationLog:
    (timestamp, action_type, action, success, details, error, duration, *who, run_id) = row
    user_id, username, ip_address, user_agent, session_id = who
    return OperationLog(
        timestamp=datetime.fromtimestamp(timestamp, UTC),
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
