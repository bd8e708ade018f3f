"""A sync's writes into MongoDB against raw unordered bulk_write into a collection with the same indexes.

Both write with w: majority and journal to one mongod (a one-member replica set), in turns.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

from pymongo import MongoClient, UpdateOne

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "tests")]

from bench_sqlite import ROWS, market
from mongod import ReplicaSet, replica_set
from stocksync.domain.status import Job, Trigger, begin
from stocksync.domain.stock import StockBasic
from stocksync.ports import Fence, Journal, Store
from stocksync.stores import open_store
from stocksync.stores.mongo.documents import encode
from stocksync.stores.mongo.schema import INDEXES, STOCKS
from stocksync.sync.engine import BATCH, WRITERS

ROUNDS = 5
COMMAND = 1000
LEASE = timedelta(minutes=5)
_numbers = count()


def raw(url: str, markets: Sequence[list[StockBasic]]) -> list[float]:
    """Nothing but the writes: the operations are made beforehand."""
    fence = Fence(token=1, owner="x", run_id="raw")
    times = []
    with MongoClient(url, w="majority", journal=True) as client:
        stocks = client.get_default_database()[STOCKS]
        for index in INDEXES:
            if index.collection == STOCKS:
                stocks.create_index(list(index.keys), name=index.name, unique=index.unique)
        for number, rows in enumerate(markets):
            now, new = datetime.now(UTC), number == 0
            operations: list[UpdateOne] = [encode(row, fence, now, new=new) for row in rows]
            began = time.perf_counter()
            for start in range(0, len(operations), COMMAND):
                stocks.bulk_write(operations[start : start + COMMAND], ordered=False)
            times.append(time.perf_counter() - began)
    return times


async def ours(url: str, markets: Sequence[list[StockBasic]]) -> list[float]:
    """The same through the store as a sync does it: compared, fenced, in batches, beside a heartbeat."""
    store = await open_store(url)
    try:
        await store.stocks.ensure_writable()
        await asyncio.sleep(1)  # until the other indexes are there too
        run = begin(job=Job.MULTI, run_id="bench", trigger=Trigger.CLI, started_at=datetime.now(UTC))
        fence = await store.runs.acquire(run, owner="bench", ttl=LEASE, force=False)
        heartbeat = asyncio.create_task(_beat(store, fence, run))
        times = [await _timed(store, rows, fence) for rows in markets]
        heartbeat.cancel()
        await asyncio.gather(heartbeat, return_exceptions=True)
    finally:
        await store.aclose()
    return times


async def _beat(store: Store, fence: Fence, run: object) -> None:
    for step in count(2):
        await store.runs.advance(fence, replace(run, revision=fence.revision(step)), Journal(), ttl=LEASE)
        await asyncio.sleep(0.15)


async def _timed(store: Store, rows: list[StockBasic], fence: Fence) -> float:
    room = asyncio.Semaphore(WRITERS)

    async def write(batch: list[StockBasic]) -> None:
        async with room:
            await store.stocks.upsert(batch, fence)

    began = time.perf_counter()
    await asyncio.gather(*(write(rows[start : start + BATCH]) for start in range(0, len(rows), BATCH)))
    return time.perf_counter() - began


def measure(servers: ReplicaSet) -> dict[str, list[float]]:
    first, changed = market(1.0), market(1.1)
    markets = [first, changed, [replace(row) for row in changed]]
    table: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        for who, times in (
            ("raw", raw(servers.url(f"raw{next(_numbers)}"), markets)),
            ("ours", asyncio.run(ours(servers.url(f"ours{next(_numbers)}"), markets))),
        ):
            for name, value in zip(("first load", "all changed", "unchanged"), times, strict=True):
                table.setdefault(f"{who} {name}", []).append(value)
    return table


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, replica_set(Path(folder)) as servers:
        table = measure(servers)
    middle = {name: statistics.median(values) for name, values in table.items()}
    for name in ("first load", "all changed", "unchanged"):
        base = "first load" if name == "unchanged" else name
        mine, theirs = middle[f"ours {name}"] * 1000, middle[f"raw {base}"] * 1000
        print(
            f"{ROWS} rows, {name:<11} {mine:5.0f} ms   raw {base} {theirs:5.0f} ms  ratio {mine / theirs:.2f}"
        )


if __name__ == "__main__":
    main()
