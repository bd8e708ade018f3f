"""The table trade_calendar."""

import sqlite3
from collections.abc import Sequence
from datetime import date, timedelta

from stocksync.stores.sqlite.database import Database


class SqliteCalendarStore:
    """Implements ports.CalendarStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def keep(self, start: date, end: date, open_days: Sequence[date]) -> None:
        is_open = set(open_days)
        days = [start + timedelta(days=n) for n in range((end - start).days + 1)]
        rows = [(day.isoformat(), int(day in is_open)) for day in days]

        def work(db: sqlite3.Connection) -> None:
            db.executemany(
                "INSERT INTO trade_calendar (day, is_open) VALUES (?, ?) "
                "ON CONFLICT (day) DO UPDATE SET is_open = excluded.is_open "
                "WHERE is_open != excluded.is_open",
                rows,
            )

        await self._database.write(work)

    async def open_days(self, start: date, end: date) -> Sequence[date]:
        def work(db: sqlite3.Connection) -> list[tuple[str]]:
            return db.execute(
                "SELECT day FROM trade_calendar WHERE is_open AND day BETWEEN ? AND ? ORDER BY day",
                (start.isoformat(), end.isoformat()),
            ).fetchall()

        return [date.fromisoformat(day) for (day,) in await self._database.read(work)]
