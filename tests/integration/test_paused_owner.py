"""An owner that is stopped while it writes, displaced, and let go on: nothing of what it does then stays."""

import asyncio
import os
import random
import signal
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from pymongo import MongoClient

from builders import ALL_EXCHANGES
from contract.stores import KINDS, LONG, NOTHING, Witness, acquire, at_step, finish
from integration.children import OWNER, PATIENCE, Child, child
from mongod import MongoServers
from stocksync.domain.status import Reason, SourceCount, broken_invariants
from stocksync.domain.stock import StockBasic
from stocksync.errors import RunInProgress
from stocksync.ports import Store, UpsertCount
from stocksync.stores import open_store

MONGO_KINDS: Final = [kind for kind in sorted(KINDS) if kind.startswith("mongodb")]
ROUNDS: Final = 2
BATCH: Final = 100
CODES: Final = tuple(f"600{n:03}" for n in range(800))
SHORT: Final = timedelta(seconds=0.2)


def measured(code: str, name: str, pe: float) -> StockBasic:
    return StockBasic(
        code=code, source="tushare", name=name, market="main", trade_date="20260415",
        figures={"pe": pe}, field_sources={"pe": "tushare:20260415"},
    )  # fmt: skip


# What becomes of a stock goes by its code. The even ones are stored before, the odd ones exist nowhere yet.
BEFORE: Final = [measured(code, "before", 1.0) for code in CODES[::2]]
KEPT: Final = [measured(code, "before", 1.0) for code in CODES[::8]]
CHANGED: Final = [measured(code, "new", 7.0) for code in CODES[2::8]]
RETIRED: Final = CODES[4::8]
RENUMBERED: Final = CODES[6::8]
INSERTED: Final = [measured(code, "new", 7.0) for code in CODES[1::8]]
AGREED: Final = [measured(code, "both", 7.0) for code in CODES[3::4]]
"""The old owner inserts the same: that one of these is found unchanged must not cost the row."""
NEVER_LISTED: Final = CODES[5::8]
DECIDED: Final = sorted([*KEPT, *CHANGED, *INSERTED, *AGREED], key=lambda stock: stock.code)


@pytest.fixture(params=sorted(KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def url(kind: str, tmp_path: Path, mongo: MongoServers) -> str:
    return KINDS[kind].new_url(tmp_path, mongo)


@pytest.mark.chaos
@pytest.mark.parametrize("moment", ["afterwards", "meanwhile", "never paused"])
async def test_a_displaced_owner_that_goes_on_leaves_no_row_behind(
    kind: str, url: str, rounds: int | None, moment: str
) -> None:
    """It goes on after the new owner is done, or in the middle of his work, or was not even paused.

    Every other round takes the slot by force, the others wait for the lease.
    """
    played, stale = rounds or ROUNDS, list[str]()
    dice = random.Random(f"{kind} {moment}")
    store = await open_store(url)
    await store.stocks.ensure_writable()
    with (
        child(OWNER, url, *CODES, patience=PATIENCE + 5 * played) as owner,
        closing(KINDS[kind].witness(url)) as witness,
    ):
        assert owner.hear() == "ready"
        for number in range(played):
            await store_what_was_before(store, url, number)
            forced = bool(number % 2) or moment == "never paused"
            owner.tell(f"{number} {(LONG if forced else SHORT).total_seconds()}")
            assert await asyncio.to_thread(owner.hear) == "owns"
            new = Successor(store, number, forced=forced)
            await PLAYS[moment](owner, url, new, dice)
            assert await asyncio.to_thread(owner.hear) == "lost"
            stale += [f"round {number}: {fault}" for fault in await new.faults(witness)]
    await store.aclose()
    print(f"no stale row of a displaced owner, {moment}, {kind}: {played} rounds, {len(stale)} violations")
    assert not stale, "\n".join(stale)


# --- the moments between two commands, one by one


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    opened = await open_store(url)
    await opened.stocks.ensure_writable()
    yield opened
    await opened.aclose()


async def test_who_ended_his_run_himself_takes_nothing_back(store: Store) -> None:
    """The answer to his last step was lost, so he thinks that he was displaced; and the next run began."""
    fence, stats = await acquire(store, "run-1")
    await store.stocks.upsert(BEFORE, fence)
    await finish(store, fence, stats)
    await store.stocks.retract(fence)
    assert await store.stocks.count() == len(BEFORE)
    await acquire(store, "run-2")
    await store.stocks.retract(fence)
    assert await store.stocks.count() == len(BEFORE)


@pytest.mark.parametrize("kind", MONGO_KINDS)
@pytest.mark.usefixtures("kind")
async def test_a_row_that_was_inserted_too_late_does_not_exist_for_the_next_owner(
    url: str, store: Store
) -> None:
    """Neither is it found unchanged, nor do its figures stay, and it is not counted for the displaced run."""
    old, stats = await acquire(store, "old")
    listed = {"tushare": SourceCount(total=9)}
    await store.runs.advance(old, at_step(old, stats, 2, total=9, source_stats=listed), NOTHING, ttl=LONG)
    rightful, late, other = AGREED[:3]
    await store.stocks.upsert([rightful], old)
    with sealing(store, then=lambda: insert_too_late(url, rightful.code, late.code, other.code)):
        new, _ = await acquire(store, "new", force=True)
    ended = await store.runs.get("old")
    assert ended is not None
    assert ended.inserted == 1
    wanted = replace(other, figures={"pb": 2.0}, field_sources={})
    count = await store.stocks.upsert([rightful, late, wanted], new)
    assert (count.inserted, count.changed, count.unchanged) == (2, 0, 1)
    await store.stocks.retract(old)
    assert await store.stocks.get(late.code, "tushare") == late
    assert await store.stocks.get(other.code, "tushare") == wanted
    assert await store.stocks.marks("new") == {"tushare": (2, 0)}


@pytest.mark.parametrize("kind", MONGO_KINDS)
@pytest.mark.usefixtures("kind")
async def test_who_takes_back_waits_until_his_late_rows_can_be_told_from_the_good_ones(
    url: str, store: Store
) -> None:
    old, _ = await acquire(store, "old")
    rightful, late = AGREED[:2]
    await store.stocks.upsert([rightful], old)
    go_on = asyncio.Event()
    with sealing(store, after=go_on, then=lambda: insert_too_late(url, rightful.code, late.code)):
        taking_over = asyncio.create_task(acquire(store, "new", force=True))
        await asyncio.sleep(0.2)
        taking_back = asyncio.create_task(store.stocks.retract(old))
        await asyncio.sleep(0.5)
        assert not taking_back.done()
        go_on.set()
        await asyncio.gather(taking_over, taking_back)
    assert await store.stocks.get(rightful.code, "tushare") == rightful
    assert await store.stocks.get(late.code, "tushare") is None


@contextmanager
def sealing(store: Store, *, after: asyncio.Event | None = None, then: Callable[[], None]) -> Iterator[None]:
    """Let the rows be sealed only after something, and let something happen at once when they are."""
    stocks: Any = store.stocks
    seal = stocks.seal

    async def seal_between(token: int) -> None:
        if after is not None:
            await after.wait()
        await seal(token)
        then()

    stocks.seal = seal_between
    yield
    stocks.seal = seal


def insert_too_late(url: str, rightful: str, *codes: str) -> None:
    """Leave behind what an owner does who was stopped between asking whether he may write and writing."""
    with MongoClient[dict[str, Any]](url) as client:
        stocks = client.get_default_database()["stock_basic_info"]
        document = stocks.find_one({"code": rightful}, {"_id": 0})
        assert document
        document["_sync"]["fence"] -= 1  # as it was before it was sealed
        stocks.insert_many([{**document, "code": code, "symbol": code} for code in codes])


# --- how the old owner and the new one meet


async def new_one_first(owner: Child, url: str, new: "Successor", dice: random.Random) -> None:
    stop_somewhere(owner, url, dice)
    await new.take_over()
    await new.decide()
    owner.process.send_signal(signal.SIGCONT)


async def both_at_once(owner: Child, url: str, new: "Successor", dice: random.Random) -> None:
    stop_somewhere(owner, url, dice)
    await new.wait_for_the_slot()
    awake = asyncio.get_running_loop().call_later(
        dice.uniform(0, 0.1), owner.process.send_signal, signal.SIGCONT
    )
    await new.take_over()
    await new.decide()
    await asyncio.sleep(max(0.0, awake.when() - asyncio.get_running_loop().time()))


async def without_a_pause(_owner: Child, _url: str, new: "Successor", dice: random.Random) -> None:
    await asyncio.sleep(dice.uniform(0, 0.15))
    await new.take_over()
    await new.decide()


PLAYS: Final = {"afterwards": new_one_first, "meanwhile": both_at_once, "never paused": without_a_pause}


def stop_somewhere(owner: Child, url: str, dice: random.Random) -> None:
    """Stop the process at a random moment; on SQLite not inside of a transaction, which locks the file."""
    deadline = time.monotonic() + PATIENCE
    while True:
        time.sleep(dice.uniform(0, 0.15))
        owner.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, owner.process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        if not is_locked(url):
            return
        assert time.monotonic() < deadline
        owner.process.send_signal(signal.SIGCONT)


def is_locked(url: str) -> bool:
    if not url.startswith("sqlite"):
        return False
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None, timeout=0)) as db:
        try:
            db.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return True
        db.execute("ROLLBACK")
        return False


# --- what is there before, and what the new owner decides


async def store_what_was_before(store: Store, url: str, number: int) -> None:
    wipe(url)
    fence, stats = await acquire(store, f"before-{number}")
    await store.stocks.upsert(BEFORE, fence)
    await finish(store, fence, stats)


def wipe(url: str) -> None:
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"), timeout=PATIENCE)) as db, db:
            db.execute("DELETE FROM stock_basic_info")
        return
    with MongoClient[dict[str, Any]](url) as client:
        client.get_default_database()["stock_basic_info"].delete_many({})


class Successor:
    """Takes the slot from the old owner and brings the stocks to what it knows."""

    def __init__(self, store: Store, number: int, *, forced: bool) -> None:
        self.store = store
        self.old, self.name = f"old-{number}", f"new-{number}"
        self.forced = forced
        self.counts: list[UpsertCount] = []

    async def wait_for_the_slot(self) -> None:
        while not self.forced and await self.store.runs.overdue() is None:  # noqa: ASYNC110 - it is polled
            await asyncio.sleep(0.01)

    async def take_over(self) -> None:
        await self.wait_for_the_slot()
        try:
            await self.acquire()
        except RunInProgress:  # the old owner woke up and renewed in between
            self.forced = True
            await self.acquire()

    async def acquire(self) -> None:
        now = datetime.now(UTC)
        self.fence, self.stats = await acquire(self.store, self.name, force=self.forced, at=now)

    async def decide(self) -> None:
        """Write, reconcile and finish, as a sync does."""
        for start in range(0, len(DECIDED), BATCH):
            batch = DECIDED[start : start + BATCH]
            self.counts.append(await self.store.stocks.upsert(batch, self.fence))
        listed = frozenset(stock.code for stock in DECIDED)
        absent = {ref.code for ref in await self.store.stocks.absent("tushare", ALL_EXCHANGES, listed)}
        await self.store.stocks.retire(
            "tushare",
            gone=sorted(absent - {*RENUMBERED}),
            renumbered=sorted(absent & {*RENUMBERED}),
            fence=self.fence,
        )
        await finish(self.store, self.fence, self.stats)

    async def faults(self, witness: Witness) -> list[str]:
        """What stands otherwise than this owner decided, or is counted otherwise."""
        rows = {str(row["code"]): row for row in witness.rows()}
        return [
            *misplaced(rows),
            *self.miscounted(list(rows.values())),
            *await self.old_end(),
        ]

    def miscounted(self, rows: Sequence[Mapping[str, Any]]) -> list[str]:
        mine = [row for row in rows if row["changed_run"] == self.name]
        created = sum(row["created_run"] == self.name for row in mine)
        inserted = sum(count.inserted for count in self.counts)
        changed = sum(count.changed for count in self.counts)
        faults = [f"rejected: {reject}" for count in self.counts for reject in count.rejects]
        if (inserted, changed) != (created, len(mine) - created):
            faults.append(f"counted {inserted} + {changed}, but there are {created} + {len(mine) - created}")
        return faults

    async def old_end(self) -> list[str]:
        ended = await self.store.runs.get(self.old)
        reason = Reason.SUPERSEDED if self.forced else Reason.INTERRUPTED
        if ended is None or ended.reason is not reason or broken_invariants(ended):
            return [f"the old run ended like this: {ended}"]
        return []


def misplaced(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    wrong = {stock.code for stock in DECIDED if not holds(rows, stock)}
    wrong |= {code for code in RENUMBERED if code in rows}
    wrong |= {code for code in RETIRED if not gone(rows, code)}
    wrong |= {code for code in NEVER_LISTED if code in rows and not gone(rows, code)}
    return [f"{code} is {shown(rows.get(code))}" for code in sorted(wrong)]


def holds(rows: Mapping[str, Mapping[str, Any]], stock: StockBasic) -> bool:
    row = rows.get(stock.code)
    if row is None or row["gone_run"] is not None:
        return False
    return (row["name"], row["pe"]) == (stock.name, stock.figures["pe"])


def gone(rows: Mapping[str, Mapping[str, Any]], code: str) -> bool:
    return code in rows and rows[code]["gone_run"] is not None


def shown(row: Mapping[str, Any] | None) -> str:
    names = ("name", "pe", "fence", "created_run", "changed_run", "gone_run")
    return "missing" if row is None else str({name: row[name] for name in names})
