"""The kinds of store that the contract is tested on, and what the tests need to look at one from outside."""

import re
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, Protocol

from pymongo import MongoClient

from builders import NOON, a_run, measured
from mongod import MongoServers
from stocksync.domain.status import Job, Reason, SyncStats, complete, fail
from stocksync.domain.stock import StockBasic
from stocksync.ports import Fence, Journal, Store
from stocksync.stores import open_store

LONG: Final = timedelta(minutes=5)
BLINK: Final = timedelta(milliseconds=1)
NOTHING: Final = Journal()


Open = Callable[[], Awaitable[Store]]
"""Opens a database once more."""


@asynccontextmanager
async def closed_at_the_end(url: str) -> AsyncIterator[Store]:
    """A store, opened until the context ends."""
    store = await open_store(url)
    try:
        yield store
    finally:
        await store.aclose()


class Witness(Protocol):
    """Looks at a database without the code under test."""

    def rows(self) -> list[Any]:
        """Everything stored of the stocks, internal fields too, in a fixed order."""
        ...

    def everything(self) -> Any:
        """Everything stored at all."""
        ...

    def writes(self) -> int:
        """A number that changes with every write; to be compared on one witness."""
        ...

    def close(self) -> None:
        """Look no longer."""
        ...


class SqliteWitness:
    def __init__(self, url: str) -> None:
        self._db = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
        self._db.row_factory = sqlite3.Row

    def rows(self) -> list[Mapping[str, Any]]:
        found = self._db.execute("SELECT * FROM stock_basic_info ORDER BY code, source").fetchall()
        return [dict(row) for row in found]

    def everything(self) -> Mapping[str, list[tuple[Any, ...]]]:
        names = self._db.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name"
        ).fetchall()
        return {
            name: sorted((tuple(row) for row in self._db.execute(f"SELECT * FROM {name}")), key=repr)  # noqa: S608
            for (name,) in names
        }

    def writes(self) -> int:
        number: int = self._db.execute("PRAGMA data_version").fetchone()[0]
        return number

    def close(self) -> None:
        self._db.close()


class MongoWitness:
    """Looks at one database through a plain client."""

    def __init__(self, url: str) -> None:
        self._client: MongoClient[dict[str, Any]] = MongoClient(url, tz_aware=True)
        self._db = self._client.get_default_database()
        self._oplog = self._client["local"]["oplog.rs"]
        newest = self._oplog.find_one({}, sort=[("$natural", -1)])
        self._since = newest and newest["ts"]

    def rows(self) -> list[Mapping[str, Any]]:
        found = self._db["stock_basic_info"].find({}, {"_id": 0}, sort=[("code", 1), ("source", 1)])
        return [_flat(row) for row in found]

    def everything(self) -> Mapping[str, list[dict[str, Any]]]:
        """Every document. A collection without any counts for nothing: indexes are made at any time."""
        names = sorted(self._db.list_collection_names())
        stored = {name: sorted(self._db[name].find(), key=repr) for name in names}
        return {name: documents for name, documents in stored.items() if documents}

    def writes(self) -> int:
        """Count the entries of the oplog, or take a hash of everything where there is none.

        The oplog has an entry for each document that changed, and none for a write that changed nothing.
        A hash does not see what was changed and changed back.
        """
        if self._since is None:
            return hash(repr(self.everything()))
        ours = {"$regex": f"^{re.escape(self._db.name)}[.]"}
        plain = {"ns": ours, "op": {"$in": ["i", "u", "d"]}}
        together = {"op": "c", "o.applyOps.ns": ours}  # a transaction, or what newer servers group
        return self._oplog.count_documents({"ts": {"$gt": self._since}, "$or": [plain, together]})

    def close(self) -> None:
        self._client.close()


def _flat(row: dict[str, Any]) -> Mapping[str, Any]:
    """A document with the names that the SQLite table has."""
    flat = {"gone_run": None, **row, **row.get("_sync", {})}
    return {**flat, "updated_at": row["updated_at"].date().isoformat()}


@dataclass(frozen=True)
class Kind:
    """One kind of store: how to name a new, empty database, and how to look into it."""

    new_url: Callable[[Path, MongoServers], str]
    witness: Callable[[str], Witness]


KINDS: Final[Mapping[str, Kind]] = {
    "sqlite": Kind(
        new_url=lambda folder, _: f"sqlite:///{folder / 'data' / 'stocks.db'}", witness=SqliteWitness
    ),
    "mongodb": Kind(new_url=lambda _, mongo: mongo.replica_set(), witness=MongoWitness),
    "mongodb-standalone": Kind(new_url=lambda _, mongo: mongo.standalone(), witness=MongoWitness),
}


async def acquire(
    store: Store,
    run_id: str = "run-1",
    *,
    job: Job = Job.MULTI,
    force: bool = False,
    ttl: timedelta = LONG,
    at: datetime = NOON,
    owner: str = "me",
) -> tuple[Fence, SyncStats]:
    """Start a run, and give its first snapshot as the store has it."""
    run = a_run(run_id, job, at)
    fence = await store.runs.acquire(run, owner=owner, ttl=ttl, force=force)
    return fence, replace(run, revision=fence.first_revision)


def at_step(fence: Fence, stats: SyncStats, step: int, **changes: Any) -> SyncStats:
    return replace(stats, revision=fence.revision(step), **changes)


async def finish(
    store: Store,
    fence: Fence,
    stats: SyncStats,
    *,
    step: int = 900,
    reason: Reason | None = None,
    journal: Journal = NOTHING,
) -> SyncStats:
    """End a run a minute after it began, well unless a reason is given."""
    at = (stats.started_at or NOON) + timedelta(minutes=1)
    if reason is None:
        ended = complete(stats, at=at, message="同步完成")
    else:
        ended = fail(stats, at=at, reason=reason, message="同步失败")
    ended = at_step(fence, ended, step)
    await store.runs.finish(fence, ended, journal)
    return ended


def stock_rows(count: int, source: str = "tushare", **figures: float) -> list[StockBasic]:
    return [measured(f"600{n:03}", source, **(figures or {"pe": 10.0 + n})) for n in range(count)]
