"""The collection idempotency_keys."""

from dataclasses import asdict
from datetime import datetime

from pymongo.errors import DuplicateKeyError

from stocksync.ports import KeyUse
from stocksync.stores.mongo.connection import CONTROL_SECONDS, Connection, reaching
from stocksync.stores.mongo.schema import IDEMPOTENCY


class MongoIdempotencyStore:
    """Implements ports.IdempotencyStore."""

    def __init__(self, connection: Connection) -> None:
        self._keys = connection[IDEMPOTENCY]

    async def claim(self, key: str, use: KeyUse, *, expired: datetime) -> KeyUse | None:
        with reaching(CONTROL_SECONDS):
            await self._keys.delete_many({"claimed_at": {"$lt": expired}})
            try:
                await self._keys.insert_one({"_id": key, **asdict(use)})
            except DuplicateKeyError:
                found = await self._keys.find_one({"_id": key}, {"_id": 0})
            else:
                return None
        if found is None:  # freed in this moment: the next try gets it
            return await self.claim(key, use, expired=expired)
        held = KeyUse(**found)
        return None if held.run_id == use.run_id else held  # an earlier try whose answer was lost

    async def replace(self, key: str, before: KeyUse, after: KeyUse | None) -> bool:
        same = {"_id": key, "run_id": before.run_id}
        with reaching(CONTROL_SECONDS):
            if after is None:
                return (await self._keys.delete_one(same)).deleted_count == 1
            result = await self._keys.replace_one(same, asdict(after))
            return result.matched_count == 1
