"""The manners of a long-running operation: Prefer, Idempotency-Key, problems that explain themselves."""

from collections.abc import AsyncIterator

import httpx
import pytest

from api_client import in_process
from stocksync.api.problem_types import PROBLEM_TYPES
from stocksync.api.schemas.base import ProblemOut
from stocksync.api.schemas.status import StatusEnvelope
from stocksync.app import App
from stocksync.errors import (
    LeaseLost,
    RequestRefused,
    RunError,
    RunFailed,
    StocksyncError,
    StoreError,
    StoreUrlInvalid,
)

RUN = "/api/sync/stock_basics/run"
OLD_RUN = "/api/sync/multi-source/stock_basics/run"
KEY = {"Idempotency-Key": "0b5b0a3e-8c3f"}


@pytest.fixture
async def http(app: App) -> AsyncIterator[httpx.AsyncClient]:
    async with in_process(app) as client:
        yield client


def kinds_of(error: type[StocksyncError]) -> set[type[StocksyncError]]:
    below = {kind for child in error.__subclasses__() for kind in kinds_of(child)}
    return below or {error}


def test_every_error_that_a_client_can_meet_has_its_kind_of_problem() -> None:
    never = {LeaseLost, RunFailed, StoreUrlInvalid}  # within a run, or before a server listens
    met = {kind for root in (RunError, StoreError, RequestRefused) for kind in kinds_of(root)} - never
    assert {kind.code for kind in met} <= set(PROBLEM_TYPES)


@pytest.mark.parametrize("code", sorted(PROBLEM_TYPES))
async def test_every_kind_of_problem_is_explained_where_its_type_says(
    code: str, http: httpx.AsyncClient
) -> None:
    page = await http.get(f"/problems/{code}")
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert PROBLEM_TYPES[code].title in page.text
    assert code in page.text


async def test_a_problem_names_the_page_that_explains_it(http: httpx.AsyncClient) -> None:
    answer = await http.post(RUN, params={"preferred_sources": "wind"})
    problem = ProblemOut.model_validate(answer.json())
    assert (answer.status_code, problem.type) == (422, "/problems/unknown_source")
    assert (await http.get(problem.type)).status_code == 200
    assert (await http.get("/problems/no_such_thing")).status_code == 404


async def test_who_prefers_no_waiting_gets_what_he_would_get_anyway(http: httpx.AsyncClient) -> None:
    answer = await http.post(RUN, headers={"Prefer": "respond-async"})
    assert (answer.status_code, answer.headers["preference-applied"]) == (202, "respond-async")
    assert answer.headers["location"] == f"/api/sync/runs/{answer.json()['data']['run_id']}"
    assert answer.headers["retry-after"] == "1"
    assert answer.headers["vary"] == "Prefer"


async def test_who_prefers_to_wait_gets_the_end(http: httpx.AsyncClient) -> None:
    answer = await http.post(RUN, headers={"Prefer": "respond-async, wait=30"})
    assert (answer.status_code, answer.headers["preference-applied"]) == (200, "wait=30")
    assert StatusEnvelope.model_validate(answer.json()).data.status == "success"


async def test_who_prefers_strictness_gets_an_error_where_a_run_goes_on(http: httpx.AsyncClient) -> None:
    await http.post(RUN)
    lenient = await http.post(RUN)
    assert (lenient.status_code, lenient.json()["message"]) == (200, "同步任务正在运行中")
    assert lenient.headers["vary"] == "Prefer"
    strict = await http.post(RUN, headers={"Prefer": "handling=strict"})
    assert (strict.status_code, strict.json()["code"]) == (409, "run_in_progress")
    assert (strict.headers["preference-applied"], strict.headers["vary"]) == ("handling=strict", "Prefer")


async def test_the_same_key_and_request_are_the_same_run(http: httpx.AsyncClient) -> None:
    first = await http.post(RUN, params={"force": "true"}, headers=KEY)
    again = await http.post(RUN, params={"force": "true"}, headers=KEY)
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json()["data"]["run_id"] == first.json()["data"]["run_id"]
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    ended = await http.post(RUN, params={"force": "true"}, headers={**KEY, "Prefer": "wait=30"})
    assert (ended.status_code, ended.json()["data"]["status"]) == (200, "success")
    assert ended.json()["data"]["run_id"] == first.json()["data"]["run_id"]


@pytest.mark.parametrize(
    ("path", "query", "body"),
    [(OLD_RUN, {}, None), (RUN, {"force": "true"}, None), (RUN, {}, {"note": 1})],
    ids=["path", "query", "body"],
)
async def test_the_same_key_for_another_request_is_refused(
    path: str, query: dict[str, str], body: object, http: httpx.AsyncClient
) -> None:
    await http.post(RUN, headers=KEY)
    other = await http.post(path, params=query, json=body, headers=KEY)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


@pytest.mark.parametrize("key", ["", "x" * 256])
async def test_a_key_that_is_none_is_refused(key: str, http: httpx.AsyncClient) -> None:
    answer = await http.post(RUN, headers={"Idempotency-Key": key})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


async def test_the_old_route_runs_many_sources_and_tells_how_they_stand(http: httpx.AsyncClient) -> None:
    before = StatusEnvelope.model_validate((await http.get("/api/sync/multi-source/status")).json()).data
    assert (before.job, before.status) == ("stock_basics_multi_source", "never_run")
    await http.post(RUN, params={"mode": "single", "wait": 30})
    assert (await http.get("/api/sync/multi-source/status")).json()["data"]["status"] == "never_run"
    answer = await http.post(OLD_RUN, params={"wait": 30, "preferred_sources": "tushare"})
    assert answer.json()["data"]["job"] == "stock_basics_multi_source"
    status = await http.get("/api/sync/multi-source/status")
    assert status.json()["data"]["status"] == "success"
    known = {"If-None-Match": status.headers["etag"]}
    assert (await http.get("/api/sync/multi-source/status", headers=known)).status_code == 304


@pytest.mark.parametrize("path", ["/readyz", "/health", "/api/health"])
async def test_every_name_of_the_health_check_answers(path: str, http: httpx.AsyncClient) -> None:
    assert (await http.get(path)).json() == {"status": "ready"}
