"""The operation log's routes, over the application without a server."""

import asyncio
import csv
import io
import sqlite3
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from api_client import in_process
from stocksync.api.csv_text import MARK, csv_lines
from stocksync.api.moments import end_after, first_moment
from stocksync.api.schemas.base import ProblemOut
from stocksync.api.schemas.logs import (
    ClearedEnvelope,
    CreatedEnvelope,
    LogStatsEnvelope,
    OperationLogEnvelope,
    OperationLogsEnvelope,
)
from stocksync.app import App, open_app
from stocksync.audit import Actor
from stocksync.domain.wire import MARKET_ZONE
from stocksync.errors import StoreUnavailable
from stocksync.ports import LogFilter, OperationLog
from stocksync.settings import Settings
from stocksync.simulator import Simulator
from support import running_app, settings_for

BASE = "/api/system/logs"
AGENT = "browser/1"


@pytest.fixture
def settings(simulator: Simulator, tmp_path: Path) -> Settings:
    return settings_for(simulator, tmp_path)


@pytest.fixture
async def app(simulator: Simulator, tmp_path: Path) -> AsyncIterator[App]:
    """Another process on the same store."""
    async with running_app(simulator, tmp_path) as opened:
        yield opened


@pytest.fixture
async def http(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with open_app(settings) as own, in_process(own, address="192.0.2.7", agent=AGENT) as client:
        yield client


async def listed(http: httpx.AsyncClient, **query: Any) -> dict[str, Any]:
    answer = await http.get(f"{BASE}/list", params=query)
    assert answer.status_code == 200, answer.text
    OperationLogsEnvelope.model_validate(answer.json())
    data: dict[str, Any] = answer.json()["data"]
    return data


async def actions(http: httpx.AsyncClient, **query: Any) -> list[str]:
    return [log["action"] for log in (await listed(http, **query))["logs"]]


async def exported(http: httpx.AsyncClient, **query: Any) -> list[dict[str, str]]:
    answer = await http.get(f"{BASE}/export/csv", params=query)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.content.startswith(b"\xef\xbb\xbf")
    assert answer.content.count(b"\r\n") == answer.content.count(b"\n"), "RFC 4180 ends a line with CRLF"
    return list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"), newline="")))


def refused(answer: httpx.Response, status: int, code: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    ProblemOut.model_validate(answer.json())
    assert answer.json()["code"] == code


RUN, CANCEL, TEST = "运行股票基础信息同步", "取消股票基础信息同步", "测试数据源连接"
EXPORT, CLEAR = "导出操作日志", "清空操作日志"


async def test_a_day_with_all_kinds_of_actions(http: httpx.AsyncClient, simulator: Simulator) -> None:
    run = "/api/sync/stock_basics/run"
    await http.post(run, params={"wait": 30})
    simulator.faults.set("tushare.stock_basic", "hang")
    hanging = (await http.post(run)).json()["data"]["run_id"]
    await http.post(run, headers={"Prefer": "handling=strict"})
    forced = (await http.post(run, params={"force": True})).json()["data"]["run_id"]
    await http.post("/api/sync/stock_basics/cancel")
    await ended(http, forced)
    await http.post("/api/sync/stock_basics/cancel")
    await http.post(run, params={"preferred_sources": "wind"})
    await http.post("/api/sync/multi-source/test-sources", json={})
    await http.post("/api/sync/multi-source/test-sources", json={"source_name": "wind"})
    own = {"action_type": "自定义", "action": "=cmd|' /C calc'!A0", "details": {"页": ["a", 1, None]}}
    created = (await http.post(f"{BASE}/create", json=own)).json()
    CreatedEnvelope.model_validate(created)
    assert await exported(http, end_date="2026-01-01") == []

    logs = (await listed(http))["logs"]
    assert sorted(log["action"] for log in logs) == sorted(
        [*[RUN] * 5, *[CANCEL] * 2, *[TEST] * 2, own["action"], EXPORT]
    )
    for log in logs:
        assert (log["ip_address"], log["user_agent"]) == ("192.0.2.7", AGENT), log
        assert log["duration_ms"] is not None or log["action"] == own["action"], log
        assert log["timestamp"].endswith("+08:00")
        assert log["success"] is (log["error_message"] is None) or log["details"].get("outcome"), log
    outcomes = {
        log["details"].get("run_id"): log["details"].get("outcome") for log in logs if log["action"] == RUN
    }
    assert (outcomes[hanging], outcomes[forced]) == ("failed", "failed")
    assert list(outcomes.values()).count("success") == 1

    day = logs[0]["timestamp"][:10]
    assert (await listed(http, start_date=day, end_date=day))["total"] == len(logs)
    assert await actions(http, end_date="2026-01-01") == []
    assert sorted(await actions(http, success=False)) == sorted([RUN, RUN, CANCEL, TEST])
    assert await actions(http, keyword=forced.upper()) == [CANCEL, RUN]
    assert await actions(http, action_type="自定义") == [own["action"]]

    stats = (await http.get(f"{BASE}/stats")).json()
    LogStatsEnvelope.model_validate(stats)
    assert (stats["data"]["total_logs"], stats["data"]["failed_logs"]) == (len(logs), 4)
    assert stats["data"]["success_rate"] == 63.6
    assert stats["data"]["action_type_distribution"] == {
        "data_import": 7, "system_settings": 2, "data_export": 1, "自定义": 1,
    }  # fmt: skip
    assert sum(hour["count"] for hour in stats["data"]["hourly_distribution"]) == len(logs)
    assert [hour["hour"] for hour in stats["data"]["hourly_distribution"]][::23] == ["00:00", "23:00"]

    rows = await exported(http)
    assert [row["编号"] for row in rows] == [log["id"] for log in logs], (
        "all of them, and not the export itself"
    )
    assert [row["时间（北京时间）"] for row in rows] == [
        log["timestamp"][:19].replace("T", " ") for log in logs
    ]
    assert rows[1]["操作"] == f"'{own['action']}"
    assert rows[1]["详情"] == '{"页": ["a", 1, null]}'
    assert [row["操作"] for row in await exported(http, success=False, action_type="data_import")] == [
        log["action"] for log in logs if not log["success"] and log["action_type"] == "data_import"
    ]


async def ended(http: httpx.AsyncClient, run_id: str) -> None:
    status = {"run_id": run_id, "status": "running", "revision": 0}
    async with asyncio.timeout(20):
        while status["status"] == "running":
            query = {"wait": 10, "since_revision": status["revision"]}
            status = (await http.get("/api/sync/status", params=query)).json()["data"]
    assert status["run_id"] == run_id


async def test_one_record_is_shown_whole(http: httpx.AsyncClient) -> None:
    body = {
        "action_type": "user_login", "action": "登录", "success": False, "error_message": "密码错误",
        "duration_ms": 12, "session_id": "s-1", "details": {"n": 1, "f": 0.5, "ok": True, "none": None},
    }  # fmt: skip
    log_id = (await http.post(f"{BASE}/create", json=body)).json()["data"]["log_id"]
    answer = await http.get(f"{BASE}/{log_id}")
    OperationLogEnvelope.model_validate(answer.json())
    log = answer.json()["data"]
    assert {name: log[name] for name in body} == body
    assert (log["id"], log["user_id"], log["username"]) == (log_id, None, None)
    assert (log["ip_address"], log["user_agent"]) == ("192.0.2.7", AGENT)


@pytest.mark.parametrize(
    "log_id", ["nonsense", "0" * 24, "%7B%22$gt%22:%22%22%7D", "clear", "%00", "..%2Flist"]
)
async def test_an_id_of_no_record_is_not_found(http: httpx.AsyncClient, log_id: str) -> None:
    answer = await http.get(f"{BASE}/{log_id}")
    refused(answer, 404, "not_found" if "%2F" in log_id else "log_not_found")


GOOD = {"action_type": "x", "action": "y"}


@pytest.mark.parametrize(
    "body",
    [
        {}, [], {"action_type": "x"}, {**GOOD, "action": ""}, {**GOOD, "action": "y" * 201},
        {**GOOD, "username": "admin"}, {**GOOD, "user_id": "1"}, {**GOOD, "ip_address": "::1"},
        {**GOOD, "timestamp": "2020-01-01"}, {**GOOD, "run_id": "run-1"}, {**GOOD, "_id": "1"},
        {**GOOD, "action": {"$gt": ""}}, {**GOOD, "details": {"$gt": ""}}, {**GOOD, "details": {"a.b": 1}},
        {**GOOD, "details": {"a": {"b": 1}}}, {**GOOD, "details": {"a": "x" * 1001}},
        {**GOOD, "details": [1]},
        {**GOOD, "details": {str(n): n for n in range(51)}}, {**GOOD, "details": {"a": [1] * 101}},
        {**GOOD, "duration_ms": False}, {**GOOD, "duration_ms": 1.5},
        {**GOOD, "details": {"a": 2**64}}, {**GOOD, "duration_ms": -1}, {**GOOD, "duration_ms": 2**63},
        {**GOOD, "success": "vielleicht"}, {**GOOD, "success": "true"}, {**GOOD, "session_id": "x" * 129},
    ],
)  # fmt: skip
async def test_a_senseless_record_is_refused(http: httpx.AsyncClient, body: object) -> None:
    refused(await http.post(f"{BASE}/create", json=body), 422, "invalid_request")
    assert (await listed(http))["total"] == 0


@pytest.mark.parametrize(
    "text",
    [
        '{"a"', "NaN", '{"action_type":"x","action":"y","details":{"a":NaN}}',
        '{"action_type":"x","action":"\\ud800"}', "[" * 9_000, "1" * 9_000,
    ],
)  # fmt: skip
async def test_a_body_that_is_no_json_is_refused(http: httpx.AsyncClient, text: str) -> None:
    answer = await http.post(f"{BASE}/create", content=text, headers={"Content-Type": "application/json"})
    refused(answer, 422, "invalid_request")


async def test_a_body_of_unknown_length_has_the_same_limit(http: httpx.AsyncClient) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b" " * 65_536

    answer = await http.post(f"{BASE}/create", content=chunks(), headers={"Content-Type": "application/json"})
    refused(answer, 413, "body_too_large")


@pytest.mark.parametrize(
    "query",
    [
        {"page": 0}, {"page_size": 0}, {"page_size": 101}, {"page": 2**63}, {"start_date": "gestern"},
        {"end_date": "2026-02-30"}, {"start_date": "1700000000"}, {"start_date": ""},
        {"success": "vielleicht"},
        {"keyword": "x" * 65}, {"keyword": "a\0b"}, {"action_type": "x" * 65}, {"start_date": '{"$gt": ""}'},
    ],
)  # fmt: skip
@pytest.mark.parametrize("route", ["list", "export/csv"])
async def test_a_senseless_question_is_refused(
    http: httpx.AsyncClient, query: dict[str, object], route: str
) -> None:
    answer = await http.get(f"{BASE}/{route}", params=query)
    if route != "list" and query.keys() & {"page", "page_size"}:
        assert answer.status_code == 200, "an export has no pages"
    else:
        refused(answer, 422, "invalid_request")


@pytest.mark.parametrize("days", [0, -1, 10**9, "x"])
async def test_senseless_days_are_refused(http: httpx.AsyncClient, days: object) -> None:
    refused(await http.get(f"{BASE}/stats", params={"days": days}), 422, "invalid_request")
    refused(await http.post(f"{BASE}/clear", json={"days": days}), 422, "invalid_request")


@pytest.mark.parametrize("keyword", ["(a+)+$", '{"$gt": ""}', "%", "_", "\\", "\ud800", "中文"])
async def test_a_nasty_keyword_finds_nothing(http: httpx.AsyncClient, keyword: str) -> None:
    await http.post(f"{BASE}/create", json=GOOD)
    encoded = keyword.encode("utf-8", "surrogatepass")
    assert await actions(http, keyword=encoded) == []


async def test_pages_of_the_list(http: httpx.AsyncClient) -> None:
    empty = await listed(http)
    assert empty == {"logs": [], "total": 0, "page": 1, "page_size": 20, "total_pages": 0}
    for n in range(5):
        await http.post(f"{BASE}/create", json={**GOOD, "action": str(n)})
    pages = [await listed(http, page=page, page_size=2) for page in (1, 2, 3, 4)]
    assert [[log["action"] for log in page["logs"]] for page in pages] == [["4", "3"], ["2", "1"], ["0"], []]
    assert {(page["total"], page["total_pages"], page["page_size"]) for page in pages} == {(5, 3, 2)}
    assert (await http.get(f"{BASE}/stats")).json()["data"]["success_rate"] == 100.0
    assert await actions(http, keyword="", action_type="") == ["4", "3", "2", "1", "0"], "empty is no filter"


def a_record(action: str, at: datetime, action_type: str = "x") -> OperationLog:
    return OperationLog(action_type=action_type, action=action, success=True, timestamp=at)


async def test_days_are_the_markets(http: httpx.AsyncClient, app: App) -> None:
    midnight = datetime(2026, 4, 15, tzinfo=MARKET_ZONE)
    blink = timedelta(milliseconds=1)
    for action, at in (
        ("before", midnight - blink),
        ("first", midnight),
        ("last", midnight + timedelta(days=1) - blink),
    ):
        await app.store.logs.create(a_record(action, at))
    assert await actions(http, start_date="2026-04-15", end_date="2026-04-15") == ["last", "first"]
    assert await actions(http, end_date="2026-04-14") == ["before"]
    assert await actions(http, end_date="2026-04-15T00:00:00") == ["first", "before"]
    assert await actions(http, start_date="2026-04-14T16:00:00Z") == ["last", "first"]
    assert await actions(http, start_date="2026-04-15T00:00:00.001", end_date="9999-12-31") == ["last"]
    assert await actions(http, start_date="0001-01-01", end_date="0001-01-01T00:00:00+23:59") == []


def test_every_date_can_be_asked_for() -> None:
    for text in ("0001-01-01", "9999-12-31", "9999-12-31T23:59:59.999999-23:59", "0001-01-01T00:00:00+23:59"):
        assert first_moment(text) < end_after(text)
        assert 1900 <= first_moment(text).year <= 2200


async def test_clearing_keeps_the_last_days_and_leaves_its_own_record(
    http: httpx.AsyncClient, app: App
) -> None:
    now = datetime.now(MARKET_ZONE)
    old = now - timedelta(days=8)
    for action, at, kind in (("old", old, "x"), ("old export", old, "data_export"), ("new", now, "x")):
        await app.store.logs.create(a_record(action, at, kind))
    answer = await http.post(f"{BASE}/clear", json={"days": 7, "action_type": "x"})
    ClearedEnvelope.model_validate(answer.json())
    cleared = answer.json()["data"]
    assert cleared["deleted_count"] == 1
    assert (cleared["filter"]["days"], cleared["filter"]["action_type"]) == (7, "x")
    assert await actions(http) == [CLEAR, "new", "old export"]
    [record] = (await listed(http, keyword=CLEAR))["logs"]
    assert (record["details"]["deleted_count"], record["details"]["outcome"]) == (1, "success")
    assert record["duration_ms"] is not None

    everything = await http.post(f"{BASE}/clear", json={})
    assert everything.json()["data"] == {
        "deleted_count": 3, "filter": {"days": None, "action_type": None, "before": None},
    }  # fmt: skip
    assert await actions(http) == [CLEAR]
    await http.post(f"{BASE}/clear", json={"action_type": "database_operation"})
    assert await actions(http) == [CLEAR], "also where its own kind is cleared"
    refused(await http.post(f"{BASE}/clear"), 422, "invalid_request")
    refused(await http.post(f"{BASE}/clear", json={"before": "2026-01-01"}), 422, "invalid_request")


async def test_a_form_of_another_site_cannot_clear(http: httpx.AsyncClient) -> None:
    refused(await http.post(f"{BASE}/clear", data={"days": "1"}), 415, "body_refused")


async def test_an_export_that_breaks_off_is_recorded_as_such(app: App) -> None:
    await app.store.logs.create(a_record("x", datetime.now(MARKET_ZONE)))
    pages = app.audit.export(Actor(username="王芳"), LogFilter())
    async with aclosing(pages):  # type: ignore[type-var]
        assert [log.action for log in await anext(pages)] == ["x"]
        [begun, _] = await app.store.logs.search(limit=9)
        assert (begun.action, begun.duration_ms) == (EXPORT, None), "recorded before the first byte is sent"
    broken = await app.store.logs.get(begun.id)
    assert broken is not None
    assert (broken.success, broken.error_message, broken.details["outcome"]) == (False, "操作中断", "failed")
    assert broken.details["rows"] == 1


async def test_what_fails_is_recorded_as_failed(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unavailable(*_: object, **__: object) -> int:
        raise StoreUnavailable("磁盘已满")

    monkeypatch.setattr(app.store.logs, "delete", unavailable)
    with pytest.raises(StoreUnavailable):
        await app.audit.clear(Actor(), keep_days=None, action_type=None)
    [record] = await app.store.logs.search(limit=9)
    assert (record.success, record.error_message, record.details["outcome"]) == (False, "磁盘已满", "failed")


async def test_without_its_database_an_export_is_a_problem(http: httpx.AsyncClient, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "stocks.db") as db:
        db.execute("DROP TABLE operation_logs")
    refused(await http.get(f"{BASE}/export/csv"), 503, "store_unavailable")
    refused(await http.get(f"{BASE}/list"), 503, "store_unavailable")


@pytest.mark.parametrize("mark", list("=+-@\t\r\n") + list("＝＋－＠﹢﹣⁼"))
def test_no_cell_is_a_formula(mark: str) -> None:
    [[cell, harmless]] = csv.reader(io.StringIO(csv_lines([(f"{mark}1+1", f"a{mark}")]).decode(), newline=""))
    assert (cell, harmless) == (f"'{mark}1+1", f"a{mark}")


def test_cells_come_back_as_they_were() -> None:
    row = ["", "a,b", 'sag "ja"', "zwei\r\nZeilen", "王芳", "nul\0", " =1", None, 12, -3]
    text = csv_lines([row, row]).decode()
    assert (
        list(csv.reader(io.StringIO(text, newline="")))
        == [["", "a,b", 'sag "ja"', "zwei\r\nZeilen", "王芳", "nul\0", " =1", "", "12", "-3"]] * 2
    )
    assert csv_lines([["a\ud800"]]) == b"a?\r\n"
    assert MARK == b"\xef\xbb\xbf"
