"""A network that loses answers, falls silent or is cut: every call ends in time, nothing happens twice."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import aclosing, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from contract.stores import MongoWitness
from mongo_bench import (
    ADVANCE,
    BATCH,
    CONTROL_SECONDS,
    FORCE,
    HEALTH,
    LOG,
    LOOKS,
    OPERATION_SECONDS,
    OTHER_WRITES,
    PATIENCE,
    STEPS,
    TRIES,
    UPSERT,
    Bench,
    Database,
    Operation,
    bench_at,
    database_at,
    empty,
    hurry,
    opened,
)
from mongod import ReplicaSet
from mongod_process import Mongod
from proxy import Proxy, command_name, nothing, now_and_then, proxy_to
from stocksync.app import App
from stocksync.domain.status import Phase, SyncStats, SyncStatus, broken_invariants
from stocksync.errors import StoreUnavailable
from stocksync.simulator import Simulator
from stocksync.stores.mongo import open_mongo
from stocksync.sync import engine
from support import SMALL, record, running_app

Document = dict[str, Any]

# PyMongo leaves the socket of a connection that is being made when its client is closed to the collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")

SLACK: Final = 4.0
"""Seconds that a slow machine may add to a deadline."""


@pytest.fixture(scope="module", params=["set", "standalone"])
def server(request: pytest.FixtureRequest, mongod_rs: ReplicaSet, mongod_standalone: Mongod) -> Mongod:
    return mongod_rs.primary() if request.param == "set" else mongod_standalone


@pytest.fixture(scope="module")
def database(server: Mongod) -> Iterator[Database]:
    with database_at(server.url("lossy")) as found:
        yield found


@pytest.fixture
async def proxy(server: Mongod) -> AsyncIterator[Proxy]:
    async with proxy_to(server.port) as running:
        yield running
    server.resume()


# --- one operation


@pytest.fixture
async def bench(
    server: Mongod, database: Database, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Bench]:
    """A store whose answers come through the proxy, and short deadlines."""
    hurry(monkeypatch)
    async with bench_at(server, database, proxy.url(database.name)) as bench:
        yield bench


def first(command: str, times: int = 1) -> Callable[[bytes], bool]:
    """Lose the answers of the first commands of a name."""
    left = times

    def loses(message: bytes) -> bool:
        nonlocal left
        if command_name(message) != command.encode() or not left:
            return False
        left -= 1
        return True

    return loses


async def in_time(seconds: float, work: Coroutine[Any, Any, None]) -> bool:
    """Carry out; False where the store says that it is unavailable, which it must say within so long."""
    began = time.monotonic()
    try:
        await work
    except StoreUnavailable:
        assert time.monotonic() - began < seconds + SLACK
        return False
    return True


CONTROLS: Final = (ADVANCE, *STEPS)
"""These are not tried again by the store: the next step comes at once."""

PERSISTENT_SECONDS: Final = TRIES * (OPERATION_SECONDS + 0.1)


@pytest.mark.parametrize(
    ("server", "operation"),
    [
        *(("set", operation) for operation in (UPSERT, FORCE, ADVANCE)),  # PyMongo tries these again
        *(("standalone", operation) for operation in (UPSERT, FORCE, *OTHER_WRITES, *CONTROLS)),
    ],
    ids=str,
    indirect=["server"],
)
async def test_what_was_done_and_not_heard_of_is_done_once(
    bench: Bench, proxy: Proxy, operation: Operation
) -> None:
    proxy.loses = first(operation.command)
    if not await in_time(CONTROL_SECONDS, operation.do(bench)):
        assert operation in CONTROLS, "this should have been tried again"
        await operation.do(bench)
    assert proxy.lost == 1
    await operation.done(bench)


async def test_in_a_black_hole_every_call_ends_in_time_and_goes_well_afterwards(
    bench: Bench, proxy: Proxy
) -> None:
    proxy.hold()
    ends = await asyncio.gather(
        *(in_time(CONTROL_SECONDS, operation.do(bench)) for operation in (ADVANCE, *LOOKS)),
        *(in_time(PERSISTENT_SECONDS, operation.do(bench)) for operation in (UPSERT, HEALTH)),
    )
    assert not any(ends)
    proxy.release()
    bench.again = True
    for operation in (*LOOKS, UPSERT, HEALTH, ADVANCE):
        await operation.do(bench)
    for operation in (UPSERT, HEALTH, ADVANCE):
        await operation.done(bench)


async def test_who_closes_a_store_does_not_wait_for_a_black_hole(bench: Bench, proxy: Proxy) -> None:
    """Neither who stops following it; PyMongo alone takes a minute."""
    async with opened(proxy.url("lossy")) as other, aclosing(other.runs.watch()) as changes:  # type: ignore[type-var]
        assert await anext(changes) == bench.stats
        following = asyncio.ensure_future(anext(changes))
        writing = asyncio.create_task(other.stocks.upsert(BATCH, bench.fence))
        await asyncio.sleep(0.2)
        proxy.hold()
        began = time.monotonic()
        for task in (following, writing):
            task.cancel()
        await asyncio.wait([following, writing])
        await other.aclose()
        assert time.monotonic() - began < 3 + SLACK


async def test_who_follows_into_a_black_hole_is_told_so(bench: Bench, proxy: Proxy) -> None:
    async with asyncio.timeout(PATIENCE), aclosing(bench.store.runs.watch()) as changes:  # type: ignore[type-var]
        assert await anext(changes) == bench.stats
        proxy.hold()
        began = time.monotonic()
        with pytest.raises(StoreUnavailable):
            await anext(changes)
        assert time.monotonic() - began < CONTROL_SECONDS + SLACK
    proxy.release()
    await ADVANCE.do(bench)
    await ADVANCE.done(bench)


async def test_a_cut_goes_unnoticed(bench: Bench, proxy: Proxy) -> None:
    for operation in (UPSERT, LOG, HEALTH):
        proxy.cut()
        await operation.do(bench)
        await operation.done(bench)


# --- a whole sync


def story(rows: Sequence[Mapping[str, Any]]) -> list[Document]:
    """What rows say of the market: everything but when and by which run."""
    when = {"_id", "updated_at", "_sync"}
    told = [{name: value for name, value in row.items() if name not in when} for row in rows]
    return sorted(told, key=lambda row: str(row["code"]))


@dataclass(frozen=True)
class Stored:
    """What a sync leaves in a database, as one sees it from outside."""

    rows: list[Document]
    lines: list[str]
    outcomes: list[str]
    runs: list[str]
    holders: list[str | None]
    created: dict[str, int]

    @classmethod
    def at(cls, url: str) -> "Stored":
        with closing(MongoWitness(url)) as witness:
            found = witness.everything()
        rows = found["stock_basic_info"]
        return cls(
            rows=story(rows),
            lines=sorted(line["event"] for line in found["sync_run_events"]),
            outcomes=[log["details"]["outcome"] for log in found["operation_logs"]],
            runs=[run["status"] for run in found["sync_runs"]],
            holders=[slot["run_id"] for slot in found["sync_lease"]],
            created=dict(Counter(row["_sync"]["created_run"] for row in rows)),
        )


@pytest.fixture
def _many_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a small market can be disturbed; and the pauses before a retry are short."""
    monkeypatch.setitem(open_mongo.__kwdefaults__, "backoff", 0.05)
    monkeypatch.setattr(engine, "BATCH", 40)


@pytest.fixture(scope="module")
def calms() -> dict[str, Stored]:
    """What an undisturbed sync leaves, by address: the same each time, and it is needed often."""
    return {}


@pytest.fixture
async def calm(
    _many_batches: None, server: Mongod, database: Database, simulator: Simulator, tmp_path: Path,
    calms: dict[str, Stored],
) -> Stored:  # fmt: skip
    empty(database)
    if server.address not in calms:
        url = server.url(database.name)
        async with running_app(simulator, tmp_path, store=url) as app:
            ended = await app.service.run_full_sync()
        assert (ended.status, ended.inserted) == (SyncStatus.SUCCESS, SMALL)
        calms[server.address] = Stored.at(url)
        empty(database)
    return calms[server.address]


def complaints(ended: SyncStats, stored: Stored, calm: Stored) -> list[str]:
    """Everything that is wrong with a sync that should have gone as if nothing had been."""
    holds = {
        f"success, and not {ended.message}": ended.status is SyncStatus.SUCCESS,
        "everything is counted once": ended.inserted == ended.total == SMALL,
        "the rows bear the same count": stored.created == {ended.run_id: SMALL},
        "the rows are the same": stored.rows == calm.rows,
        "the invariants hold": broken_invariants(ended) == [],
        "one run": stored.runs == ["success"],
        "one record": stored.outcomes == ["success"],
        "every line of the log, once": stored.lines == calm.lines,
        "a free slot": stored.holders == [None],
    }
    return [claim for claim, is_so in holds.items() if not is_so]


Disturb = Callable[[Proxy, Mongod], Awaitable[None]]
OUTAGE: Final = 1.0


async def lose_answers(proxy: Proxy, _: Mongod) -> None:
    """A tenth, of every kind of write, from the beginning on."""
    assert proxy.loses is not nothing


async def cut_again_and_again(proxy: Proxy, _: Mongod) -> None:
    for _ in range(4):
        proxy.cut()
        await asyncio.sleep(0.05)


async def hold(proxy: Proxy, _: Mongod) -> None:
    proxy.hold()
    await asyncio.sleep(OUTAGE)
    proxy.release()


async def hold_and_cut(proxy: Proxy, _: Mongod) -> None:
    """What was on its way is lost for good, and nobody gets through."""
    proxy.hold()
    proxy.refuse()
    await asyncio.sleep(OUTAGE)
    proxy.cut()
    proxy.release()
    await proxy.accept()


async def pause_the_server(_: Proxy, server: Mongod) -> None:
    server.pause()
    await asyncio.sleep(OUTAGE)
    server.resume()


DISTURBANCES: Final = (
    ("set", lose_answers),
    ("set", cut_again_and_again),
    ("set", hold),
    ("set", pause_the_server),
    ("standalone", lose_answers),
    ("standalone", cut_again_and_again),
    ("standalone", hold_and_cut),
)


async def disturbed_sync(app: App, proxy: Proxy, server: Mongod, disturb: Disturb) -> SyncStats:
    """A sync that is disturbed while it writes."""
    recorder, board = record(app), app.service.board
    syncing = asyncio.create_task(app.service.run_full_sync())
    await board.wait_for(lambda: board.get().final or board.get().phase is Phase.WRITE)
    assert disturb is lose_answers or not syncing.done(), "it was over before it was disturbed"
    await disturb(proxy, server)
    ended = await syncing
    recorder.check()
    return ended


@pytest.mark.chaos
@pytest.mark.parametrize(("server", "disturb"), DISTURBANCES, indirect=["server"])
async def test_a_sync_goes_through_a_bad_network_as_if_nothing_had_been(  # noqa: PLR0917 - fixtures
    disturb: Disturb, proxy: Proxy, server: Mongod, database: Database, simulator: Simulator, tmp_path: Path,
    calm: Stored, rounds: int | None,
) -> None:  # fmt: skip
    played, wrong, lost = rounds or 1, list[str](), 0
    for n in range(played):
        empty(database)
        proxy.loses = now_and_then(0.1, seed=n) if disturb is lose_answers else nothing
        url = proxy.url(database.name)
        async with asyncio.timeout(PATIENCE), running_app(simulator, tmp_path, store=url) as app:
            ended = await disturbed_sync(app, proxy, server, disturb)
        proxy.loses = nothing
        wrong += complaints(ended, Stored.at(server.url(database.name)), calm)
        lost, proxy.lost = lost + proxy.lost, 0
    told = f", {lost} answers lost" if lost else ""
    print(f"exact over a bad network, {disturb.__name__}: {played} rounds, {len(wrong)} violations{told}")
    assert wrong == []
    assert (lost > 0) == (disturb is lose_answers)
