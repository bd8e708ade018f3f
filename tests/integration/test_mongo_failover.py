"""A set of three that fails over under load: nothing acknowledged is lost, counted twice or shown wrong."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count, pairwise
from pathlib import Path
from statistics import median
from typing import Any, Final

import pytest
from pymongo import MongoClient
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from builders import log_of, measured
from contract.stores import acquire, finish
from mongod import ReplicaSet, replica_set
from mongod_process import Mongod
from stocksync.app import App
from stocksync.domain.status import Phase, SyncStats, SyncStatus, broken_invariants
from stocksync.domain.stock import StockBasic
from stocksync.errors import RunInProgress
from stocksync.ports import Fence, Store, UpsertCount
from stocksync.simulator import Simulator
from stocksync.stores import open_store
from stocksync.sync import engine
from support import SMALL, record, running_app

Document = dict[str, Any]

# PyMongo leaves the socket of a connection that is being made when its client is closed to the collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
Disturb = Callable[[ReplicaSet], Awaitable[None]]

PATIENCE: Final = 90.0
"""Seconds after which something hangs, however slow the machine."""

RACERS: Final = 8
NAMES: Final = count()


@pytest.fixture(scope="module")
def trio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplicaSet]:
    with replica_set(tmp_path_factory.mktemp("trio"), 3) as three:
        yield three


@pytest.fixture
def url(trio: ReplicaSet) -> Iterator[str]:
    """A new database; in the end every member runs, as the next test expects."""
    name = f"failover-{next(NAMES)}"
    yield trio.url(name)
    for member in trio.members:
        member.resume()
        if member.process is None:
            member.start()
    trio.await_members()
    with MongoClient[Document](trio.url()) as client:
        client.drop_database(name)


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Store]:
    store = await open_store(url)
    try:
        yield store
    finally:
        await store.aclose()


# --- what happens to the set


async def step_down(trio: ReplicaSet) -> None:
    """The primary resigns, in good order."""
    await asyncio.to_thread(trio.step_down, 2)


async def kill(trio: ReplicaSet) -> None:
    """The primary is gone from one moment to the next, and comes back after the election."""
    killed = await asyncio.to_thread(trio.kill_primary)
    await asyncio.to_thread(trio.primary)
    await come_back(trio, killed)


async def come_back(trio: ReplicaSet, member: Mongod) -> None:
    member.spawn()  # in this thread, with which it dies
    await asyncio.to_thread(member.await_up)
    await asyncio.to_thread(trio.await_members)


async def take_back(trio: ReplicaSet) -> None:
    """The primary alone takes writes for a while, and is killed: what it took is taken back."""
    await asyncio.to_thread(trio.stop_replication)
    await asyncio.sleep(0.4)
    await asyncio.to_thread(taken_by_the_primary_alone, trio)
    killed = await asyncio.to_thread(trio.kill_primary)
    await asyncio.to_thread(trio.start_replication)
    await asyncio.to_thread(trio.primary)
    await come_back(trio, killed)
    await asyncio.to_thread(taken_back, trio)


def trap(client: "MongoClient[Document]") -> Any:
    return client.get_database("trap").get_collection("trap", write_concern=WriteConcern(1))


def taken_by_the_primary_alone(trio: ReplicaSet) -> None:
    """Acknowledged, but not by a majority: if that lasts, there is no trap."""
    with MongoClient[Document](trio.url()) as client:
        assert trap(client).insert_one({"_id": "trapped"}).acknowledged


def taken_back(trio: ReplicaSet) -> None:
    with MongoClient[Document](trio.url()) as client:
        assert trap(client).find_one({"_id": "trapped"}) is None


DISTURBANCES: Final[Sequence[Disturb]] = (step_down, kill, take_back)


# --- no acknowledged row lost, counts exact


def all_codes() -> list[str]:
    boards = ("600", "601", "603", "605", "000", "001", "002", "003", "300", "301", "688")
    return [f"{board}{n:03}" for board in boards for n in range(1000)]


@dataclass
class Ledger:
    """What was acknowledged: the newest version of each row, and how the rows were counted."""

    seed: int
    versions: dict[str, int] = field(default_factory=dict)
    fresh: list[str] = field(default_factory=all_codes)
    counted: UpsertCount = field(default_factory=UpsertCount)
    version: int = 0
    acknowledged_at: list[float] = field(default_factory=list)

    def begin(self) -> None:
        """A new run: every row may be changed once more."""
        self.counted = UpsertCount()
        dice = random.Random(self.seed + self.version)
        self._old = dice.sample(sorted(self.versions), len(self.versions))

    def batch(self) -> list[StockBasic]:
        """New rows, changed ones, and some that stand as they are."""
        self.version += 1
        fresh, self.fresh = self.fresh[:8], self.fresh[8:]
        changed, self._old = self._old[:8], self._old[8:]
        same = self._old[-4:]
        return [*(a_row(code, self.version) for code in (*fresh, *changed)),
                *(a_row(code, self.versions[code]) for code in same)]  # fmt: skip

    def acknowledged(self, rows: Sequence[StockBasic], counted: UpsertCount) -> None:
        self.acknowledged_at.append(time.monotonic())
        self.versions.update({row.code: int(row.figures["pe"]) for row in rows})
        self.counted = UpsertCount(
            inserted=self.counted.inserted + counted.inserted,
            changed=self.counted.changed + counted.changed,
            unchanged=self.counted.unchanged + counted.unchanged,
            rejects=(*self.counted.rejects, *counted.rejects),
        )

    def lost(self, stored: Mapping[str, int]) -> list[str]:
        """The rows that are not as they were acknowledged."""
        return [code for code, version in self.versions.items() if stored.get(code) != version]

    def longest_silence(self) -> float:
        """The longest time between two acknowledgements, seconds."""
        return max(later - earlier for earlier, later in pairwise(self.acknowledged_at))


def a_row(code: str, version: int) -> StockBasic:
    return measured(code, pe=float(version))


def as_stored(url: str) -> list[Document]:
    """The rows as a majority has them."""
    with MongoClient[Document](url) as client:
        stocks = client.get_default_database().get_collection(
            "stock_basic_info", read_concern=ReadConcern("majority")
        )
        return list(stocks.find())


async def write_until(done: asyncio.Event, store: Store, fence: Fence, ledger: Ledger) -> None:
    """Write batch after batch; when the disturbance is over, a few more."""
    left = 5
    while left:
        rows = ledger.batch()
        ledger.acknowledged(rows, await store.stocks.upsert(rows, fence))
        await asyncio.sleep(0.01)
        left -= done.is_set()


async def disturbed_run(store: Store, trio: ReplicaSet, name: str, ledger: Ledger, disturb: Disturb) -> None:
    """One run that writes while the set is disturbed."""
    fence, stats = await acquire(store, name, force=True)
    ledger.begin()
    done = asyncio.Event()
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        tasks.create_task(write_until(done, store, fence, ledger))
        await asyncio.sleep(0.2)
        await disturb(trio)
        done.set()
    await finish(store, fence, stats)


def miscounted(ledger: Ledger, rows: Sequence[Document], name: str) -> int:
    """By how much the counts are off: the rows themselves bear the mark of the run that wrote them."""
    ours = [row for row in rows if row["_sync"]["changed_run"] == name]
    created = sum(row["_sync"]["created_run"] == name for row in ours)
    counted = ledger.counted
    return (
        abs(counted.inserted - created) + abs(counted.changed - (len(ours) - created)) + len(counted.rejects)
    )


@pytest.mark.chaos
async def test_nothing_acknowledged_is_lost_or_counted_wrong(
    trio: ReplicaSet, url: str, rounds: int | None
) -> None:
    played, lost, off = rounds or len(DISTURBANCES), 0, 0
    ledger = Ledger(seed=20260415)
    silences: dict[str, list[float]] = {}
    async with opened(url) as store:
        for n in range(played):
            disturb = DISTURBANCES[n % len(DISTURBANCES)]
            ledger.acknowledged_at.clear()
            await disturbed_run(store, trio, f"run-{n}", ledger, disturb)
            rows = await asyncio.to_thread(as_stored, url)
            lost += len(ledger.lost({row["code"]: int(row["pe"]) for row in rows}))
            off += miscounted(ledger, rows, f"run-{n}")
            marks = (await store.stocks.marks(f"run-{n}")).get("tushare")
            off += marks != (ledger.counted.inserted, ledger.counted.changed)
            silences.setdefault(disturb.__name__, []).append(ledger.longest_silence())
    took = ", ".join(f"{name} {median(times):.1f} s" for name, times in silences.items())
    print(f"no acknowledged row lost, failover: {played} rounds, {lost} violations; {took} without an answer")
    print(f"counts exact, failover: {played} rounds, {off} violations")
    assert ledger.counted.unchanged > 0
    assert (lost, off) == (0, 0)


async def test_what_the_primary_alone_has_is_not_called_unchanged(trio: ReplicaSet, url: str) -> None:
    """A run that was killed left it there, and a failover takes it back."""
    old, new = a_row("600519", 1), a_row("600519", 2)
    async with asyncio.timeout(PATIENCE), opened(url) as store:
        fence, stats = await acquire(store)
        await store.stocks.upsert([old], fence)
        await asyncio.to_thread(trio.stop_replication)
        await asyncio.to_thread(set_by_the_primary_alone, url, new)
        upserting = asyncio.create_task(store.stocks.upsert([new], fence))
        await asyncio.sleep(0.5)
        await asyncio.to_thread(trio.kill_primary)
        await asyncio.to_thread(trio.start_replication)
        counted = await upserting
        assert (counted.changed, counted.unchanged) == (1, 0)
        assert [row["pe"] for row in await asyncio.to_thread(as_stored, url)] == [2.0]
        await finish(store, fence, stats)


def set_by_the_primary_alone(url: str, row: StockBasic) -> None:
    with MongoClient[Document](url) as client:
        stocks = client.get_default_database().get_collection(
            "stock_basic_info", write_concern=WriteConcern(1)
        )
        changed = {"pe": row.figures["pe"]}
        assert stocks.update_one({"code": row.code}, {"$set": changed}).modified_count == 1


# --- a sync survives


def story(rows: Sequence[Document]) -> dict[str, Document]:
    """What the rows say of the market: everything but when and by which run."""
    when = {"_id", "updated_at", "_sync"}
    return {
        f"{row['code']}/{row['source']}": {name: value for name, value in row.items() if name not in when}
        for row in rows
    }


@dataclass(frozen=True)
class Calm:
    """How a sync goes that nobody disturbs."""

    rows: dict[str, Document]
    events: list[str]


async def events_of(app: App, run: SyncStats) -> list[str]:
    return sorted(event.event for event in await log_of(app.store, run.run_id or ""))


@pytest.fixture
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a small market takes long enough to be disturbed."""
    monkeypatch.setattr(engine, "BATCH", 20)


@pytest.fixture
async def calm(_small_batches: None, url: str, simulator: Simulator, tmp_path: Path) -> Calm:
    async with running_app(simulator, tmp_path, store=url) as app:
        ended = await app.service.run_full_sync()
        assert (ended.status, ended.inserted) == (SyncStatus.SUCCESS, SMALL)
        return Calm(story(as_stored(url)), await events_of(app, ended))


def empty(url: str) -> None:
    """Delete everything that is stored, for the next sync to begin anew; the indexes stay."""
    with MongoClient[Document](url) as client:
        database = client.get_default_database()
        for name in database.list_collection_names():
            database[name].delete_many({})


MOMENTS: Final[Mapping[str, Callable[[SyncStats], bool]]] = {
    "write": lambda stats: stats.processed >= SMALL // 3,
    "start": lambda stats: stats.running,
    "reconcile": lambda stats: stats.phase is Phase.RECONCILE or stats.final,
    "fetch": lambda stats: stats.phase is Phase.DAILY_DATA or stats.processed > 0,
}


async def reached(app: App, moment: Callable[[SyncStats], bool]) -> None:
    await app.service.board.wait_for(lambda: moment(app.service.board.get()))


async def disturbed_sync(app: App, trio: ReplicaSet, moment: str, disturb: Disturb) -> SyncStats:
    """A sync in the middle of which the set is disturbed."""
    recorder = record(app)
    syncing = asyncio.create_task(app.service.run_full_sync())
    await reached(app, MOMENTS[moment])
    await disturb(trio)
    ended = await syncing
    recorder.check()
    return ended


async def complaints(app: App, ended: SyncStats, rows: Sequence[Document], calm: Calm) -> list[str]:
    """Everything that is wrong with a sync that should have gone as if nothing had been."""
    run_id = ended.run_id or ""
    outcomes = [log.details.get("outcome") for log in await app.store.logs.search(limit=100)]
    marks = await app.store.stocks.marks(run_id)
    holds = {
        f"success, and not {ended.message}": ended.status is SyncStatus.SUCCESS,
        "everything is counted once": ended.inserted == ended.total == SMALL,
        "the rows bear the same count": marks == {"tushare": (SMALL, 0)},
        "the rows are the same": story(rows) == calm.rows,
        "the invariants hold": broken_invariants(ended) == [],
        "one run, stored as it is shown": await app.store.runs.history(limit=100) == [ended],
        "one record": outcomes == ["success"],
        "every line of the log, once": await events_of(app, ended) == calm.events,
    }
    return [claim for claim, is_so in holds.items() if not is_so]


@pytest.mark.chaos
async def test_a_sync_survives_a_failover_unaided(  # noqa: PLR0917 - fixtures
    trio: ReplicaSet, url: str, simulator: Simulator, tmp_path: Path, calm: Calm, rounds: int | None
) -> None:
    played, wrong, times = rounds or 2, list[str](), dict[str, list[float]]()
    for n in range(played):
        moment, disturb = list(MOMENTS)[n // 2 % len(MOMENTS)], (kill, step_down)[n % 2]
        await asyncio.to_thread(empty, url)
        began = time.monotonic()
        async with asyncio.timeout(PATIENCE), running_app(simulator, tmp_path, store=url) as app:
            ended = await disturbed_sync(app, trio, moment, disturb)
            rows = await asyncio.to_thread(as_stored, url)
            found = await complaints(app, ended, rows, calm)
        wrong += [f"{disturb.__name__} at {moment}: not {claim}" for claim in found]
        times.setdefault(disturb.__name__, []).append(time.monotonic() - began)
    took = ", ".join(f"{name} {median(each):.1f} s" for name, each in times.items())
    print(f"a sync survives failover: {played} rounds, {len(wrong)} violations; {took} a sync")
    assert wrong == []


# --- what others see


@dataclass
class Sightings:
    """When a board first showed each revision."""

    at: dict[int, float] = field(default_factory=dict)

    @classmethod
    def of(cls, app: App) -> "Sightings":
        board, seen = app.service.board, cls()
        publish = board.publish

        def noted(stats: SyncStats) -> None:
            seen.at.setdefault(stats.revision, time.monotonic())
            publish(stats)

        board.publish = noted  # type: ignore[method-assign]
        return seen

    def lag_behind(self, other: "Sightings", until: float) -> list[float]:
        """How long after the other each revision was shown here, or a later one."""
        own = sorted(self.at.items())
        return [
            max(0.0, next((seen for mine, seen in own if mine >= revision), until) - at)
            for revision, at in other.at.items()
            if at < until
        ]


@pytest.mark.usefixtures("_small_batches")
async def test_who_follows_is_up_to_date_and_says_so_where_he_cannot_be(
    trio: ReplicaSet, url: str, simulator: Simulator, tmp_path: Path
) -> None:
    async with (
        asyncio.timeout(PATIENCE),
        running_app(simulator, tmp_path, store=url) as app,
        running_app(simulator, tmp_path, store=url) as follower,
    ):
        theirs, ours = Sightings.of(app), Sightings.of(follower)
        board = follower.service.board
        syncing = asyncio.create_task(app.service.run_full_sync())
        await reached(app, MOMENTS["write"])
        assert board.get().running
        healthy_until = time.monotonic()
        lags = ours.lag_behind(theirs, healthy_until)
        for member in (trio.primary(), trio.secondaries()[0]):  # the third cannot be elected alone
            member.pause()
        lost_at = datetime.now(UTC)
        await reached(follower, lambda stats: stats.stale_since is not None)
        since = board.get().stale_since
        await asyncio.sleep(1)
        assert board.get().stale_since == since
        for member in trio.members:
            member.resume()
        ended = await syncing
        await reached(follower, lambda stats: stats == ended)
        assert board.get().stale_since is None
    assert since is not None
    assert abs((since - lost_at).total_seconds()) < 2
    assert ended.status is SyncStatus.SUCCESS
    print(f"lag of a follower: {median(lags):.2f} s, at most {max(lags):.2f} s, {len(lags)} revisions")
    assert median(lags) < 1.0


# --- the slot


@pytest.mark.chaos
async def test_of_many_that_race_during_stepdowns_one_gets_the_slot(
    trio: ReplicaSet, url: str, rounds: int | None
) -> None:
    played, doubles, tokens, times = rounds or 2, 0, list[int](), list[float]()
    dice = random.Random(20260415)
    stores = [await open_store(url) for _ in range(RACERS)]
    try:
        for n in range(played):
            began = time.monotonic()
            stepping = asyncio.create_task(step_down_after(trio, dice.uniform(0, 0.1)))
            async with asyncio.timeout(PATIENCE):
                answers = await asyncio.gather(
                    *(race(store, f"run-{n}-{k}", dice.uniform(0, 0.2)) for k, store in enumerate(stores))
                )
                await stepping
            times.append(time.monotonic() - began)
            winners = [(store, won) for store, won in zip(stores, answers, strict=True) if won is not None]
            doubles += len(winners) != 1
            tokens += [fence.token for _, (fence, _) in winners]
            for store, (fence, stats) in winners:
                await finish(store, fence, stats)
        runs = await stores[0].runs.history(limit=played * RACERS)
    finally:
        for store in stores:
            await store.aclose()
    print(
        f"one owner at a time, {RACERS} racers during stepdowns: {played} rounds, {doubles} violations; "
        f"{median(times):.1f} s a race"
    )
    assert doubles == 0
    assert tokens == list(range(1, played + 1))
    assert [run.status for run in runs] == [SyncStatus.SUCCESS] * played


async def step_down_after(trio: ReplicaSet, seconds: float) -> None:
    await asyncio.sleep(seconds)
    await step_down(trio)


async def race(store: Store, name: str, after: float) -> tuple[Fence, SyncStats] | None:
    """Ask for the slot; None where somebody else has it. A StoreError is nobody's answer here."""
    await asyncio.sleep(after)
    with suppress(RunInProgress):
        return await acquire(store, name, owner=name)
    return None
