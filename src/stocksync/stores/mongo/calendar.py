"""The collection trade_calendar: one document a day."""

from collections.abc import Sequence
from datetime import date, timedelta

from pymongo import UpdateOne

from stocksync.stores.mongo.connection import Connection, reaching
from stocksync.stores.mongo.schema import CALENDAR


class MongoCalendarStore:
    """Implements ports.CalendarStore."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._days = connection[CALENDAR]

    async def keep(self, start: date, end: date, open_days: Sequence[date]) -> None:
        is_open = set(open_days)
        days = [start + timedelta(days=n) for n in range((end - start).days + 1)]

        async def attempt() -> None:
            found = await self._days.find(_between(start, end)).to_list()
            known = {day["_id"]: day["is_open"] for day in found}
            changed = [day for day in days if known.get(day.isoformat()) != (day in is_open)]
            if changed:
                await self._days.bulk_write(
                    [
                        UpdateOne(
                            {"_id": day.isoformat()}, {"$set": {"is_open": day in is_open}}, upsert=True
                        )
                        for day in changed
                    ],
                    ordered=False,
                )

        await self._connection.persistently(attempt)

    async def open_days(self, start: date, end: date) -> Sequence[date]:
        with reaching():
            found = await self._days.find(
                {**_between(start, end), "is_open": True}, sort=[("_id", 1)]
            ).to_list()
        return [date.fromisoformat(day["_id"]) for day in found]


def _between(start: date, end: date) -> dict[str, dict[str, str]]:
    return {"_id": {"$gte": start.isoformat(), "$lte": end.isoformat()}}
