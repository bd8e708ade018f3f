"""A network that loses answers, falls silent or is cut: every call ends in time, and nothing happens twice."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import date
from itertools import count
from pathlib import Path
from typing import Any, Final

import pytest
from pymongo import MongoClient

from builders import NOON, a_reject, measured
from contract.stores import LONG, MongoWitness, acquire, at_step, finish
from mongod import ReplicaSet
from mongod_process import Mongod
from proxy import Proxy, command_name, now_and_then, nothing, proxy_to
from stocksync.app import App
from stocksync.domain.status import Job, SyncStats, SyncStatus, broken_invariants
from stocksync.domain.stock import Dataset
from stocksync.errors import StocksyncError, StoreUnavailable
from stocksync.ports import Fence, Journal, OperationLog, RunEvent, SourceHealth
from stocksync.simulator import Simulator
from stocksync.stores import mongo as mongo_store
from stocksync.stores.mongo import MongoStore, connection, open_mongo, runs, watch
from stocksync.sync import engine
from support import SMALL, record, running_app

Document = dict[str, Any]

PATIENCE: Final = 90.0
"""Seconds after which something hangs, however slow the machine."""

SLACK: Final = 4.0
"""Seconds that a slow machine may add to a deadline."""

NAMES: Final = count()


@pytest.fixture(params=["replica set", "standalone"])
def server(request: pytest.FixtureRequest) -> Mongod:
    if request.param == "standalone":
        alone: Mongod = request.getfixturevalue("mongod_standalone")
        return alone
    members: ReplicaSet = request.getfixturevalue("mongod_rs")
    return members.primary()


@pytest.fixture
def database(server: Mongod) -> Iterator[str]:
    name = f"lossy-{next(NAMES)}"
    yield name
    server.resume()
    with server.client() as client:
        client.drop_database(name)


@pytest.fixture
async def proxy(server: Mongod) -> AsyncIterator[Proxy]:
    async with proxy_to(server.port) as running:
        yield running


@pytest.fixture
def _brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pauses before a retry are short, and a small market has many batches."""
    monkeypatch.setitem(open_mongo.__kwdefaults__, "backoff", 0.05)
    monkeypatch.setattr(engine, "BATCH", 50)


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[MongoStore]:
    store = await open_mongo(url)
    try:
        yield store
    finally:
        await store.aclose()


# --- a whole sync


def story(documents: Sequence[Document]) -> list[Document]:
    """What rows say of the market: everything but when and by which run."""
    when = {"_id", "updated_at", "_sync"}
    return [{name: value for name, value in row.items() if name not in when} for row in documents]


@dataclass(frozen=True)
class Stored:
    """Everything that a sync leaves in a database, as one sees it from outside."""

    everything: Mapping[str, list[Document]]

    @classmethod
    def at(cls, url: str) -> "Stored":
        witness = MongoWitness(url)
        try:
            return cls(witness.everything())
        finally:
            witness.close()

    def rows(self) -> list[Document]:
        return sorted(story(self.everything["stock_basic_info"]), key=lambda row: str(row["code"]))

    def lines(self) -> list[str]:
        return sorted(line["event"] for line in self.everything["sync_run_events"])

    def outcomes(self) -> list[str]:
        return [log["details"]["outcome"] for log in self.everything["operation_logs"]]

    def runs(self) -> list[str]:
        return [run["status"] for run in self.everything["sync_runs"]]

    def created_by(self, run_id: str) -> int:
        return sum(row["_sync"]["created_run"] == run_id for row in self.everything["stock_basic_info"])


def empty(url: str) -> None:
    """Delete everything that is stored; the indexes stay."""
    with MongoClient[Document](url) as client:
        found = client.get_default_database()
        for name in found.list_collection_names():
            found[name].delete_many({})


@pytest.fixture
async def calm(_brisk: None, server: Mongod, database: str, simulator: Simulator, tmp_path: Path) -> Stored:
    """What an undisturbed sync leaves."""
    url = server.url(database)
    async with running_app(simulator, tmp_path, store=url) as app:
        ended = await app.service.run_full_sync()
    assert (ended.status, ended.inserted) == (SyncStatus.SUCCESS, SMALL)
    found = Stored.at(url)
    empty(url)
    return found


def complaints(ended: SyncStats, stored: Stored, calm: Stored) -> list[str]:
    """Everything that is wrong with a sync that should have gone as if nothing had been."""
    holds = {
        f"success, and not {ended.message}": ended.status is SyncStatus.SUCCESS,
        "everything is counted once": ended.inserted == ended.total == SMALL,
        "the rows bear the same count": stored.created_by(ended.run_id or "") == SMALL,
        "the rows are the same": stored.rows() == calm.rows(),
        "the invariants hold": broken_invariants(ended) == [],
        "one run": stored.runs() == ["success"],
        "one record": stored.outcomes() == ["success"],
        "every line of the log, once": stored.lines() == calm.lines(),
        "one free slot": [slot["run_id"] for slot in stored.everything["sync_lease"]] == [None],
    }
    return [claim for claim, is_so in holds.items() if not is_so]


Disturb = Callable[[Proxy, Mongod], Awaitable[None]]


async def lose_a_fifth(proxy: Proxy, _: Mongod) -> None:
    """From the beginning on, of every kind of write."""
    assert proxy.loses is not nothing


async def cut_again_and_again(proxy: Proxy, _: Mongod) -> None:
    for _ in range(6):
        await asyncio.sleep(0.15)
        proxy.cut()


async def hold_for_a_while(proxy: Proxy, _: Mongod) -> None:
    await asyncio.sleep(0.3)
    proxy.hold()
    await asyncio.sleep(2)
    proxy.release()


async def hold_and_cut(proxy: Proxy, _: Mongod) -> None:
    """What was on its way is lost for good."""
    await asyncio.sleep(0.3)
    proxy.hold()
    proxy.refuse()
    await asyncio.sleep(2)
    proxy.cut()
    proxy.release()
    await proxy.accept()


async def pause_the_server(_: Proxy, server: Mongod) -> None:
    await asyncio.sleep(0.3)
    server.pause()
    await asyncio.sleep(2)
    server.resume()


DISTURBANCES: Final[Sequence[Disturb]] = (
    lose_a_fifth, cut_again_and_again, hold_for_a_while, hold_and_cut, pause_the_server,
)  # fmt: skip


async def disturbed_sync(app: App, proxy: Proxy, server: Mongod, disturb: Disturb) -> SyncStats:
    recorder = record(app)
    syncing = asyncio.create_task(app.service.run_full_sync())
    await disturb(proxy, server)
    ended = await syncing
    recorder.check()
    return ended


@pytest.mark.chaos
@pytest.mark.parametrize("disturb", DISTURBANCES, ids=lambda disturb: disturb.__name__)
async def test_a_sync_goes_through_a_bad_network_as_if_nothing_had_been(  # noqa: PLR0917 - fixtures
    disturb: Disturb, proxy: Proxy, server: Mongod, database: str, simulator: Simulator, tmp_path: Path,
    calm: Stored, rounds: int | None,
) -> None:  # fmt: skip
    played, wrong, lost = rounds or 1, list[str](), 0
    for n in range(played):
        proxy.loses = now_and_then(0.2, seed=n) if disturb is lose_a_fifth else nothing
        async with (
            asyncio.timeout(PATIENCE),
            running_app(simulator, tmp_path, store=proxy.url(database)) as app,
        ):
            ended = await disturbed_sync(app, proxy, server, disturb)
        proxy.loses = nothing
        wrong += complaints(ended, Stored.at(server.url(database)), calm)
        empty(server.url(database))
        lost, proxy.lost = lost + proxy.lost, 0
    told = f", {lost} answers lost" if lost else ""
    print(f"exact over a bad network, {disturb.__name__}: {played} rounds, {len(wrong)} violations{told}")
    assert wrong == []
    assert lost > 0 or disturb is not lose_a_fifth
