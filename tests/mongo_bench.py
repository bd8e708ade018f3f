"""What the tests of a failing MongoDB share: a store's operations, and how one sees that they took place."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Final

import pytest
from pymongo import MongoClient
from pymongo.database import Database as PymongoDatabase

from builders import ALL_EXCHANGES, NOON, a_reject, log_of, measured
from contract.stores import LONG, MongoWitness, acquire, at_step, finish
from mongod_process import Mongod
from stocksync.domain.changes import compare
from stocksync.domain.health import SourceHealth
from stocksync.domain.journal import RunEvent
from stocksync.domain.status import SyncStats
from stocksync.domain.stock import Dataset
from stocksync.ports import Fence, Journal, OperationLog, UpsertCount
from stocksync.stores import mongo
from stocksync.stores.mongo import MongoStore, connection, open_mongo, runs, watch

Database = PymongoDatabase[dict[str, Any]]


TRIES: Final = 4
OPERATION_SECONDS: Final = 0.4
CONTROL_SECONDS: Final = 1.5
"""What an operation and a step get here instead of 20 s and 5 s, so that the tests do not take minutes."""

PATIENCE: Final = 60.0
"""Seconds after which something hangs, however slow the machine."""


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every deadline of the store be short, and every pause before a retry."""
    monkeypatch.setattr(connection, "_LOOK_SECONDS", 0.5)
    monkeypatch.setattr(connection, "OPERATION_SECONDS", OPERATION_SECONDS)
    for module in (connection, mongo, runs, watch):
        monkeypatch.setattr(module, "CONTROL_SECONDS", CONTROL_SECONDS)
    monkeypatch.setitem(mongo.open_mongo.__kwdefaults__, "backoff", 0.03)


@dataclass
class Bench:
    """A store with a run that goes on, the server below it, and somebody who looks from outside."""

    server: Mongod
    url: str
    store: MongoStore
    fence: Fence
    stats: SyncStats
    witness: MongoWitness
    again: bool = False
    """Whether an operation is done once more that may have taken place already."""

    @property
    def stored(self) -> Mapping[str, Mapping[str, Any]]:
        """The rows by code."""
        return {row["code"]: row for row in self.witness.rows()}


@contextmanager
def database_at(url: str) -> Iterator[Database]:
    """A database for many tests: to make one for each would take longer than the tests do."""
    with MongoClient[dict[str, Any]](url) as client:
        # Otherwise what was deleted is kept for five minutes, and every look has to step over it.
        client.admin.command("setParameter", 1, minSnapshotHistoryWindowInSeconds=0)
        database = client.get_default_database()
        yield database
        client.drop_database(database.name)


def empty(database: Database) -> None:
    """Delete every document; the indexes stay."""
    for name in database.list_collection_names():
        database[name].delete_many({})


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[MongoStore]:
    store = await open_mongo(url)
    store.indexing.cancel()  # nothing of it is needed here
    try:
        await store.stocks.ensure_writable()
        yield store
    finally:
        await store.aclose()


@asynccontextmanager
async def bench_at(server: Mongod, database: Database, url: str | None = None) -> AsyncIterator[Bench]:
    """A store, reached by `url`, over an empty database; with a run and some rows."""
    empty(database)
    direct = server.url(database.name)
    async with opened(url or direct) as store:
        fence, stats = await acquire(store)
        await store.stocks.upsert(STORED, fence)
        await store.logs.create(RECORD)
        with closing(MongoWitness(direct)) as witness:
            yield Bench(server, direct, store, fence, stats, witness)


STORED: Final = [measured(f"600{n:03}", pe=1.0 + n) for n in range(110)]
CHANGED: Final = [replace(row, name="新名") for row in STORED[:5]]
FRESH: Final = [measured(f"000{n:03}", pe=2.0) for n in range(1, 11)]
BATCH: Final = [*CHANGED, *FRESH, *STORED[5:10]]
RECORD: Final = OperationLog(
    action_type="data_import", action="同步", success=True, timestamp=NOON, run_id="run-1"
)
JOURNAL: Final = Journal(
    events=tuple(RunEvent(at=NOON, event="note", message=f"第{n}句") for n in range(3)),
    rejects=(a_reject("row-1"), a_reject("row-2")),
)


# --- the operations: what each does, and how one sees from outside that it took place exactly once


async def upsert(bench: Bench) -> None:
    counted = await bench.store.stocks.upsert(BATCH, bench.fence)
    changes = [change for row in STORED[:5] for change in compare(row, replace(row, name="新名"))]
    changes += [change for row in FRESH for change in compare(None, row)]
    first = UpsertCount(inserted=10, changed=5, unchanged=5, changes=tuple(changes))
    assert counted == first or (bench.again and counted == UpsertCount(unchanged=20))


async def upserted(bench: Bench) -> None:
    assert await bench.store.stocks.marks("run-1") == {"tushare": (len(STORED) + len(FRESH), 0)}
    rows = bench.stored
    assert len(rows) == len(STORED) + len(FRESH)
    assert all(rows[row.code]["name"] == row.name for row in BATCH)


async def retire(bench: Bench) -> None:
    await bench.store.stocks.retire("tushare", gone=["600001"], renumbered=["600002"], fence=bench.fence)


async def retired(bench: Bench) -> None:
    gone = [row["code"] for row in bench.witness.rows() if row["gone_run"]]
    assert gone == ["600001"]
    assert len(bench.witness.rows()) == len(STORED) - 1


async def absent(bench: Bench) -> None:
    found = await bench.store.stocks.absent("tushare", ALL_EXCHANGES, frozenset({"600000"}))
    assert len(found) == len(STORED) - 1


async def listed_counts(bench: Bench) -> None:
    assert sum((await bench.store.stocks.listed_counts("tushare")).values()) == len(STORED)


async def marks(bench: Bench) -> None:
    assert await bench.store.stocks.marks("run-1") == {"tushare": (len(STORED), 0)}


async def force(bench: Bench) -> None:
    await acquire(bench.store, "run-2", force=True, owner="me too")


async def forced(bench: Bench) -> None:
    """One token more, whatever had to be done again, and the old run closed."""
    (lease,) = bench.witness.everything()["sync_lease"]
    assert (lease["token"], lease["run_id"]) == (bench.fence.token + 1, "run-2")
    assert {run["_id"]: run["status"] for run in bench.witness.everything()["sync_runs"]} == {
        "run-1": "failed",
        "run-2": "running",
    }


async def advance(bench: Bench) -> None:
    step = at_step(bench.fence, bench.stats, 2)
    assert await bench.store.runs.advance(bench.fence, step, JOURNAL, ttl=LONG) is False


async def advanced(bench: Bench) -> None:
    assert tuple(await log_of(bench.store, "run-1")) == JOURNAL.events
    assert tuple(await bench.store.runs.rejects("run-1")) == JOURNAL.rejects
    latest = await bench.store.runs.latest(bench.stats.job)
    assert latest == at_step(bench.fence, bench.stats, 2)


async def end(bench: Bench) -> None:
    await finish(bench.store, bench.fence, bench.stats, journal=JOURNAL)


async def ended(bench: Bench) -> None:
    (run,) = bench.witness.everything()["sync_runs"]
    assert run["status"] == "success"
    assert tuple(await log_of(bench.store, "run-1")) == JOURNAL.events
    (record,) = await bench.store.logs.search(limit=9)
    assert record.details["outcome"] == "success"
    await acquire(bench.store, "run-2")


async def log(bench: Bench) -> None:
    await bench.store.logs.create(replace(RECORD, run_id=None))


async def logged(bench: Bench) -> None:
    assert len(await bench.store.logs.search(limit=9)) == 2


DAYS: Final = (date(2026, 4, 13), date(2026, 4, 17))


async def keep(bench: Bench) -> None:
    await bench.store.calendar.keep(*DAYS, [DAYS[0]])


async def kept(bench: Bench) -> None:
    assert await bench.store.calendar.open_days(*DAYS) == [DAYS[0]]
    assert len(bench.witness.everything()["trade_calendar"]) == 5


async def put(bench: Bench) -> None:
    await bench.store.health.put(ILL)


ILL: Final = SourceHealth(source="tushare", dataset=Dataset.ROE, failures=3)


async def is_put(bench: Bench) -> None:
    assert await bench.store.health.all() == [ILL]


async def follow(bench: Bench) -> None:
    async with aclosing(bench.store.runs.watch()) as changes:  # type: ignore[type-var]
        assert await anext(changes) == bench.stats
        waiting = asyncio.ensure_future(anext(changes))
        try:
            await asyncio.sleep(0.05)
            other = await open_mongo(bench.url)
            await advance(replace(bench, store=other))
            await other.aclose()
            assert await waiting == at_step(bench.fence, bench.stats, 2)
        finally:
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)


async def look(bench: Bench) -> None:
    assert await bench.store.runs.latest(bench.stats.job) == bench.stats


async def ping(bench: Bench) -> None:
    await bench.store.ping()


async def nothing(bench: Bench) -> None:
    assert bench


@dataclass(frozen=True)
class Operation:
    """One method of the store, and the server's command in which the fault is to strike."""

    name: str
    command: str
    do: Callable[[Bench], Awaitable[None]]
    done: Callable[[Bench], Awaitable[None]] = nothing

    def __str__(self) -> str:
        return f"{self.name}-{self.command}"


UPSERT: Final = Operation("upsert", "update", upsert, upserted)
LOG: Final = Operation("log", "update", log, logged)
RETIRES: Final = (
    Operation("retire", "update", retire, retired),
    Operation("retire", "delete", retire, retired),
)
HEALTH: Final = Operation("health", "update", put, is_put)
OTHER_WRITES: Final = (LOG, *RETIRES, Operation("calendar", "update", keep, kept), HEALTH)
UPSERT_READ: Final = Operation("upsert", "find", upsert, upserted)
ABSENT_MORE: Final = Operation("absent", "getMore", absent)
READS: Final = (
    ABSENT_MORE,
    Operation("absent", "find", absent),
    Operation("listed_counts", "find", listed_counts),
    Operation("marks", "aggregate", marks),
)
"""The store itself tries these again, three times; and the taking of the slot, while there is time."""

FORCE: Final = Operation("acquire", "findAndModify", force, forced)
ADVANCE: Final = Operation("advance", "findAndModify", advance, advanced)
STEPS: Final = (
    Operation("advance", "insert", advance, advanced),
    Operation("advance", "update", advance, advanced),
    Operation("finish", "insert", end, ended),
    Operation("finish", "update", end, ended),
)
LOOK: Final = Operation("latest", "find", look)
LOOKS: Final = (LOOK, Operation("ping", "find", ping))
FOLLOW: Final = Operation("watch", "getMore", follow)
"""These are not, because the next step or look comes at once."""
