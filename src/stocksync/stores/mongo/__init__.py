"""The MongoDB store: a replica set (or a sharded cluster) for many hosts, or a standalone for one."""

import asyncio
import logging
from dataclasses import dataclass

from stocksync.errors import StoreError
from stocksync.stores.mongo.calendar import MongoCalendarStore
from stocksync.stores.mongo.connection import (
    BACKOFF_SECONDS,
    CONTROL_SECONDS,
    FAREWELL_SECONDS,
    Connection,
    reaching,
    translating,
)
from stocksync.stores.mongo.health import MongoHealthStore
from stocksync.stores.mongo.keys import MongoIdempotencyStore
from stocksync.stores.mongo.lease import Lease
from stocksync.stores.mongo.logs import MongoOperationLogStore
from stocksync.stores.mongo.runs import MongoRunStore
from stocksync.stores.mongo.schema import LEASE, _ensure_indexes
from stocksync.stores.mongo.stocks import MongoStockStore

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class MongoStore:
    """One open database and its collections."""

    connection: Connection
    stocks: MongoStockStore
    runs: MongoRunStore
    logs: MongoOperationLogStore
    calendar: MongoCalendarStore
    health: MongoHealthStore
    keys: MongoIdempotencyStore
    indexing: "asyncio.Task[None]"

    async def ping(self) -> None:
        """Prove that the primary answers. Raises StoreUnavailable."""
        with reaching(CONTROL_SECONDS):
            await self.connection[LEASE].find_one({}, {"_id": 1})

    async def aclose(self) -> None:
        """Let go of the server. Indexes that are being built go on being built there."""
        self.indexing.cancel()
        await asyncio.wait([self.indexing], timeout=FAREWELL_SECONDS)
        await self.connection.aclose()


async def open_mongo(url: str, *, backoff: float = BACKOFF_SECONDS) -> MongoStore:
    """Open mongodb://host,host/database?replicaSet=name. Makes what is missing, indexes in the background.

    What failed in passing is tried again after `backoff`^n seconds. Raises StoreError.
    """
    connection = await Connection.open(url, backoff=backoff)
    lease = Lease(connection)
    try:
        await lease.seed()
    except BaseException:
        await connection.aclose()
        raise
    stocks = MongoStockStore(connection, lease)
    return MongoStore(
        connection=connection,
        stocks=stocks,
        runs=MongoRunStore(connection, lease, stocks),
        logs=MongoOperationLogStore(connection),
        calendar=MongoCalendarStore(connection),
        health=MongoHealthStore(connection),
        keys=MongoIdempotencyStore(connection),
        indexing=asyncio.create_task(_index(connection)),
    )


async def _index(connection: Connection) -> None:
    """Create the indexes beside everything else. The unique one is seen to by each run itself."""
    try:
        with translating():
            await _ensure_indexes(connection)
    except StoreError as exc:
        _log.warning("indexes could not be created now, the next start tries again: %s", exc)
