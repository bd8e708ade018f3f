"""The API over a real server: shapes, manners, refusals."""

import asyncio
import json
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import closing, suppress
from pathlib import Path

import httpx
import pytest

from integration.servers import ServerProcess, server
from stocksync.api.schemas.base import ProblemOut
from stocksync.api.schemas.status import StatusEnvelope
from stocksync.simulator import Simulator
from support import SMALL

RUN = "/api/sync/stock_basics/run"
STATUS = "/api/sync/stock_basics/status"
CANCEL = "/api/sync/stock_basics/cancel"


@pytest.fixture
async def running(simulator: Simulator, tmp_path: Path) -> AsyncIterator[ServerProcess]:
    manager = server(tmp_path / "stocks.db", simulator.settings)
    started = await asyncio.to_thread(manager.__enter__)
    try:
        yield started
    finally:
        await asyncio.to_thread(manager.__exit__, None, None, None)


@pytest.fixture
async def http(running: ServerProcess) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=running.url, timeout=30) as client:
        yield client


def checked(answer: httpx.Response, status: int) -> dict[str, object]:
    """The status object of an answer whose whole shape is as documented."""
    assert answer.status_code == status, answer.text
    StatusEnvelope.model_validate(answer.json())
    data: dict[str, object] = answer.json()["data"]
    return data


def checked_problem(answer: httpx.Response, status: int, code: str) -> dict[str, object]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, object] = answer.json()
    ProblemOut.model_validate(problem)
    assert (problem["code"], problem["status"], problem["success"]) == (code, status, False)
    return problem


async def test_the_whole_job_over_http(http: httpx.AsyncClient) -> None:
    before = checked(await http.get(STATUS), 200)
    assert (before["job"], before["status"]) == ("stock_basics_multi_source", "never_run")
    idle = checked(await http.get(STATUS, params={"job": "stock_basics"}), 200)
    assert idle["status"] == "idle"

    answer = await http.post(RUN)
    started = checked(answer, 202)
    assert started["status"] == "running"
    assert answer.headers["location"] == f"/api/sync/runs/{started['run_id']}"
    assert answer.headers["retry-after"] == "1"

    revision, seen = 0, []
    while True:
        stats = checked(await http.get(STATUS, params={"wait": 10, "since_revision": revision}), 200)
        assert isinstance(stats["revision"], int)
        assert stats["revision"] > revision
        revision = stats["revision"]
        seen.append(stats["status"])
        if stats["status"] != "running":
            break
    assert seen[-1] == "success"
    assert stats["total"] == stats["inserted"] == SMALL
    assert checked(await http.get(answer.headers["location"]), 200) == stats
    assert checked(await http.get("/api/sync/status"), 200) == stats


async def test_wait_answers_with_the_end(http: httpx.AsyncClient) -> None:
    answer = await http.post(RUN, params={"wait": 20})
    assert checked(answer, 200)["status"] == "success"
    preferred = await http.post(RUN, headers={"Prefer": "wait=20"})
    again = checked(preferred, 200)
    assert (again["inserted"], again["updated"], again["unchanged"]) == (0, SMALL, SMALL)
    assert preferred.headers["preference-applied"] == "wait=20"
    assert "Prefer" in preferred.headers["vary"]


async def test_one_run_at_a_time_over_http(http: httpx.AsyncClient, simulator: Simulator) -> None:
    simulator.faults.set("tushare.stock_basic", "hang")
    started = checked(await http.post(RUN, params={"mode": "single"}), 202)
    assert started["job"] == "stock_basics"
    busy = await http.post(RUN)
    assert checked(busy, 200)["run_id"] == started["run_id"]
    assert busy.json()["message"] == "同步任务正在运行中"
    strict = await http.post(RUN, headers={"Prefer": "handling=strict"})
    checked_problem(strict, 409, "run_in_progress")

    forced = checked(await http.post(RUN, params={"force": "true"}), 202)
    assert forced["run_id"] != started["run_id"]
    displaced = checked(await http.get(f"/api/sync/runs/{started['run_id']}"), 200)
    assert (displaced["status"], displaced["reason"]) == ("failed", "superseded")

    other = await http.post(CANCEL, params={"run_id": str(displaced["run_id"])})
    checked_problem(other, 409, "no_run_in_progress")
    mine = await http.post(CANCEL, params={"run_id": str(forced["run_id"])})
    assert checked(mine, 202)["run_id"] == forced["run_id"]
    began = time.monotonic()
    while checked(await http.get(STATUS), 200)["status"] == "running":
        assert time.monotonic() - began < 2
        await asyncio.sleep(0.05)
    assert checked(await http.get(STATUS), 200)["reason"] == "cancelled"
    checked_problem(await http.post(CANCEL), 409, "no_run_in_progress")


async def test_a_poller_with_a_tag_is_told_only_of_changes(http: httpx.AsyncClient) -> None:
    first = await http.get(STATUS)
    tag = first.headers["etag"]
    assert tag.startswith('W/"')
    assert first.headers["cache-control"] == "no-cache"
    for known in (tag, tag.removeprefix("W/"), f'"other", {tag}', "*"):
        for params in ({}, {"job": "stock_basics_multi_source"}):
            same = await http.get(STATUS, params=params, headers={"If-None-Match": known})
            assert (same.status_code, same.content) == (304, b"")
            assert same.headers["etag"] == tag
    await http.post(RUN, params={"wait": 20})
    changed = await http.get(STATUS, headers={"If-None-Match": tag})
    assert checked(changed, 200)["status"] == "success"
    assert changed.headers["etag"] != tag


async def test_a_long_poll_ends_with_the_same_revision_when_nothing_happens(http: httpx.AsyncClient) -> None:
    began = time.monotonic()
    stats = checked(await http.get(STATUS, params={"wait": 0.5, "since_revision": 0}), 200)
    assert 0.4 < time.monotonic() - began < 5
    assert stats["revision"] == 0


async def test_refusals_are_problems(http: httpx.AsyncClient) -> None:
    unknown = await http.post(RUN, params={"preferred_sources": "wind"})
    problem = checked_problem(unknown, 422, "unknown_source")
    assert "tushare" in str(problem["message"])
    checked_problem(await http.post(RUN, params={"mode": "all"}), 422, "invalid_request")
    checked_problem(await http.post(RUN, params={"wait": "soon"}), 422, "invalid_request")
    checked_problem(await http.get(STATUS, params={"job": "x"}), 422, "invalid_request")
    checked_problem(await http.get("/api/sync/runs/none"), 404, "run_not_found")
    checked_problem(await http.get("/api/nowhere"), 404, "not_found")
    checked_problem(await http.delete(STATUS), 405, "method_not_allowed")
    checked_problem(await http.post(RUN, data={"force": "true"}), 415, "body_refused")
    assert (await http.get(STATUS)).json()["data"]["status"] == "never_run"


async def test_only_our_own_names_and_pages_are_served(http: httpx.AsyncClient) -> None:
    port = http.base_url.port
    for good in (f"127.0.0.1:{port}", f"localhost:{port}", "[::1]:80", "10.0.0.7"):
        assert (await http.get("/livez", headers={"Host": good})).status_code == 200
    for bad in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example"):
        checked_problem(await http.get(STATUS, headers={"Host": bad}), 403, "host_refused")
        checked_problem(await http.get("/livez", headers={"Host": bad}), 403, "host_refused")
    for origin in ("https://evil.example", "null", "http://127.0.0.1:1"):
        checked_problem(await http.post(RUN, headers={"Origin": origin}), 403, "origin_refused")
    own = await http.post(CANCEL, headers={"Origin": f"http://127.0.0.1:{port}"})
    checked_problem(own, 409, "no_run_in_progress")


async def test_odd_requests_are_problems_and_never_our_fault(http: httpx.AsyncClient) -> None:
    odd_origin = await http.post(CANCEL, headers={"Origin": "http://[bad"})
    checked_problem(odd_origin, 403, "origin_refused")
    for host in ("[::1]evil.example", "localhost:80@evil", "[::1", "localhost:x", ""):
        answer = await http.get("/livez", headers={"Host": host})
        assert answer.status_code in {400, 403}, host

    async def endless() -> AsyncIterator[bytes]:
        yield b'{"source_name": "'
        for _ in range(64):
            yield b"x" * 65_536
        yield b'"}'

    json = {"Content-Type": "application/json"}
    with suppress(
        httpx.ReadError, httpx.WriteError
    ):  # refused while still sending: the connection may be cut
        large = await http.post("/api/sync/multi-source/test-sources", content=endless(), headers=json)
        assert large.status_code in {400, 413}
    assert await declared_body(http.base_url, 2_000_000) == 413
    assert (await http.get("/livez")).status_code == 200


async def declared_body(url: httpx.URL, length: int) -> int:
    """Announce a body without sending it, and tell the status of the answer."""
    reader, writer = await asyncio.open_connection(url.host, url.port)
    head = f"POST {CANCEL} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Content-Length: {length}\r\n\r\n".encode())
    status = (await reader.readline()).split()[1]
    writer.close()
    return int(status)


async def test_clients_that_left_leave_their_places(running: ServerProcess, http: httpx.AsyncClient) -> None:
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=running.url, timeout=60, limits=limits) as crowd:
        waiting = [
            asyncio.create_task(crowd.get(STATUS, params={"wait": 50, "since_revision": 9}))
            for _ in range(256)
        ]
        await asyncio.sleep(1.5)
        full = await http.get(STATUS, params={"wait": 1, "since_revision": 9})
        checked_problem(full, 503, "too_many_waiting")
        assert full.headers["retry-after"]
        checked(await http.get(STATUS), 200)
        started = checked(await http.post(RUN, params={"wait": 5}), 202)
        assert started["status"] == "running", "what was started is said, even where nobody can wait"
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    deadline = time.monotonic() + 10
    while (await http.get(STATUS, params={"wait": 0.1, "since_revision": 2**60})).status_code != 200:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)


async def test_credentials_of_a_foreign_front_end_are_ignored(http: httpx.AsyncClient) -> None:
    answer = await http.get(STATUS, headers={"Authorization": "Bearer x", "Cookie": "session=1"})
    checked(answer, 200)


async def test_health_and_docs_need_nothing_from_elsewhere(http: httpx.AsyncClient) -> None:
    assert (await http.get("/livez")).json()["status"] == "alive"
    assert (await http.get("/readyz")).json()["status"] == "ready"
    for page in ("/docs", "/redoc"):
        text = (await http.get(page)).text
        assert "https://" not in text, "no page loads anything from another host"
    for asset in ("swagger-ui-bundle.js", "swagger-ui.css", "redoc.standalone.js"):
        assert (await http.get(f"/static-offline-docs/{asset}")).status_code == 200


async def test_the_openapi_document_has_examples_for_every_operation(http: httpx.AsyncClient) -> None:
    document = (await http.get("/openapi.json")).json()
    operations = {
        (path, method): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    assert {
        ("/api/sync/stock_basics/run", "post"),
        ("/api/sync/stock_basics/status", "get"),
        ("/api/sync/status", "get"),
        ("/api/sync/stock_basics/cancel", "post"),
        ("/api/sync/runs/{run_id}", "get"),
        ("/livez", "get"),
        ("/readyz", "get"),
    } <= set(operations)
    for operation in operations.values():
        assert operation["summary"]
        for status, response in operation["responses"].items():
            assert int(status) < 400 or list(response["content"]) == ["application/problem+json"]
    StatusEnvelope.model_validate(document["components"]["schemas"]["StatusEnvelope"]["examples"][0])


async def test_stopping_ends_waiting_clients_and_the_run(
    running: ServerProcess, http: httpx.AsyncClient, simulator: Simulator, tmp_path: Path
) -> None:
    simulator.faults.set("tushare.stock_basic", "hang")
    idle = asyncio.create_task(http.get(STATUS, params={"wait": 60, "job": "stock_basics"}))
    waiting = asyncio.create_task(http.post(RUN, params={"wait": 60}))
    await asyncio.sleep(0.5)
    began = time.monotonic()
    code = await asyncio.to_thread(running.stop)
    assert time.monotonic() - began < 5
    assert code == 0
    assert (await idle).status_code == 200
    run = checked(await waiting, 202)
    assert run["status"] == "running"
    with closing(sqlite3.connect(tmp_path / "stocks.db")) as db:
        (stored,) = db.execute("SELECT document FROM sync_runs WHERE run_id = ?", (run["run_id"],)).fetchone()
        assert db.execute("SELECT run_id, owner FROM lease").fetchone() == (None, None), "the slot is free"
    assert (json.loads(stored)["status"], json.loads(stored)["reason"]) == ("failed", "cancelled")
