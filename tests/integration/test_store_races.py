"""What only real processes can show: one owner among many that ask together, and nothing lost to kill -9."""

import asyncio
import random
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
from pymongo import MongoClient

from builders import log_of
from contract.stores import KINDS, Witness, acquire, finish
from integration.children import PATIENCE, RACER, WRITER, Child, child, race
from mongod import MongoServers, standalone
from mongod_process import Mongod
from stocksync.domain.status import Job, Reason, SyncStatus, broken_invariants
from stocksync.errors import RunInProgress, StoreUnavailable
from stocksync.ports import Store
from stocksync.stores import open_store

RACERS: Final = 8
ROUNDS: Final = 20
FORCED_ROUNDS: Final = 3
KILLS: Final = 4
SERVER_KILLS: Final = 2
BLOCKS: Final = 20
BLOCK_ROWS: Final = 40


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Store]:
    store = await open_store(url)
    try:
        yield store
    finally:
        await store.aclose()


@pytest.fixture(params=sorted(KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def url(kind: str, tmp_path: Path, mongo: MongoServers) -> str:
    return KINDS[kind].new_url(tmp_path, mongo)


# --- the slot


@pytest.fixture(scope="module")
def eight(request: pytest.FixtureRequest) -> Iterator[Sequence[Child]]:
    """Processes that open one store after the other."""
    patience = PATIENCE + 6 * (request.config.getoption("--rounds") or 0)
    with ExitStack() as stack:
        yield [stack.enter_context(child(RACER, str(n), patience=patience)) for n in range(RACERS)]


@pytest.fixture
def racers(eight: Sequence[Child], url: str) -> Iterator[Sequence[Child]]:
    assert tell_all(eight, f"open {url}") == ["ready"] * RACERS
    yield eight
    tell_all(eight, "close")


def tell_all(racers: Sequence[Child], order: str) -> list[str]:
    for racer in racers:
        racer.tell(order)
    return [racer.hear() for racer in racers]


def told(racer: Child, order: str) -> str:
    racer.tell(order)
    return racer.hear()


@pytest.mark.chaos
async def test_of_eight_processes_that_ask_together_one_gets_the_slot(
    kind: str, url: str, racers: Sequence[Child], rounds: int | None
) -> None:
    """Odd rounds begin with the run of an owner who died: it too is closed once, by the one that wins."""
    played = max(rounds or ROUNDS, 4)
    began = time.monotonic()
    for number in range(played):
        answers = race(racers, number, force=False)
        winners = [n for n, answer in enumerate(answers) if answer == ["won", str(number + 1)]]
        assert len(winners) == 1, answers
        assert sum(answer == ["busy"] for answer in answers) == RACERS - 1, answers
        order, done = ("finish", "finished") if number % 2 else ("die", "dead")
        assert told(racers[winners[0]], order) == done
    rate = f"{played / (time.monotonic() - began):.0f} a second"
    async with opened(url) as store:
        await check_history(store, played)
    print(f"one owner at a time, {RACERS} processes, {kind}: {played} rounds, 0 violations, {rate}")


async def check_history(store: Store, played: int) -> None:
    """Every run that got the slot has one end, its own or the one that a dead owner's run gets."""
    if played % 2:
        await store.runs.rescue(datetime.now(UTC))
    runs = await store.runs.history(limit=played + 1)
    ends = [(run.status, run.reason) for run in reversed(runs)]
    died, lived = (SyncStatus.FAILED, Reason.INTERRUPTED), (SyncStatus.SUCCESS, None)
    assert ends == [lived if n % 2 else died for n in range(played)]
    assert all(broken_invariants(run) == [] for run in runs)
    for run in runs:
        closings = [event.event for event in await log_of(store, run.run_id or "")]
        assert closings == ([] if run.reason is None else ["run_closed"])


@pytest.mark.chaos
async def test_of_eight_processes_that_force_each_gets_the_slot_in_turn_and_the_last_one_keeps_it(
    kind: str, url: str, racers: Sequence[Child], rounds: int | None
) -> None:
    played = rounds or FORCED_ROUNDS
    for number in range(played):
        answers = race(racers, number, force=True)
        tokens = [int(token) for _, token in answers]
        assert sorted(tokens) == list(range(RACERS * number + 1, RACERS * (number + 1) + 1))
        steps = [told(racer, "step") for racer in racers]
        assert steps == ["kept" if token == max(tokens) else "lost" for token in tokens]
    async with opened(url) as store:
        await check_forced(store, played)
    print(f"one owner at a time, {RACERS} processes by force, {kind}: {played} rounds, 0 violations")


async def check_forced(store: Store, played: int) -> None:
    runs = await store.runs.history(limit=RACERS * played + 1)
    assert len(runs) == RACERS * played
    (going,) = [run for run in runs if run.running]
    assert going.revision == max(run.revision for run in runs)
    assert {run.reason for run in runs if not run.running} == {Reason.SUPERSEDED}
    assert all(broken_invariants(run) == [] for run in runs)
    shown = [stats for job in Job if (stats := await store.runs.latest(job)) is not None]
    assert sum(stats.running for stats in shown) == 1


async def test_a_run_is_shown_from_the_moment_at_which_it_has_the_slot(mongo: MongoServers) -> None:
    """Whoever is told that another run goes on asks which; and that one may still close its predecessor."""
    url = mongo.replica_set()
    async with opened(url) as store, opened(url) as other:
        await acquire(store, "run-1")
        stocks: Any = store.stocks
        go_on = asyncio.Event()
        seal = stocks.seal

        async def seal_later(token: int) -> None:
            await go_on.wait()
            await seal(token)

        stocks.seal = seal_later
        taking = asyncio.create_task(acquire(store, "run-2", force=True))
        await asyncio.sleep(0.2)
        with pytest.raises(RunInProgress):
            await acquire(other, "run-3")
        shown = await other.runs.latest(Job.MULTI)
        go_on.set()
        _, begun = await taking
        assert shown == begun


@pytest.mark.parametrize("collection", ["sync_runs", "sync_status"])
async def test_a_start_that_fails_half_way_leaves_nothing_running(
    mongod_standalone: Mongod, mongo: MongoServers, collection: str
) -> None:
    """Its first step may be stored and not shown; whoever asked was told that the start failed."""
    url = mongo.standalone()
    namespace = f"{urlsplit(url).path[1:]}.{collection}"
    async with opened(url) as store:
        with (
            mongod_standalone.fail_command("update", errorCode=2, namespace=namespace),
            pytest.raises(StoreUnavailable),
        ):
            await acquire(store, "run-1")
        await acquire(store, "run-2")
        ended = await store.runs.get("run-1")
        assert ended is not None
        assert ended.reason is Reason.INTERRUPTED
        assert [event.event for event in await log_of(store, "run-1")] == ["run_closed"]


# --- kill -9 of the process that writes


class Ledger:
    """What the rows must hold: by code the last batch that is known to have landed."""

    def __init__(self) -> None:
        self.landed: dict[str, int] = {}

    def acknowledged(self, batches: Sequence[int]) -> None:
        for batch in batches:
            self.landed.update(dict.fromkeys(codes_of(batch), batch))

    def check(self, rows: Sequence[Mapping[str, Any]], unanswered: int) -> set[str]:
        """Compare; give the codes in which the batch without an answer has landed, and take them in."""
        found = {str(row["code"]): batch_of(row) for row in rows}
        late = {code for code in codes_of(unanswered) if found.get(code) == unanswered}
        self.landed.update(dict.fromkeys(late, unanswered))
        assert found == self.landed
        return late


def codes_of(batch: int) -> list[str]:
    first = batch % BLOCKS * BLOCK_ROWS
    return [f"600{first + n:03}" for n in range(BLOCK_ROWS)]


def batch_of(row: Mapping[str, Any]) -> int:
    """Which batch a row is from; all of its fields must say the same."""
    batch = int(row["pe"])
    assert row["name"] == f"batch {batch}", "a torn row"
    return batch


def written_until_killed(url: str, name: str, first: int, dice: random.Random, *, at_least: int) -> list[int]:
    """Let a process write, kill it at some moment, and tell which batches it said were committed.

    Without a batch to wait for it may be killed while it starts, opens the store or takes the slot.
    """
    with child(WRITER, url, name, str(first), str(BLOCKS), str(BLOCK_ROWS)) as writer:
        said = [writer.hear() for _ in range(dice.randint(at_least, 8))]
        time.sleep(dice.uniform(0, 0.02 if said else 0.3))
        writer.process.kill()
        said += writer.rest()
    return [int(line) for line in said]


@pytest.mark.chaos
@pytest.mark.parametrize("seed", [20260415])
async def test_no_acknowledged_batch_is_lost_to_kill_9_of_the_writer(
    kind: str, url: str, rounds: int | None, seed: int
) -> None:
    """SQLite never halves a batch; on MongoDB one without an answer may land in part, row by row."""
    dice, ledger, first = random.Random(seed), Ledger(), 0
    played = max(rounds or KILLS, 2)
    async with opened(url) as store:
        with closing(KINDS[kind].witness(url)) as witness:
            for kill in range(played):
                said = written_until_killed(url, f"run-{kill}", first, dice, at_least=0 if kill else 1)
                first += len(said)
                assert said == list(range(first - len(said), first))
                await displace(store, kill)
                ledger.acknowledged(said)
                late = ledger.check(witness.rows(), first)
                if kind == "sqlite":
                    assert len(late) in {0, BLOCK_ROWS}
                    check_integrity(url)
                await check_counters(store, witness, f"run-{kill}")
                first += 1
    print(f"no acknowledged row lost, kill -9 of the writer, {kind}: {played} rounds, 0 violations")


async def displace(store: Store, kill: int) -> None:
    """Take the slot as whoever comes next does; then the dead writer's run is closed."""
    fence, stats = await acquire(store, f"after-{kill}", force=True)
    await finish(store, fence, stats)


def check_integrity(url: str) -> None:
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


async def check_counters(store: Store, witness: Witness, run_id: str) -> None:
    """A displaced run counts exactly what the rows say."""
    marked = [row for row in witness.rows() if row["changed_run"] == run_id]
    created = sum(row["created_run"] == run_id for row in marked)
    run = await store.runs.get(run_id)
    if run is None:
        assert not marked, "it was killed before it had the slot"
        return
    assert run.reason is Reason.SUPERSEDED
    assert broken_invariants(run) == []
    assert (run.inserted, run.updated, run.unchanged) == (created, len(marked) - created, 0)


# --- kill -9 of the server


@pytest.mark.chaos
@pytest.mark.parametrize("seed", [20260415])
def test_no_acknowledged_row_is_lost_to_kill_9_of_a_standalone(
    tmp_path: Path, rounds: int | None, seed: int
) -> None:
    """A process writes and tries again by itself; the server is killed under it and started again."""
    dice, played = random.Random(seed), rounds or SERVER_KILLS
    with standalone(tmp_path / "one") as mongod:
        url = mongod.url("killed")
        arguments = (url, "run-0", "0", str(BLOCKS), str(BLOCK_ROWS))
        with child(WRITER, *arguments, patience=PATIENCE + 15 * played) as writer:
            said = writer.listen()
            for _ in range(played):
                await_more(said, dice.randint(1, 2 * BLOCKS), writer)
                time.sleep(dice.uniform(0, 0.05))
                mongod.kill()
                mongod.start()
                check_nothing_lost(url, list(said))
            await_more(said, 1, writer)
    print(f"no acknowledged row lost, kill -9 of a standalone: {played} rounds, 0 violations")


def await_more(said: Sequence[str], more: int, writer: Child) -> None:
    """Wait for so many more batches to be acknowledged."""
    enough, deadline = len(said) + more, time.monotonic() + PATIENCE
    while len(said) < enough:
        assert writer.process.poll() is None, "the writer gave up"
        assert time.monotonic() < deadline
        time.sleep(0.002)


def check_nothing_lost(url: str, said: Sequence[str]) -> None:
    """Every row holds the last acknowledged batch of its block, or a later one: the writer goes on."""
    acknowledged = {code: int(batch) for batch in said for code in codes_of(int(batch))}
    with MongoClient[dict[str, Any]](url) as client:
        rows = client.get_default_database()["stock_basic_info"].find()
        found = {row["code"]: batch_of(row) for row in rows}
    lost = {code: batch for code, batch in acknowledged.items() if found.get(code, -1) < batch}
    assert lost == {}
