"""The collection operation_logs."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from datetime import UTC, datetime
from typing import Any, Final

from bson import ObjectId
from pymongo import DESCENDING

from stocksync.domain.status import SyncStats
from stocksync.ports import OperationLog
from stocksync.stores.mongo.connection import Connection, reaching
from stocksync.stores.mongo.documents import read_moment, storable_tree
from stocksync.stores.mongo.schema import LOGS

_UNKNOWN: Final = datetime(1970, 1, 1, tzinfo=UTC)


class MongoOperationLogStore:
    """Implements ports.OperationLogStore."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._logs = connection[LOGS]

    async def create(self, log: OperationLog) -> str:
        log_id = ObjectId()  # ours, so that a second try after a lost answer does not make a second record
        document = {"_id": log_id, **storable_tree(asdict(log)), "created_at": datetime.now(UTC)}
        new = {"$setOnInsert": document}
        await self._connection.persistently(lambda: self._logs.update_one({"_id": log_id}, new, upsert=True))
        return str(log_id)

    async def recent(self, limit: int) -> Sequence[OperationLog]:
        if not limit:  # which MongoDB takes for "all"
            return []
        newest_first = [("timestamp", DESCENDING), ("_id", DESCENDING)]
        with reaching():
            found = await self._logs.find(sort=newest_first, limit=limit).to_list()
        return [_log(document) for document in found]


async def complete_record(connection: Connection, stats: SyncStats) -> None:
    """Set in place how the run that a record started has ended, unless a later revision has done so."""
    earlier = {"run_id": stats.run_id, "revision": {"$not": {"$gt": stats.revision}}}
    ended = {
        "revision": stats.revision,
        "duration_ms": stats.progress.elapsed_ms or 0,
        "error_message": stats.message if stats.reason else None,
        "details.outcome": stats.status.value,
    }
    await connection[LOGS].update_many(earlier, {"$set": storable_tree(ended)})


def _log(document: Mapping[str, Any]) -> OperationLog:
    """Read a record, also one of an older service, which may lack what ours always have."""
    known = {each.name: document[each.name] for each in fields(OperationLog) if each.name in document}
    when = read_moment(known.get("timestamp")) or read_moment(document.get("created_at"))
    least = {"action_type": "", "action": "", "success": False}
    return OperationLog(**{**least, **known, "timestamp": when or _UNKNOWN})
