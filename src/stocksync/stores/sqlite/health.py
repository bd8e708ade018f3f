"""The table source_health."""

import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from stocksync.domain.health import SourceHealth
from stocksync.domain.stock import Dataset
from stocksync.stores.sqlite.database import Database
from stocksync.stores.text import storable

_SELECT: Final = (
    "SELECT source, dataset, failures, open_until, last_error, last_error_at, last_success_at, latency_ms, "
    "rows FROM source_health"
)


class SqliteHealthStore:
    """Implements ports.HealthStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, source: str, dataset: Dataset) -> SourceHealth:
        row = await self._database.read(
            lambda db: db.execute(
                f"{_SELECT} WHERE source = ? AND dataset = ?", (source, dataset.value)
            ).fetchone()
        )
        return SourceHealth(source=source, dataset=dataset) if row is None else _health(row)

    async def put(self, health: SourceHealth) -> None:
        error = None if health.last_error is None else storable(health.last_error)

        def work(db: sqlite3.Connection) -> None:
            db.execute(
                "INSERT OR REPLACE INTO source_health (source, dataset, failures, open_until, last_error, "
                "last_error_at, last_success_at, latency_ms, rows) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    health.source, health.dataset.value, health.failures, _seconds(health.open_until), error,
                    _seconds(health.last_error_at), _seconds(health.last_success_at),
                    health.latency_ms, health.rows,
                ),
            )  # fmt: skip

        await self._database.write(work)

    async def all(self) -> Sequence[SourceHealth]:
        rows = await self._database.read(
            lambda db: db.execute(f"{_SELECT} ORDER BY source, dataset").fetchall()
        )
        return [_health(row) for row in rows]


def _health(row: tuple[Any, ...]) -> SourceHealth:
    source, dataset, failures, open_until, error, error_at, success_at, latency_ms, rows = row
    return SourceHealth(
        source=source,
        dataset=Dataset(dataset),
        failures=failures,
        open_until=_moment(open_until),
        last_error=error,
        last_error_at=_moment(error_at),
        last_success_at=_moment(success_at),
        latency_ms=latency_ms,
        rows=rows,
    )


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
