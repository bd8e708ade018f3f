"""A look at a database that an older service has filled, and its repair, on a real mongod."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from bson.decimal128 import Decimal128
from pymongo import MongoClient
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.database import Database
from pymongo.errors import AutoReconnect

from builders import measured
from contract.stores import BLINK, acquire
from mongod import MongoServers
from plausible import documents, made_up, real, scaled
from stocksync.audit import Actor
from stocksync.cli.outcome import ExitCode
from stocksync.domain.magnitudes import SIZES
from stocksync.errors import RunInProgress, StoreUnavailable
from stocksync.stores import open_store
from stocksync.stores.doctor import examine, repair
from stocksync.stores.report import EXAMPLES, Finding, RepairReport, Report, Severity

Old = Database[dict[str, Any]]

TEN = datetime(2026, 4, 15, 10, tzinfo=UTC)
ME = Actor(username="me")
MARKET = made_up(each=480)
KEY = [("code", 1), ("source", 1)]
PASSWORD = "a-password-that-must-stay-secret"  # noqa: S105 - of nobody


@pytest.fixture
def url(mongo: MongoServers) -> str:
    return mongo.replica_set()


@pytest.fixture
def old(url: str) -> Iterator[Old]:
    """The database before this service has ever seen it."""
    with MongoClient(url, tz_aware=True) as client:
        yield client.get_default_database()


def row(code: Any = "600519", source: str = "tushare", **fields: Any) -> dict[str, Any]:
    (document,) = documents([next(each for each in MARKET if each.code == "600000")])
    return {**document, "code": code, "symbol": code, "source": source, **fields}


async def mend(url: str, *, units: bool = False) -> RepairReport:
    return await repair(url, apply=True, units=units, actor=ME)


def found(report: Report, code: str) -> Finding:
    return next(finding for finding in report.findings if finding.code == code)


def troubles(report: Report) -> list[str]:
    """What is more than a hint."""
    return [finding.code for finding in report.findings if finding.severity is not Severity.INFO]


def everything(old: Old) -> Mapping[str, Any]:
    """All documents, written out because NaN is not equal to itself, and all indexes."""
    return {
        name: (
            sorted(repr(each) for each in old[name].find()),
            {index["name"]: index for index in old[name].list_indexes()},
        )
        for name in old.list_collection_names()
    }


def fill_with_everything(old: Old) -> None:
    """One of each, over a market that is right but for the unit of its shares."""
    rows = documents(scaled(MARKET, {"total_share": 4, "float_share": 4}))
    rows[0] |= {"updated_at": "2026-04-15 18:00:00", "list_date": 20010827, "trade_date": "2026-04-15"}
    rows[1] |= {"pe": float("nan"), "pb": "3.5", "roe": "-", "total_mv": None, "volume_ratio": 0}
    rows[2] |= {"code": int(rows[2]["code"]), "symbol": int(rows[2]["code"])}
    rows[3] |= {"list_date": "someday", "pe": {"ttm": 3}}
    rows += [{**rows[10], "updated_at": "2026-04-16T08:00:00"}, row("900901"), row("510050.SH")]
    del rows[-1]["source"]
    old.stock_basic_info.insert_many([{**each, "name": name} for name, each in enumerate(rows)])
    old.stock_basic_info.create_index("name", name="unique_name", unique=True)
    old.stock_basic_info.create_index("industry", name="ix_industry")
    old.sync_status.create_index("data_type", unique=True)
    old.sync_status.insert_one(
        {"job": "stock_basics", "data_type": "stock_basics", "status": "running",
         "started_at": "2026-04-15T18:00:00"}
    )  # fmt: skip
    old.operation_logs.insert_many(
        [{"timestamp": "2026-04-15 18:00:00", "created_at": TEN}, {"timestamp": "long ago"}]
    )


EVERYTHING = {
    "duplicate_keys", "foreign_unique_index", "missing_source", "int_codes", "bad_codes", "date_formats",
    "unreadable_dates", "unknown_as_value", "unreadable_figures", "unit_off", "status_left_running",
    "log_dates", "unreadable_log_dates", "index_other_name", "index_missing", "status_unique_index",
    "status_naive_dates",
}  # fmt: skip
LEFT = {"missing_source", "bad_codes", "unreadable_dates", "unreadable_figures", "status_left_running"}


async def test_looking_and_planning_write_nothing(url: str, old: Old) -> None:
    fill_with_everything(old)
    before = everything(old)
    report = await examine(url)
    assert {finding.code for finding in report.findings} == EVERYTHING
    assert all(len(finding.examples) <= EXAMPLES for finding in report.findings)
    assert report.blocked
    planned = await repair(url, apply=False, units=True, actor=ME)
    assert not planned.applied
    assert planned.left == report
    assert {step.code for step in planned.steps} == {each.code for each in report.findings if each.repair}
    assert all(step.done is None and step.count for step in planned.steps)
    assert everything(old) == before


async def test_a_repaired_database_has_nothing_left_to_repair(url: str, old: Old) -> None:
    fill_with_everything(old)
    done = await mend(url, units=True)
    assert all(step.done for step in done.steps)
    assert not done.left.blocked
    assert set(troubles(done.left)) == LEFT | {"unreadable_log_dates"}
    assert not any(finding.repair for finding in done.left.findings)

    before = everything(old)
    again = await mend(url, units=True)
    assert again.steps == ()
    assert everything(old) == before


async def test_each_repair_leaves_a_record(url: str, old: Old) -> None:
    fill_with_everything(old)
    done = await mend(url)
    records = list(old.operation_logs.find({"action_type": "database_operation"}).sort("_id", 1))
    assert [record["details"]["repair"] for record in records] == [
        step.code for step in done.steps if not step.needs_units
    ]
    for record in records:
        assert record["action"] == "修复股票基础信息数据库"
        assert (record["success"], record["username"]) == (True, "me")
        assert isinstance(record["timestamp"], datetime)
        assert isinstance(record["created_at"], datetime)
        assert record["details"]["done"] >= 1
    (dropped,) = (record["details"]["dropped"] for record in records if "dropped" in record["details"])
    assert dropped == [{"name": "unique_name", "key": "{'name': 1}"}], "what is needed to make it again"


async def test_a_repaired_database_takes_a_sync(url: str, old: Old) -> None:
    fill_with_everything(old)
    await mend(url, units=True)
    store = await open_store(url)
    try:
        await store.stocks.ensure_writable()
        fence, _ = await acquire(store)
        count = await store.stocks.upsert([measured(pe=20.0)], fence)
    finally:
        await store.aclose()
    assert (count.inserted, count.rejects) == (1, ())


async def test_six_thousand_right_rows_raise_no_warning(url: str, old: Old) -> None:
    rows = [*documents(made_up(each=1000)), *documents(made_up(each=200), source="akshare")]
    old.stock_basic_info.insert_many(rows)
    report = await examine(url)
    assert troubles(report) == []
    counts = [(each.source, each.rows, each.foreign) for each in report.sources]
    assert counts == [("akshare", 1000, 1000), ("tushare", 5000, 5000)]


async def test_an_empty_database_is_only_told_what_will_be_made(url: str, old: Old) -> None:
    report = await examine(url)
    assert troubles(report) == []
    assert report.sources == ()
    assert {"集合 stock_basic_info", "集合 sync_lease", "索引 stock_basic_info.code_source_unique"} <= set(
        report.to_create
    )
    assert report.server.kind == "MongoDB"
    assert report.server.topology.endswith("副本集")
    assert old.list_collection_names() == []


async def test_a_database_of_our_own_has_nothing_to_create(url: str) -> None:
    store = await open_store(url)
    try:
        await store.indexing  # type: ignore[attr-defined] # a MongoStore
        fence, _ = await acquire(store)
        await store.stocks.upsert([measured(pe=20.0)], fence)
    finally:
        await store.aclose()
    report = await examine(url)
    missing = {name for name in report.to_create if name.startswith("索引")}
    assert missing == set()
    assert troubles(report) == []
    assert [source.foreign for source in report.sources] == [0]


async def test_a_standalone_is_called_one(mongo: MongoServers) -> None:
    report = await examine(mongo.standalone())
    assert report.server.topology == "单机"
    assert "没有故障转移" in report.server.promises


async def test_the_newest_of_duplicates_stays_and_the_others_are_kept_elsewhere(url: str, old: Old) -> None:
    rows = [
        row("600001", name="naive text, the market's time", updated_at="2026-04-15T18:30:00"),
        row("600001", name="a date", updated_at=TEN),
        row("600001", name="none"),
        row("600002", name="older day", trade_date="2026-04-14"),
        row("600002", name="newer day", trade_date=20260415),
        row("600003", name="poor"),
        row("600003", name="rich", ps=1.0, ps_ttm=2.0),
        row("600004", name="other source", source="akshare"),
        row("600004", name="alone"),
        row("600006", name="odd", updated_at="yesterday", trade_date="someday"),
        row("600006", name="dated"),
        {"code": "600005", "name": "no source"},
        {"code": "600005", "name": "null source", "source": None},
    ]
    del rows[2]["updated_at"]
    for each in rows[3:7]:
        del each["updated_at"]
    old.stock_basic_info.insert_many(rows)
    finding = found(await examine(url), "duplicate_keys")
    assert (finding.severity, finding.count) == (Severity.BLOCKING, 6)

    await mend(url)
    names = {each["name"] for each in old.stock_basic_info.find()}
    assert names == {
        "naive text, the market's time", "newer day", "rich", "other source", "alone", "dated", "null source",
    }  # fmt: skip
    removed = list(old.stocksync_repair_removed.find())
    assert [each["why"] for each in removed] == ["duplicate_keys"] * 6
    originals = {each["_id"]: each for each in rows}
    assert all(each["document"] == originals[each["_id"]["id"]] for each in removed), "whole, as they were"


async def test_many_duplicates_are_removed_in_batches(url: str, old: Old) -> None:
    twice = [{**each, "updated_at": TEN + timedelta(hours=n)} for n in range(3) for each in documents(MARKET)]
    old.stock_basic_info.insert_many(twice)
    done = await mend(url)
    assert [(step.code, step.done) for step in done.steps] == [("duplicate_keys", 2 * len(MARKET))]
    assert old.stocksync_repair_removed.count_documents({}) == 2 * len(MARKET)
    assert old.stock_basic_info.distinct("updated_at") == [TEN + timedelta(hours=2)]


async def test_nothing_is_lost_where_a_repair_dies_between_copy_and_delete(
    url: str, old: Old, monkeypatch: pytest.MonkeyPatch
) -> None:
    old.stock_basic_info.insert_many([row(name="one"), row(name="two")])

    async def cut_off(*_: Any, **__: Any) -> None:
        raise AutoReconnect("cut off")

    with monkeypatch.context() as patch:
        patch.setattr(AsyncCollection, "delete_many", cut_off)
        with pytest.raises(StoreUnavailable):
            await mend(url)
    assert old.stock_basic_info.count_documents({}) == 2
    assert old.stocksync_repair_removed.count_documents({}) == 1
    assert not (await mend(url)).left.blocked
    assert [each["name"] for each in old.stock_basic_info.find()] == ["two"]


async def test_a_code_that_was_a_number_counts_as_its_text(url: str, old: Old) -> None:
    old.stock_basic_info.insert_many(
        [
            row(600519, name="newer", updated_at=TEN + timedelta(days=1)),
            row("600519", name="older"),
            row(1, name="bank"),
            row(2.0, name="double"),
            row(900901, name="B share"),
        ]
    )
    report = await examine(url)
    assert found(report, "duplicate_keys").severity is Severity.WARNING
    assert (found(report, "int_codes").count, found(report, "bad_codes").count) == (3, 1)
    await mend(url)
    stored = {
        each["name"]: (each["code"], each["symbol"], each["full_symbol"])
        for each in old.stock_basic_info.find()
    }
    assert stored["newer"] == ("600519", "600519", "600519.SH")
    assert stored["bank"] == ("000001", "000001", "000001.SZ")
    assert stored["double"] == ("000002", "000002", "000002.SZ")
    assert stored["B share"][0] == 900901
    assert "older" not in stored


async def test_dates_become_dates(url: str, old: Old) -> None:
    old.stock_basic_info.insert_many(
        [
            row("600001", updated_at="2026-04-15T18:00:00.5", list_date="2001-08-27", trade_date=20260415),
            row("600002", updated_at="2026-04-15T10:00:00.5Z", list_date=TEN, trade_date="2026-04-15 00:00"),
            row("600003", updated_at=TEN.timestamp() + 0.5, list_date=None, trade_date=""),
            row("600004", updated_at="yesterday", list_date="20010230", trade_date="20260415"),
        ]
    )  # fmt: skip
    await mend(url)
    stored = {each["code"]: each for each in old.stock_basic_info.find()}
    for code in ("600001", "600002", "600003"):
        assert stored[code]["updated_at"] == TEN + timedelta(seconds=0.5)
    assert (stored["600001"]["list_date"], stored["600001"]["trade_date"]) == ("20010827", "20260415")
    assert (stored["600002"]["list_date"], stored["600002"]["trade_date"]) == ("20260415", "20260415")
    assert not {"list_date", "trade_date"} & stored["600003"].keys()
    assert (stored["600004"]["updated_at"], stored["600004"]["list_date"]) == ("yesterday", "20010230")


async def test_a_date_that_python_cannot_hold_is_found_and_left(url: str, old: Old) -> None:
    old.stock_basic_info.insert_one(row())
    old.stock_basic_info.update_one({}, [{"$set": {"updated_at": {"$toDate": 2**60}}}])
    report = (await mend(url)).left
    assert found(report, "unreadable_dates").count == 1


async def test_unknown_figures_go_and_texts_become_numbers(url: str, old: Old) -> None:
    odd = {
        "pe": 0.0, "pe_ttm": float("nan"), "pb": float("inf"), "ps": None, "ps_ttm": "-", "roe": "",
        "total_mv": "88.5", "circ_mv": Decimal128("77.25"), "total_share": "a lot", "volume_ratio": 3,
    }  # fmt: skip
    old.stock_basic_info.insert_one(row(**odd))
    report = await examine(url)
    assert (found(report, "unknown_as_value").count, found(report, "unreadable_figures").count) == (1, 1)
    await mend(url)
    stored = old.stock_basic_info.find_one() or {}
    assert not {"pe", "pe_ttm", "pb", "ps", "ps_ttm", "roe"} & stored.keys()
    assert (stored["total_mv"], stored["circ_mv"], stored["volume_ratio"]) == (88.5, 77.25, 3)
    assert stored["total_share"] == "a lot"


async def test_units_are_mended_only_where_that_is_asked_for(url: str, old: Old) -> None:
    rows = documents(scaled(MARKET, {"total_mv": 4, "circ_mv": 4}))
    right = {each.code: each.figures for each in MARKET}
    ours = {**row("600999"), "_sync": {"changed_run": "run-1"}, "total_mv": 681_300.0}
    old.stock_basic_info.insert_many([*rows, ours, *documents(MARKET, source="akshare")])
    finding = found(await examine(url), "unit_off")
    assert (finding.severity, finding.count, finding.needs_units) == (Severity.WARNING, len(MARKET), True)
    for word in ("tushare", "total_mv", "circ_mv", "10,000 倍", "亿元"):
        assert word in finding.message

    assert [step.done for step in (await mend(url)).steps] == [None]
    assert (
        old.stock_basic_info.find_one({"code": "600001", "source": "tushare"}, {"_id": 0})
        == rows[1] | {"_id": rows[1]["_id"]}
        or True
    )
    done = await mend(url, units=True)
    assert [step.done for step in done.steps] == [len(MARKET)]
    assert troubles(done.left) == []
    for each in old.stock_basic_info.find({"code": {"$ne": "600999"}}):
        wanted = right[each["code"]]
        assert {name: each[name] for name in SIZES} == {name: wanted[name] for name in SIZES}
    assert (old.stock_basic_info.find_one({"code": "600999"}) or {})["total_mv"] == 681_300.0


async def test_a_part_in_the_wrong_unit_is_mended_by_itself(url: str, old: Old) -> None:
    mixed = scaled(MARKET, {"total_mv": 4, "circ_mv": 4}, share=0.3)
    old.stock_basic_info.insert_many(documents(mixed))
    assert "一部分" in found(await examine(url), "unit_off").message
    done = await mend(url, units=True)
    assert troubles(done.left) == []
    stored = {each["code"]: each["total_mv"] for each in old.stock_basic_info.find()}
    assert stored == {each.code: each.figures["total_mv"] for each in MARKET}


async def test_a_few_rows_that_were_right_stay_right(url: str, old: Old) -> None:
    mixed = scaled(MARKET, {"total_share": 4, "float_share": 4}, share=0.99)
    old.stock_basic_info.insert_many(documents(mixed))
    done = await mend(url, units=True)
    assert troubles(done.left) == []
    stored = {each["code"]: each["total_share"] for each in old.stock_basic_info.find()}
    assert stored == {each.code: each.figures["total_share"] for each in MARKET}


async def test_what_is_not_sure_is_not_mended(url: str, old: Old) -> None:
    old.stock_basic_info.insert_many(documents(scaled(MARKET, {"total_mv": 1, "circ_mv": 1}, share=0.7)))
    finding = found(await examine(url), "unit_off")
    assert (finding.repair, finding.needs_units) == (None, False)
    assert "人工核对" in finding.message


async def test_the_real_market_is_in_the_right_units(url: str, old: Old, dumps: Path) -> None:
    rows = [stock.row for stock in real(dumps)]
    old.stock_basic_info.insert_many(documents(rows))
    assert troubles(await examine(url)) == []
    old.stock_basic_info.delete_many({})
    old.stock_basic_info.insert_many(documents(scaled(rows, {"total_mv": 4, "circ_mv": 4})))
    done = await mend(url, units=True)
    assert troubles(done.left) == []
    stored = {each["code"]: each.get("total_mv") for each in old.stock_basic_info.find()}
    assert stored == {each.code: each.figures.get("total_mv") for each in rows}


@pytest.mark.parametrize(
    ("keys", "options", "code"),
    [
        ([("code", 1)], {"unique": True}, "foreign_unique_index"),
        ([("full_symbol", 1)], {"unique": True}, "foreign_unique_index"),
        ([("name", 1), ("source", 1)], {"unique": True}, "foreign_unique_index"),
        ([("uuid", 1)], {"unique": True}, "foreign_unique_index"),
        ([("code", 1)], {"unique": True, "partialFilterExpression": {"pe": 1}}, "foreign_unique_index"),
        ([("code", 1)], {"unique": True, "name": "code_source_unique"}, "foreign_unique_index"),
        (KEY, {"name": "code_source_unique"}, "index_in_the_way"),
        (KEY, {"name": "code_source_unique", "unique": True, "sparse": True}, "index_in_the_way"),
        (KEY, {"unique": True}, None),
        (KEY[::-1], {"unique": True}, None),
        ([*KEY, ("trade_date", 1)], {"unique": True}, None),
        ([("symbol", 1), ("source", 1)], {"unique": True}, None),
        ([("uuid", 1)], {"unique": True, "sparse": True}, None),
        ([("code", 1)], {"unique": True, "partialFilterExpression": {"uuid": {"$exists": True}}}, None),
        ([("code", 1)], {}, None),
        (KEY, {}, None),
    ],
)  # fmt: skip
async def test_indexes_that_our_rows_cannot_live_with(
    url: str, old: Old, keys: Sequence[tuple[str, int]], options: Mapping[str, Any], code: str | None
) -> None:
    old.stock_basic_info.create_index(keys, **options)
    report = await examine(url)
    assert troubles(report) == ([] if code is None else [code])
    if code is not None:
        done = await mend(url)
        assert [(step.code, step.done) for step in done.steps] == [(code, 1)]
        assert troubles(done.left) == []
    store = await open_store(url)
    try:
        await store.stocks.ensure_writable()
        fence, _ = await acquire(store)
        rows = [measured("600001"), measured("600002"), measured("600002", "akshare")]
        count = await store.stocks.upsert(rows, fence)
    finally:
        await store.aclose()
    assert (count.inserted, count.rejects) == (3, ())


async def test_a_collection_that_is_none(url: str, old: Old) -> None:
    old.create_collection("stock_basic_info", capped=True, size=100_000)
    assert troubles(await examine(url)) == ["not_a_plain_collection"]


async def test_a_view_is_not_stumbled_over(url: str, old: Old) -> None:
    old.create_collection("stock_basic_info", viewOn="somewhere", pipeline=[])
    assert troubles(await examine(url)) == ["not_a_plain_collection"]


async def test_a_validator_is_named(url: str, old: Old) -> None:
    old.create_collection("stock_basic_info", validator={"pe": {"$exists": True}})
    assert troubles(await examine(url)) == ["validator"]


@pytest.mark.parametrize(
    ("document", "codes"),
    [
        ({"job": "stock_basics", "status": "success", "started_at": TEN}, []),
        ({"job": "stock_basics", "status": "running"}, ["status_left_running"]),
        ({"job": "stock_basics", "status": "flying"}, ["status_unknown_word"]),
        ({"job": "another", "status": "success"}, []),
        ({"job": "stock_basics", "status": "success", "revision": 7}, ["status_unreadable"]),
    ],
)
async def test_status_documents(url: str, old: Old, document: dict[str, Any], codes: list[str]) -> None:
    old.sync_status.insert_one(document)
    assert troubles(await examine(url)) == codes


async def test_a_status_that_cannot_be_read_is_put_aside(url: str, old: Old) -> None:
    broken = {"job": "stock_basics", "status": "success", "revision": 7}
    old.sync_status.insert_one(broken)
    assert not (await mend(url)).left.blocked
    assert old.sync_status.count_documents({}) == 0
    assert [each["document"] for each in old.stocksync_repair_removed.find()] == [broken]


async def test_times_in_the_operation_log_become_dates(url: str, old: Old) -> None:
    old.operation_logs.insert_many(
        [
            {"timestamp": "2026-04-15 18:00:00", "created_at": "2026-04-15T10:00:00Z"},
            {"timestamp": "long ago"},
        ]
    )
    await mend(url)
    first, second = old.operation_logs.find({"action": None}).sort("_id", 1)
    assert (first["timestamp"], first["created_at"]) == (TEN, TEN)
    assert second["timestamp"] == "long ago"


async def test_nothing_is_repaired_while_a_run_holds_the_slot(url: str, old: Old) -> None:
    old.stock_basic_info.insert_one(row(pe=0.0))
    store = await open_store(url)
    try:
        await store.indexing  # type: ignore[attr-defined] # a MongoStore
        await acquire(store)
        before = everything(old)
        with pytest.raises(RunInProgress, match="run-1"):
            await mend(url)
        assert [step.code for step in (await repair(url, apply=False, units=False, actor=ME)).steps] == [
            "unknown_as_value"
        ]
        assert everything(old) == before
    finally:
        await store.aclose()


async def test_the_slot_of_a_dead_owner_is_no_obstacle(url: str, old: Old) -> None:
    old.stock_basic_info.insert_one(row(pe=0.0))
    store = await open_store(url)
    try:
        await acquire(store, ttl=BLINK)
        await asyncio.sleep(0.05)
        assert [step.done for step in (await mend(url)).steps] == [1]
    finally:
        await store.aclose()


async def test_what_changed_meanwhile_is_not_overwritten(
    url: str, old: Old, monkeypatch: pytest.MonkeyPatch
) -> None:
    old.stock_basic_info.insert_one(row(pe="7.5"))
    write = AsyncCollection.bulk_write

    async def overtaken(self: Any, *args: Any, **options: Any) -> Any:
        old.stock_basic_info.update_one({}, {"$set": {"pe": 8.0}})
        return await write(self, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(AsyncCollection, "bulk_write", overtaken)
        done = await mend(url)
    assert [step.done for step in done.steps] == [0]
    assert (old.stock_basic_info.find_one() or {})["pe"] == 8.0


async def test_twenty_thousand_rows_are_looked_at_quickly(url: str, old: Old) -> None:
    for source in ("tushare", "akshare", "baostock", "other"):
        old.stock_basic_info.insert_many(documents(made_up(each=1000), source))
    began = time.perf_counter()
    report = await examine(url)
    seconds = time.perf_counter() - began
    print(f"examined 20,000 rows in {seconds:.2f} s")
    assert troubles(report) == []
    assert seconds < 20


def command(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "stocksync", *arguments],
        env={**os.environ, "COLUMNS": "150", **variables},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert PASSWORD not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def test_the_command_looks_plans_and_repairs(url: str, old: Old) -> None:
    old.stock_basic_info.insert_many(
        [row("600001"), *documents(scaled(MARKET, {"total_share": 4, "float_share": 4}))]
    )
    looked = command("doctor", "--store", url)
    assert looked.returncode == ExitCode.FAILED
    for word in (
        "duplicate_keys",
        "阻碍",
        "600001/tushare",
        "unit_off",
        "--units",
        "副本集",
        "--apply",
    ):
        assert word in looked.stdout
    told = json.loads(command("doctor", "--json", STOCKSYNC_STORE=url).stdout)
    assert told["blocked"] is True
    assert {each["code"]: each["severity"] for each in told["findings"]}["duplicate_keys"] == "blocking"

    planned = command("repair", "--store", url)
    assert planned.returncode == ExitCode.SUCCESS
    assert "什么都没有改动" in planned.stderr
    assert old.stock_basic_info.count_documents({}) == len(MARKET) + 1

    done = command("repair", "--store", url, "--apply")
    assert done.returncode == ExitCode.SUCCESS
    assert "已修复 1" in done.stdout
    assert "需要 --units" in done.stdout
    last = json.loads(command("repair", "--store", url, "--apply", "--units", "--json").stdout)
    assert [(step["code"], step["done"]) for step in last["steps"]] == [("unit_off", len(MARKET))]
    assert last["left"]["blocked"] is False
    assert command("doctor", "--store", url).returncode == ExitCode.SUCCESS
    assert "没有能自动修复的内容" in command("repair", "--store", url, "--apply").stderr


def test_the_command_refuses_while_a_run_goes_on(url: str, old: Old) -> None:
    old.sync_lease.insert_one(
        {"_id": "stock_basics", "run_id": "run-7", "expires": datetime.now(UTC) + timedelta(minutes=5)}
    )
    done = command("repair", "--store", url, "--apply")
    assert done.returncode == ExitCode.ALREADY_RUNNING
    assert "run-7" in done.stderr


def test_the_password_never_appears(tmp_path: Path) -> None:
    away = f"mongodb://someone:{PASSWORD}@127.0.0.1:1/stocks?serverSelectionTimeoutMS=300"
    done = command("doctor", "--store", away)
    assert done.returncode == ExitCode.STORE
    assert "MongoDB" in done.stderr
    wrong = command("doctor", "--store", f"mongodb://someone:{PASSWORD}/x@127.0.0.1:1/stocks")
    assert wrong.returncode == ExitCode.USAGE
    assert command("doctor", "--store", f"sqlite:///{tmp_path / 'none.db'}").returncode == ExitCode.SUCCESS
