"""A database that an older service has filled: taken over as it is, and nothing in it is misread."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.database import Database

from builders import measured
from contract.stores import LONG, NOTHING, acquire, at_step, finish
from mongod import MongoServers
from stocksync.domain.status import Job, Reason, SyncStatus
from stocksync.errors import StoreInvalid
from stocksync.ports import Store
from stocksync.simulator import Simulator
from stocksync.stores import open_store
from stocksync.stores.mongo import MongoStore
from support import SMALL, running_app

Old = Database[dict[str, Any]]


@pytest.fixture
def url(mongo: MongoServers) -> str:
    return mongo.replica_set()


@pytest.fixture
def old(url: str) -> Iterator[Old]:
    """The database before this service has ever seen it."""
    with MongoClient(url, tz_aware=True) as client:
        database = client.get_default_database()
        yield database
        client.drop_database(database.name)


@pytest.fixture
async def opened(old: Old) -> AsyncIterator[list[Store]]:
    """Collects what a test opens, and closes it."""
    stores: list[Store] = []
    assert old is not None
    yield stores
    for store in stores:
        await store.aclose()


async def take_over(url: str, opened: list[Store]) -> MongoStore:
    """Open it, and wait for what happens in the background."""
    store = await open_store(url)
    assert isinstance(store, MongoStore)
    opened.append(store)
    await store.indexing
    return store


def old_row(code: str = "600519", **fields: Any) -> dict[str, Any]:
    return {
        "code": code, "symbol": code, "name": "贵州茅台", "source": "tushare", "area": "贵州",
        "industry": "白酒", "market": "主板", "list_date": "20010827", "total_mv": 17_600.5, "pe": 20.1,
        "updated_at": datetime(2025, 1, 2, 3, 4, 5),  # noqa: DTZ001 - as older services did
        **fields,
    }  # fmt: skip


def names(old: Old, collection: str) -> set[str]:
    return {index["name"] for index in old[collection].list_indexes()}


async def test_an_index_under_another_name_is_accepted(url: str, old: Old, opened: list[Store]) -> None:
    old.stock_basic_info.create_index([("code", 1), ("source", 1)], name="uniq_code_source", unique=True)
    old.stock_basic_info.create_index([("industry", 1)], name="ix_industry")
    store = await take_over(url, opened)
    await store.stocks.ensure_writable()
    found = names(old, "stock_basic_info")
    assert not {"code_source_unique", "industry_index"} & found
    assert {"uniq_code_source", "ix_industry", "pe_index", "total_mv_desc"} <= found


async def test_a_plain_index_on_the_key_does_not_stand_for_the_unique_one(
    url: str, old: Old, opened: list[Store]
) -> None:
    old.stock_basic_info.create_index([("code", 1), ("source", 1)], name="code_1_source_1")
    store = await take_over(url, opened)
    await store.stocks.ensure_writable()
    unique = [index["name"] for index in old.stock_basic_info.list_indexes() if index.get("unique")]
    assert unique == ["code_source_unique"]


async def test_every_index_of_the_mission_is_made_by_its_name(
    url: str, old: Old, opened: list[Store]
) -> None:
    await take_over(url, opened)
    assert names(old, "stock_basic_info") == {
        "_id_", "code_source_unique", "code_index", "source_index", "name_index", "industry_index",
        "market_index", "total_mv_desc", "circ_mv_desc", "updated_at_desc", "pe_index", "pb_index",
        "turnover_rate_desc",
    }  # fmt: skip


async def test_a_run_over_duplicates_fails_naming_them_and_the_command_that_repairs(
    url: str, old: Old, simulator: Simulator, tmp_path: Any
) -> None:
    old.stock_basic_info.insert_many([old_row(), old_row(), old_row("000001")])
    async with running_app(simulator, tmp_path, store=url) as app:
        stats = await app.service.run_full_sync()
    assert (stats.status, stats.reason) == (SyncStatus.FAILED, Reason.ERROR)
    assert "600519/tushare" in (stats.message or "")
    assert "stocksync repair" in (stats.message or "")
    assert old.stock_basic_info.count_documents({}) == 3, "nothing was written"


async def test_another_index_under_the_name_of_the_unique_one_is_named_with_its_remedy(
    url: str, old: Old, opened: list[Store]
) -> None:
    old.stock_basic_info.create_index([("name", 1)], name="code_source_unique")
    store = await take_over(url, opened)
    with pytest.raises(StoreInvalid, match="stocksync repair"):
        await store.stocks.ensure_writable()


async def test_rows_without_a_source_can_be_duplicates_too(url: str, old: Old, opened: list[Store]) -> None:
    old.stock_basic_info.insert_many([{"code": "600519"}, {"code": "600519", "source": None}])
    store = await take_over(url, opened)
    with pytest.raises(StoreInvalid, match="600519"):
        await store.stocks.ensure_writable()


@pytest.mark.parametrize("key", ["data_type", "job"])
async def test_a_unique_index_on_sync_status_is_lived_with(
    url: str, old: Old, opened: list[Store], key: str
) -> None:
    old.sync_status.create_index([(key, 1)], name=f"{key}_1", unique=True)
    store = await take_over(url, opened)
    fence, stats = await acquire(store, "single", job=Job.SINGLE)
    single = await finish(store, fence, stats)
    fence, stats = await acquire(store, "multi")
    step = at_step(fence, stats, 5, total=0)
    await store.runs.advance(fence, step, NOTHING, ttl=LONG)
    assert await store.runs.latest(Job.SINGLE) == single
    assert await store.runs.latest(Job.MULTI) == step
    documents = list(old.sync_status.find())
    assert len(documents) == (1 if key == "data_type" else 2)
    assert max(documents, key=lambda each: each["revision"])["run_id"] == "multi"


async def test_how_an_older_service_left_a_job_is_told(url: str, old: Old, opened: list[Store]) -> None:
    old.sync_status.insert_one(
        {
            "job": "stock_basics_multi_source", "data_type": "stock_basics", "status": "success",
            "started_at": "2025-01-02T15:30:00", "finished_at": datetime(2025, 1, 2, 7, 31, tzinfo=UTC),
            "total": 5400, "inserted": 0, "updated": 5400.0, "errors": 0, "last_trade_date": "20250102",
            "data_sources_used": ["stock_list:tushare"], "source_stats": {"tushare": 5400}, "message": None,
        }
    )  # fmt: skip
    store = await take_over(url, opened)
    stats = await store.runs.latest(Job.MULTI)
    assert stats is not None
    assert (stats.status, stats.total, stats.updated) == (SyncStatus.SUCCESS, 5400, 5400)
    assert stats.started_at == datetime(2025, 1, 2, 7, 30, tzinfo=UTC), "naive is the market's time"
    assert 0 < stats.revision < 1_000_000
    assert await store.runs.latest(Job.SINGLE) is None
    fence, first = await acquire(store)
    assert first.revision > stats.revision
    await finish(store, fence, first)
    assert old.sync_status.count_documents({}) == 1, "its document goes on"


async def test_a_run_that_an_older_service_left_running_is_not_served_as_running(
    url: str, old: Old, simulator: Simulator, tmp_path: Any
) -> None:
    old.sync_status.insert_one({"job": "stock_basics_multi_source", "status": "running", "started_at": "坏"})
    async with running_app(simulator, tmp_path, store=url) as app:
        stats = await app.service.get_status()
        assert (stats.status, stats.reason) == (SyncStatus.FAILED, Reason.ERROR)
        assert (await app.service.run_full_sync()).status is SyncStatus.SUCCESS


async def test_an_older_row_is_brought_into_form_once(url: str, old: Old, opened: list[Store]) -> None:
    """Unknown metrics go, known ones stay with what nobody supplied this time, and nothing is inserted."""
    nan = float("nan")
    midnight = datetime(2001, 8, 26, 16, tzinfo=UTC)  # of Shanghai
    old.stock_basic_info.insert_one(
        old_row(list_date=midnight, pb=nan, ps=0.0, roe="31.5", circ_mv=None, updated_at="2025-01-02")
    )
    store = await take_over(url, opened)
    fence, _ = await acquire(store)
    fresh = measured("600519", pe=21.0)
    count = await store.stocks.upsert([fresh], fence)
    assert (count.inserted, count.changed) == (0, 1)
    (row,) = old.stock_basic_info.find()
    assert {name: row.get(name) for name in ("pe", "pb", "ps", "roe", "circ_mv", "total_mv")} == {
        "pe": 21.0, "pb": None, "ps": None, "roe": 31.5, "circ_mv": None, "total_mv": 17_600.5,
    }  # fmt: skip
    assert not {"pb", "ps", "circ_mv"} & set(row)
    assert (row["list_date"], row["full_symbol"]) == ("20010827", "600519.SH")
    assert datetime.now(UTC) - row["updated_at"] < timedelta(minutes=1)
    assert (await store.stocks.upsert([fresh], fence)).unchanged == 1
    assert await store.stocks.marks("run-1") == {"tushare": (0, 1)}


async def test_rows_that_are_no_a_shares_are_in_nobodys_way(
    url: str, old: Old, simulator: Simulator, tmp_path: Any
) -> None:
    strange = [
        old_row("900901"),
        old_row("sh600000"),
        {"code": 600000, "source": "tushare"},
        {"name": "无代码"},
    ]
    old.stock_basic_info.insert_many(strange)
    async with running_app(simulator, tmp_path, store=url) as app:
        stats = await app.service.run_full_sync()
        assert (stats.status, stats.total) == (SyncStatus.SUCCESS, SMALL)
    found = [row for row in old.stock_basic_info.find() if "_sync" not in row or "gone_run" in row["_sync"]]
    assert len(found) == len(strange), "they are left as they were"


async def test_a_unique_index_of_an_older_service_costs_the_rows_that_it_forbids_and_no_more(
    url: str, old: Old, opened: list[Store]
) -> None:
    old.stock_basic_info.create_index([("code", 1)], name="code_1", unique=True)
    old.stock_basic_info.insert_one(old_row(source="akshare"))
    store = await take_over(url, opened)
    fence, _ = await acquire(store)
    count = await store.stocks.upsert([measured("600519", pe=1.0), measured("600520", pe=1.0)], fence)
    assert (count.inserted, [reject.code for reject in count.rejects]) == (1, ["600519"])
    assert "code" in count.rejects[0].reason


async def test_records_of_an_older_service_can_be_read(url: str, old: Old, opened: list[Store]) -> None:
    old.operation_logs.insert_many(
        [
            {"action": "旧操作", "timestamp": "2025-01-02T15:30:00", "username": "admin", "extra": 1},
            {"created_at": datetime(2024, 1, 1, tzinfo=UTC)},
        ]
    )
    store = await take_over(url, opened)
    by_action = {log.action: log for log in await store.logs.search(limit=9)}
    assert by_action["旧操作"].timestamp == datetime(2025, 1, 2, 7, 30, tzinfo=UTC)
    assert by_action[""].timestamp == datetime(2024, 1, 1, tzinfo=UTC)


async def test_a_server_without_its_password_is_told_from_one_that_is_away(url: str) -> None:
    with pytest.raises(StoreInvalid) as caught:
        await open_store(url.replace("mongodb://", "mongodb://user:geheim@"))
    assert "geheim" not in str(caught.value)
