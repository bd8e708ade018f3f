"""What arrives after its time: a write of a run that has ended, a run that was closed, an unreadable note."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.database import Database

from builders import NOON, a_run, measured
from contract.stores import LONG, NOTHING, acquire, at_step, finish
from mongod import MongoServers
from stocksync.domain.status import Job, Reason, SyncStatus
from stocksync.errors import LeaseLost
from stocksync.ports import UpsertCount
from stocksync.stores.mongo import MongoStore, open_mongo


@pytest.fixture
def url(mongo: MongoServers) -> str:
    return mongo.replica_set()


@pytest.fixture
async def store(url: str) -> AsyncIterator[MongoStore]:
    opened = await open_mongo(url, backoff=0.1)
    await opened.stocks.ensure_writable()
    yield opened
    await opened.aclose()


@pytest.fixture
def database(url: str, store: MongoStore) -> Iterator[Database[dict[str, Any]]]:
    assert store
    with MongoClient(url, tz_aware=True) as client:
        yield client.get_default_database()


@pytest.mark.parametrize("reason", [Reason.STORE_UNAVAILABLE, Reason.CANCELLED])
async def test_a_write_that_arrives_after_an_uncertain_end_changes_nothing(
    store: MongoStore, monkeypatch: pytest.MonkeyPatch, reason: Reason
) -> None:
    """Whoever ends because the database is away may have left a command on its way to it."""
    fence, stats = await acquire(store, "run-0")
    good = measured("600519", pe=10.0)
    await store.stocks.upsert([good], fence)
    await finish(store, fence, stats)
    late, stats = await acquire(store, "run-1")
    ended = await finish(store, late, stats, reason=reason)
    assert (await store.runs.get("run-1") or stats).revision > ended.revision, "closed under a later token"
    fence, stats = await acquire(store, "run-2")
    assert await store.stocks.upsert([good], fence) == UpsertCount(unchanged=1)

    async def passed(*_: object) -> int:
        return 0  # the check was before the end

    with monkeypatch.context() as patch:
        patch.setattr(type(store.stocks._lease), "check", passed)
        refused = await store.stocks.upsert([replace(good, name="迟到")], late)
    assert len(refused.rejects) == 1
    assert await store.stocks.get("600519", "tushare") == good
    assert await store.stocks.marks("run-1") == {}


async def test_a_run_that_has_ended_never_comes_back(store: MongoStore) -> None:
    fence, stats = await acquire(store, "run-1")
    await finish(store, fence, stats, reason=Reason.ERROR)
    again, stats = await acquire(store, "run-1", owner="again")
    stored = await store.runs.get("run-1")
    assert stored is not None
    assert stored.final
    with pytest.raises(LeaseLost):
        await store.runs.advance(again, at_step(again, stats, 5), NOTHING, ttl=LONG)


async def test_a_note_that_another_version_wrote_does_not_keep_the_slot(
    store: MongoStore, database: Database[dict[str, Any]]
) -> None:
    fence, _ = await acquire(store, "run-1")
    changed = {"$set": {"run.status": "paused", "run.attempts": [{"unknown": 1}]}}
    database.sync_lease.update_one({}, changed)
    await acquire(store, "run-2", force=True)
    closed = await store.runs.get("run-1")
    assert closed is not None
    assert (closed.status, closed.reason) == (SyncStatus.FAILED, Reason.SUPERSEDED)
    assert (database.sync_lease.find_one() or {})["unclosed"] == []
    assert fence.token == 1


async def test_a_run_that_somebody_cancelled_is_closed_as_cancelled_also_by_a_rescue(
    store: MongoStore,
) -> None:
    fence, stats = await acquire(store, "run-1")
    assert await store.runs.request_cancel("run-1")
    await store.runs.advance(fence, at_step(fence, stats, 2), NOTHING, ttl=LONG)
    await acquire(store, "run-2", force=True)
    closed = await store.runs.get("run-1")
    assert closed is not None
    assert closed.reason is Reason.CANCELLED, "or a server would resume it"


async def test_rows_whose_inner_part_is_no_object_are_in_nobodys_way(
    store: MongoStore, database: Database[dict[str, Any]]
) -> None:
    odd = [{"code": "600001", "source": "tushare", "_sync": value} for value in (None, "旧")]
    odd[1]["code"] = "600002"
    database.stock_basic_info.insert_many([*odd, {"code": ["600003"], "source": "tushare"}])
    await acquire(store, "run-1")
    fence, _ = await acquire(store, "run-2", force=True)
    count = await store.stocks.upsert([measured("600001", pe=1.0), measured("600009", pe=1.0)], fence)
    assert (count.inserted, [reject.code for reject in count.rejects]) == (1, ["600001"])
    assert sum((await store.stocks.listed_counts("tushare")).values()) == 3
    assert await store.runs.newest() == (await store.runs.latest(Job.MULTI) or a_run(at=NOON)).revision
