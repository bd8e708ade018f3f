"""The collection operation_logs."""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from bson import ObjectId

from stocksync.domain.status import SyncStats
from stocksync.ports import EVERY_LOG, LogFilter, LogStats, OperationLog
from stocksync.stores.logs import tally
from stocksync.stores.mongo.connection import Connection, reaching, searching
from stocksync.stores.mongo.records import (
    HOUR,
    after,
    conditions,
    decode_log,
    encode_log,
    ending,
    possible_ids,
)
from stocksync.stores.mongo.schema import LOGS, NEWEST_LOGS_FIRST

_PAGE: Final = 500

_DELETE_SECONDS: Final = 60.0
"""For deleting any number of records; the server lets others work in between."""


class MongoOperationLogStore:
    """Implements ports.OperationLogStore."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._logs = connection[LOGS]

    async def create(self, log: OperationLog) -> str:
        log_id = ObjectId()  # ours, so that a second try after a lost answer does not make a second record
        new = {"$setOnInsert": encode_log(log, log_id, datetime.now(UTC))}
        await self._connection.persistently(lambda: self._logs.update_one({"_id": log_id}, new, upsert=True))
        return str(log_id)

    async def complete(
        self, log_id: str, *, error_message: str | None, duration_ms: int, details: Mapping[str, Any]
    ) -> None:
        ended = ending(error_message=error_message, duration_ms=duration_ms, details=details)
        change = {"$set": {"success": error_message is None, **ended}}
        await self._connection.persistently(lambda: self._logs.update_one({"_id": ObjectId(log_id)}, change))

    async def get(self, log_id: str) -> OperationLog | None:
        with reaching():
            found = await self._logs.find_one({"_id": {"$in": possible_ids(log_id)}})
        return None if found is None else decode_log(found)

    async def search(
        self, wanted: LogFilter = EVERY_LOG, *, limit: int, offset: int = 0
    ) -> Sequence[OperationLog]:
        if not limit:  # which MongoDB takes for "all"
            return []
        order = list(NEWEST_LOGS_FIRST)
        with searching():
            found = await self._logs.find(conditions(wanted), sort=order, limit=limit, skip=offset).to_list()
        return [decode_log(document) for document in found]

    async def count(self, wanted: LogFilter = EVERY_LOG) -> int:
        with searching():
            return await self._logs.count_documents(conditions(wanted))

    async def stats(self, wanted: LogFilter = EVERY_LOG) -> LogStats:
        by = {"type": "$action_type", "success": "$success", "hour": HOUR}
        counted: Mapping[str, Any] = {"$group": {"_id": by, "count": {"$sum": 1}}}
        pipeline = [{"$match": conditions(wanted)}, counted]
        with searching():
            found = await (await self._logs.aggregate(pipeline)).to_list()
        return tally(
            (str(kind.get("type") or ""), kind.get("success") is True, kind["hour"], each["count"])
            for each in found
            for kind in [each["_id"]]
        )

    async def pages(self, wanted: LogFilter = EVERY_LOG) -> AsyncIterator[Sequence[OperationLog]]:
        # Each page is a query of its own: no cursor that a slow reader or a failover could let die.
        last: Mapping[str, Any] | None = None
        while page := await self._page_after(last, conditions(wanted)):
            yield [decode_log(document) for document in page]
            last = page[-1]

    async def _page_after(
        self, last: Mapping[str, Any] | None, wanted: Mapping[str, Any]
    ) -> Sequence[Mapping[str, Any]]:
        which = wanted if last is None else {"$and": [wanted, after(last)]}
        with searching():
            return await self._logs.find(which, sort=list(NEWEST_LOGS_FIRST), limit=_PAGE).to_list()

    async def delete(self, wanted: LogFilter = EVERY_LOG, *, keep: str = "") -> int:
        others = {"_id": {"$nin": possible_ids(keep)}}
        with reaching(_DELETE_SECONDS):
            return (await self._logs.delete_many({**conditions(wanted), **others})).deleted_count


async def complete_record(connection: Connection, stats: SyncStats) -> None:
    """Set in place how the run that a record started has ended, unless a later revision has done so."""
    earlier = {"run_id": stats.run_id, "revision": {"$not": {"$gt": stats.revision}}}
    ended = ending(
        error_message=stats.message if stats.reason else None,
        duration_ms=stats.progress.elapsed_ms or 0,
        details={"outcome": stats.status.value},
    )
    await connection[LOGS].update_many(earlier, {"$set": {"revision": stats.revision, **ended}})
