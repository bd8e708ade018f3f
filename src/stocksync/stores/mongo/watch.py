"""Following what other processes do: by a change stream where there is one, else by cheap looks."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, suppress
from typing import Any, Final

import pymongo
from pymongo.asynchronous.change_stream import AsyncChangeStream
from pymongo.errors import PyMongoError

from stocksync.domain.status import Job, SyncStats
from stocksync.errors import StoreUnavailable
from stocksync.stores.mongo.connection import (
    CONTROL_SECONDS,
    FAREWELL_SECONDS,
    Connection,
    reaching,
    translating,
)
from stocksync.stores.mongo.schema import RUNS, STATUS
from stocksync.stores.mongo.status import latest, load

POLL_SECONDS: Final = 0.2
"""How often a process looks at a standalone, which has no change streams; a look costs some 0.3 ms."""

_STORED: Final[list[Mapping[str, Any]]] = [
    {"$match": {"operationType": {"$in": ["insert", "replace"]}}},
    {"$project": {"fullDocument.stats": 1}},
]
_WAIT_MS: Final = 1000


async def watch(connection: Connection) -> AsyncIterator[SyncStats]:
    """Yield how both jobs stand now, then every change, each once. Raises StoreUnavailable."""
    seen: dict[Job, int] = {}
    source = _streamed(connection) if connection.shared else _polled(connection)
    async with aclosing(source):
        async for stats in source:
            if stats.revision > seen.get(stats.job, 0):
                seen[stats.job] = stats.revision
                yield stats


async def _now(connection: Connection) -> list[SyncStats]:
    with reaching(CONTROL_SECONDS):
        known = [await latest(connection, job) for job in Job]
    return [stats for stats in known if stats is not None]


async def _streamed(connection: Connection) -> AsyncGenerator[SyncStats]:
    with reaching(CONTROL_SECONDS):
        stream = await connection[RUNS].watch(_STORED, max_await_time_ms=_WAIT_MS)
    try:
        for stats in await _now(connection):  # after the stream began: nothing falls in between
            yield stats
        while stream.alive:
            change = await _next(stream)
            if change is not None:
                yield load(change["fullDocument"]["stats"])
    finally:
        with suppress(PyMongoError), pymongo.timeout(FAREWELL_SECONDS):
            await stream.close()
    raise StoreUnavailable("MongoDB 的变更流已中断")


async def _next(stream: AsyncChangeStream[dict[str, Any]]) -> Mapping[str, Any] | None:
    """Wait a moment for a change. Raises StoreUnavailable where the server keeps silent.

    PyMongo answers a cancellation by a farewell to the server, and waits for that; we do not wait for long.
    """
    turn = asyncio.ensure_future(stream.try_next())
    try:
        done, _ = await asyncio.wait([turn], timeout=CONTROL_SECONDS)
        if not done:
            raise StoreUnavailable("MongoDB 的变更流没有应答")
        with translating():
            return turn.result()
    finally:
        while not turn.done():
            turn.cancel()
            await asyncio.wait([turn], timeout=FAREWELL_SECONDS)


async def _polled(connection: Connection) -> AsyncGenerator[SyncStats]:
    known: object = None
    while True:
        with reaching(CONTROL_SECONDS):
            found = await connection[STATUS].find({}, {"job": 1, "revision": 1}).to_list()
        if found != known:
            known = found
            for stats in await _now(connection):
                yield stats
        await asyncio.sleep(POLL_SECONDS)
