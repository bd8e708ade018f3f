"""The operation log: one contract for every store."""

import asyncio
import json
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId
from pymongo import MongoClient

from builders import NOON
from contract.stores import KINDS, acquire, finish
from mongod import MongoServers
from stocksync.domain.status import Job
from stocksync.errors import SearchTimedOut
from stocksync.ports import EVERY_LOG, LogFilter, OperationLog, Store
from stocksync.stores import open_store
from stocksync.stores.mongo import connection
from stocksync.stores.mongo.records import after, conditions, encode_log
from stocksync.stores.mongo.schema import NEWEST_LOGS_FIRST
from stocksync.stores.sqlite import database
from stocksync.stores.sqlite.logs import _conditions

MANY = 100_000

NASTY = ("(a+)+$", '{"$gt": ""}', "%", "_", "\\", "' OR 1=1 --", ".*", "\ud800", "平安银行不存在", "a" * 64)


@pytest.fixture(params=sorted(KINDS))
def url(request: pytest.FixtureRequest, tmp_path: Path, mongo: MongoServers) -> str:
    return KINDS[request.param].new_url(tmp_path, mongo)


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    opened = await open_store(url)
    try:
        yield opened
    finally:
        await opened.aclose()


def record(**fields: Any) -> OperationLog:
    values = {"action_type": "data_import", "action": "同步", "success": True, "timestamp": NOON, **fields}
    return OperationLog(**values)


async def keep(store: Store, *logs: OperationLog) -> list[str]:
    return [await store.logs.create(log) for log in logs]


async def actions(store: Store, wanted: LogFilter) -> list[str]:
    """The actions of what is found, by all three ways of looking."""
    listed = [log.action for log in await store.logs.search(wanted, limit=100)]
    assert await store.logs.count(wanted) == len(listed)
    assert [log.action async for page in store.logs.pages(wanted) for log in page] == listed
    assert (await store.logs.stats(wanted)).total == len(listed)
    return listed


async def test_a_record_is_found_by_the_id_that_was_given(store: Store) -> None:
    log = record(details={"来源": ["tushare"], "n": 1}, duration_ms=5, username="王芳")
    (log_id,) = await keep(store, log)
    found = await store.logs.get(log_id)
    assert found == log
    assert found.id == log_id
    assert found.created_at is not None
    assert abs(found.created_at - datetime.now(UTC)) < timedelta(minutes=1)
    (listed,) = await store.logs.search(limit=9)
    assert (listed.id, listed.created_at) == (log_id, found.created_at)


@pytest.mark.parametrize(
    "log_id", ["", "nonsense", "0" * 24, "x" * 24, '{"$gt": ""}', "\ud800", "\0", "编号"]
)
async def test_an_id_that_no_record_has_is_no_record(store: Store, log_id: str) -> None:
    await keep(store, record())
    assert await store.logs.get(log_id) is None


async def test_each_filter_holds_alone_and_together(store: Store) -> None:
    hour = timedelta(hours=1)
    await keep(
        store,
        record(action="a", timestamp=NOON - hour),
        record(action="b", action_type="data_export"),
        record(action="c", success=False, timestamp=NOON + hour),
        record(action="d", success=False, action_type="data_export", timestamp=NOON + 2 * hour),
    )
    assert await actions(store, EVERY_LOG) == ["d", "c", "b", "a"]
    assert await actions(store, LogFilter(start=NOON)) == ["d", "c", "b"]
    assert await actions(store, LogFilter(end=NOON)) == ["a"]
    assert await actions(store, LogFilter(start=NOON, end=NOON + 2 * hour)) == ["c", "b"]
    assert await actions(store, LogFilter(action_type="data_export")) == ["d", "b"]
    assert await actions(store, LogFilter(success=True)) == ["b", "a"]
    assert await actions(store, LogFilter(success=False)) == ["d", "c"]
    both = LogFilter(start=NOON + 2 * hour, success=False, action_type="data_export", keyword="D")
    assert await actions(store, both) == ["d"]
    assert await actions(store, replace(both, success=True)) == []


@pytest.mark.parametrize("hostile", ['{"$gt": ""}', "$ne", "' OR 1=1 --", "%", "\ud800", "\0"])
async def test_an_action_type_is_only_a_value(store: Store, hostile: str) -> None:
    await keep(store, record())
    assert await actions(store, LogFilter(action_type=hostile)) == []


async def test_a_keyword_is_looked_for_where_people_look(store: Store) -> None:
    await keep(
        store,
        record(action="action", details={"Needle in a key": 1}),
        record(action="the NEEDLE"),
        record(action="user", username="needle"),
        record(action="error", error_message="a needle.", success=False),
        record(action="address", ip_address="needle"),
        record(action="details", details={"nested": [{"deep": "one Needle"}]}),
        record(action="agent", user_agent="needle", session_id="needle"),
    )
    found = ["details", "address", "error", "user", "the NEEDLE"]
    assert await actions(store, LogFilter(keyword="needle")) == found


@pytest.mark.parametrize(
    "text",
    [
        "100%",
        "a_b",
        "c:\\temp",
        "(a+)+$",
        '{"$gt": ""}',
        "^x",
        "tab\there",
        "行\n行",
        '"',
        "'",
        "#- &~",
        "王",
    ],
)
@pytest.mark.parametrize("where", ["action", "details"])
async def test_a_keyword_is_taken_literally(store: Store, text: str, where: str) -> None:
    value: Any = {"said": f"vor {text} nach"} if where == "details" else f"vor {text} nach"
    hit = record(**{"action": "hit", where: value})
    await keep(
        store, hit, record(action="100 ab c:temp aaaa gt x here", details={"said": "100 ab c:temp aaaa"})
    )
    assert [log.details for log in await store.logs.search(LogFilter(keyword=text), limit=9)] == [hit.details]


async def test_a_lone_surrogate_matches_what_was_stored_for_it(store: Store) -> None:
    await keep(store, record(action="a\ud800b"), record(action="ab"))
    assert await actions(store, LogFilter(keyword="a\ud800b")) == ["a?b"]


@pytest.mark.parametrize("keyword", ["x" * 65, "a\0b"])
def test_a_keyword_that_no_search_takes_is_refused(keyword: str) -> None:
    with pytest.raises(ValueError, match="64"):
        LogFilter(keyword=keyword)


async def test_pages_of_a_list_have_no_gap_and_no_overlap(store: Store) -> None:
    ids = await keep(store, *(record(timestamp=NOON + timedelta(seconds=n // 4)) for n in range(23)))
    seen = [log.id for at in range(0, 30, 5) for log in await store.logs.search(limit=5, offset=at)]
    assert seen == ids[::-1]
    assert await store.logs.search(limit=5, offset=10**9) == []


async def test_statistics_count_by_type_and_by_the_hour_of_the_market(store: Store) -> None:
    midnight = datetime(2026, 4, 14, 16, tzinfo=UTC)
    await keep(
        store,
        record(timestamp=midnight),
        record(timestamp=midnight - timedelta(milliseconds=1), success=False),
        record(timestamp=midnight + timedelta(hours=9, minutes=59), action_type="自定义"),
    )
    stats = await store.logs.stats()
    assert (stats.total, stats.succeeded) == (3, 2)
    assert stats.by_type == {"data_import": 2, "自定义": 1}
    assert {hour: n for hour, n in enumerate(stats.by_hour) if n} == {0: 1, 23: 1, 9: 1}
    empty = await store.logs.stats(LogFilter(action_type="none"))
    assert (empty.total, empty.succeeded, empty.by_type, empty.by_hour) == (0, 0, {}, (0,) * 24)


async def test_an_end_is_set_in_place_and_adds_to_what_was_said(store: Store) -> None:
    good, bad, other = await keep(store, *(record(details={"n": n}) for n in range(3)))
    for _ in range(2):
        await store.logs.complete(good, error_message=None, duration_ms=7, details={"outcome": "success"})
    await store.logs.complete(bad, error_message="没有成功", duration_ms=8, details={"n": 9})
    assert await store.logs.get(good) == record(details={"n": 0, "outcome": "success"}, duration_ms=7)
    assert await store.logs.get(bad) == record(
        details={"n": 9}, duration_ms=8, success=False, error_message="没有成功"
    )
    assert await store.logs.get(other) == record(details={"n": 2})
    assert await actions(store, LogFilter(keyword="SUCCESS")) == ["同步"], "what came with the end is found"


async def test_deleting_takes_what_matches_and_keeps_the_one(store: Store) -> None:
    day = timedelta(days=1)
    ids = await keep(
        store,
        record(action="old", timestamp=NOON - 9 * day),
        record(action="old export", action_type="data_export", timestamp=NOON - 9 * day),
        record(action="new"),
    )
    wanted = LogFilter(end=NOON - day, action_type="data_import")
    assert await store.logs.delete(wanted) == 1
    assert await actions(store, EVERY_LOG) == ["new", "old export"]
    assert await store.logs.delete(keep=ids[2]) == 1
    assert await actions(store, EVERY_LOG) == ["new"]
    assert await store.logs.delete() == 1
    assert await store.logs.delete() == 0


async def test_a_record_that_was_cleared_cannot_be_completed_and_harms_nobody(store: Store) -> None:
    fence, stats = await acquire(store)
    (log_id,) = await keep(store, record(run_id="run-1"))
    await store.logs.delete()
    await store.logs.complete(log_id, error_message=None, duration_ms=1, details={"outcome": "success"})
    await finish(store, fence, stats)
    assert (await store.runs.latest(Job.MULTI)) is not None
    assert await store.logs.count() == 0


async def test_reading_all_goes_on_while_others_write_and_delete(store: Store, url: str) -> None:
    fill(url, [record(action=str(n), timestamp=NOON + timedelta(seconds=n // 3)) for n in range(1_700)])
    pages = store.logs.pages()
    seen = [log.action for log in await anext(pages)]
    await keep(store, record(action="newer", timestamp=NOON + timedelta(days=1)))
    last = LogFilter(keyword=seen[-1])
    assert await store.logs.delete(replace(last, start=NOON + timedelta(seconds=int(seen[-1]) // 3)))
    seen += [log.action async for page in pages for log in page]
    assert len(seen) == len(set(seen))
    assert {str(n) for n in range(1_000)} <= set(seen)
    assert "newer" not in seen
    assert [int(action) for action in seen] == sorted((int(action) for action in seen), reverse=True)


# --- many records


def fill(url: str, logs: Sequence[OperationLog]) -> None:
    """Store many records at once, by the store's own encoding."""
    if url.startswith("mongodb"):
        with MongoClient[dict[str, Any]](url) as client:
            documents = [encode_log(log, ObjectId(), NOON) for log in logs]
            client.get_default_database()["operation_logs"].insert_many(documents)
        return
    rows = [
        {**asdict(log), "id": f"{n:024x}", "timestamp": log.timestamp.timestamp(), "created_at": 0.0,
         "details": json.dumps(dict(log.details), ensure_ascii=False)}
        for n, log in enumerate(logs)
    ]  # fmt: skip
    names = list(rows[0])
    values = ", ".join(f":{name}" for name in names)
    with sqlite_file(url) as db:
        db.executemany(f"INSERT INTO operation_logs ({', '.join(names)}) VALUES ({values})", rows)  # noqa: S608


@contextmanager
def sqlite_file(url: str) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as db, db:
        yield db


def plenty() -> list[OperationLog]:
    types = ("data_import", "data_export", "cache_operation", "system_settings")
    return [
        record(
            action="运行股票基础信息同步",
            action_type=types[n % 4],
            success=n % 10 > 0,
            timestamp=NOON - timedelta(seconds=n),
            details={"run_id": f"20260415-{n:06}", "job": "stock_basics_multi_source", "outcome": "success"},
            error_message=None if n % 10 else "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!",
            username="王芳",
            ip_address=f"192.168.1.{n % 250}",
        )
        for n in range(MANY)
    ]


async def test_nasty_keywords_are_quick_in_many_records(
    store: Store, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await indexed(store)
    await asyncio.to_thread(fill, url, plenty())
    slowest = 0.0
    for keyword in NASTY:
        wanted = LogFilter(keyword=keyword)
        began = time.monotonic()
        total = await store.logs.count(wanted)
        found = await store.logs.search(wanted, limit=20)
        slowest = max(slowest, time.monotonic() - began)
        assert len(found) == min(20, total)
        assert total == (MANY if keyword == "_" else 0), keyword
    print(f"slowest keyword in {MANY} records: {slowest * 1000:.0f} ms")
    assert slowest < 2.5, "a machine that is shared by many takes some hundred milliseconds"

    monkeypatch.setattr(database, "SEARCH_SECONDS", 0.01)
    monkeypatch.setattr(connection, "SEARCH_SECONDS", 0.01)
    with pytest.raises(SearchTimedOut, match="搜索超时"):
        await store.logs.count(LogFilter(keyword="(a+)+$"))
    monkeypatch.undo()
    assert await store.logs.count(LogFilter(keyword="192.168.1.7", end=NOON)) > 0, "the next search is well"
    for wanted, index in EXPECTED.items():
        assert index in plan(url, wanted), wanted


async def indexed(store: Store) -> None:
    """Wait until the indexes that are made in the background are there."""
    task = getattr(store, "indexing", None)
    if task is not None:
        await task


EXPECTED: Mapping[LogFilter, str] = {
    EVERY_LOG: "by_time",
    LogFilter(start=NOON - timedelta(minutes=5)): "by_time",
    LogFilter(start=NOON - timedelta(hours=5), end=NOON): "by_time",
    LogFilter(action_type="data_import"): "by_type",
    LogFilter(action_type="none"): "by_type",
    LogFilter(success=False): "by_success",
    LogFilter(success=False, end=NOON): "by_success",
}


def plan(url: str, wanted: LogFilter) -> str:
    """How the database lists what is wanted: which index, and nothing that sorts more than ties."""
    if url.startswith("mongodb"):
        with MongoClient[dict[str, Any]](url) as client:
            logs = client.get_default_database()["operation_logs"]
            explained = logs.find(conditions(wanted), sort=list(NEWEST_LOGS_FIRST), limit=20).explain()
            deep = logs.find_one(sort=list(NEWEST_LOGS_FIRST), skip=MANY // 2)
            assert deep
            page = logs.find(after(deep), sort=list(NEWEST_LOGS_FIRST), limit=20).explain()
        assert page["executionStats"]["totalDocsExamined"] <= 21
        text = json.dumps(explained["queryPlanner"]["winningPlan"], default=str)
        assert '"SORT"' not in text
        assert '"COLLSCAN"' not in text
        assert explained["executionStats"]["totalDocsExamined"] <= 100
        return text
    where, values = _conditions(wanted)
    with sqlite_file(url) as db:
        steps = db.execute(
            f"EXPLAIN QUERY PLAN SELECT * FROM operation_logs WHERE {where} "  # noqa: S608
            "ORDER BY timestamp DESC, rowid DESC LIMIT 20",
            values,
        ).fetchall()
    text = "; ".join(step[3] for step in steps)
    assert "INDEX" in text
    assert "TEMP B-TREE FOR ORDER BY" not in text
    return text


# --- what an older service left


@pytest.fixture(params=["mongodb", "mongodb-standalone"])
async def old(request: pytest.FixtureRequest, tmp_path: Path, mongo: MongoServers) -> AsyncIterator[Store]:
    """A store over records of an older service: the same moment in all the ways to write it, and oddities."""
    url = KINDS[request.param].new_url(tmp_path, mongo)
    moment = datetime(2025, 1, 2, 7, 30, tzinfo=UTC)
    with MongoClient[dict[str, Any]](url) as client:
        client.get_default_database()["operation_logs"].insert_many(
            [
                {"action": "date", "timestamp": moment, "success": True, "user_id": ObjectId()},
                {"action": "naive", "timestamp": "2025-01-02T15:30:00", "details": "text"},
                {
                    "action": "zulu",
                    "timestamp": "2025-01-02T07:30:00Z",
                    "details": {"at": moment, "n": [1.5]},
                },
                {"action": "created", "created_at": moment, "duration_ms": 12.7, "success": None},
                {"action": "unreadable", "timestamp": "gestern", "duration_ms": float("nan")},
                {"action": "number", "timestamp": 5, "success": "yes", "details": {"x": float("inf")}},
                {"_id": "own-id", "action": 7, "action_type": 5, "timestamp": moment - timedelta(days=9)},
                {},
            ]
        )
    opened = await open_store(url)
    try:
        await indexed(opened)
        yield opened
    finally:
        await opened.aclose()


async def test_records_of_an_older_service_are_all_listed(old: Store) -> None:
    logs = await old.logs.search(limit=99)
    assert [log.action for log in logs] == [
        "date", "7", "unreadable", "naive", "zulu", "number", "", "created",
    ]  # fmt: skip
    assert [log async for page in old.logs.pages() for log in page] == logs
    assert await old.logs.count() == (await old.logs.stats()).total == 8
    by_action = {log.action: log for log in logs}
    moment = by_action["date"].timestamp
    assert {by_action[name].timestamp for name in ("naive", "zulu", "created")} == {moment}
    assert by_action["zulu"].details == {"at": "2025-01-02T15:30:00.000000+08:00", "n": [1.5]}
    assert (by_action["naive"].details, by_action["number"].details) == ({"value": "text"}, {"x": None})
    assert (by_action["created"].duration_ms, by_action["unreadable"].duration_ms) == (12, None)
    assert [log.action for log in logs if log.success] == ["date"]
    for log in logs:
        assert await old.logs.get(log.id) == log
    assert (await old.logs.get("own-id")) == by_action["7"]


async def test_filters_read_the_times_of_an_older_service(old: Store) -> None:
    day = datetime(2025, 1, 1, 16, tzinfo=UTC)
    within = LogFilter(start=day, end=day + timedelta(days=1))
    assert sorted(log.action for log in await old.logs.search(within, limit=9)) == [
        "created", "date", "naive", "zulu",
    ]  # fmt: skip
    exact = LogFilter(
        start=datetime(2025, 1, 2, 7, 30, tzinfo=UTC), end=datetime(2025, 1, 2, 7, 31, tzinfo=UTC)
    )
    assert await old.logs.count(exact) == 4
    assert await old.logs.count(LogFilter(end=day)) == 1, "what has no readable time is older than nothing"
    stats = await old.logs.stats(within)
    assert (stats.total, stats.succeeded, stats.by_hour[15]) == (4, 1, 4)
    assert await old.logs.count(LogFilter(success=False)) == 6
    assert await old.logs.delete(LogFilter(end=day + timedelta(days=1))) == 5


async def test_reading_all_passes_from_dates_to_texts_and_to_nothing(
    old: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stocksync.stores.mongo.logs._PAGE", 2)
    listed = await old.logs.search(limit=99)
    assert [log async for page in old.logs.pages() for log in page] == listed
