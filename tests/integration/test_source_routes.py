"""The multi-source family's routes about sources, over the application without a server."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from api_client import in_process
from stocksync.api.schemas.sources import (
    CacheEnvelope,
    CurrentEnvelope,
    RecommendationsEnvelope,
    SourcesEnvelope,
    SourcesHealthEnvelope,
    SourceTestsEnvelope,
)
from stocksync.app import open_app
from stocksync.domain.stock import Dataset
from stocksync.settings import Settings
from stocksync.simulator import Simulator
from support import settings_for

BASE = "/api/sync/multi-source"


@pytest.fixture
def settings(simulator: Simulator, tmp_path: Path) -> Settings:
    return settings_for(simulator, tmp_path, sources="tushare")


@pytest.fixture
async def http(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with open_app(settings) as app, in_process(app) as client:
        yield client


async def test_the_status_is_answered_from_one_test_a_minute(
    http: httpx.AsyncClient, simulator: Simulator
) -> None:
    for _ in range(20):
        answer = await http.get(f"{BASE}/sources/status")
        SourcesEnvelope.model_validate(answer.json())
    [tushare] = answer.json()["data"]
    assert (tushare["name"], tushare["priority"], tushare["available"]) == ("tushare", 3, True)
    assert tushare.get("token_source") == "env"
    assert simulator.calls.of("tushare.trade_cal") == 1
    assert "simulated-token" not in answer.text


async def test_a_test_is_a_real_call_each_time(http: httpx.AsyncClient, simulator: Simulator) -> None:
    for body in (None, {}, {"source_name": "tushare"}):
        answer = await http.post(f"{BASE}/test-sources", json=body)
        SourceTestsEnvelope.model_validate(answer.json())
    assert simulator.calls.of("tushare.trade_cal") == 3
    simulator.faults.set("tushare.trade_cal", "bad_token")
    [result] = (await http.post(f"{BASE}/test-sources")).json()["data"]["test_results"]
    assert not result["available"]
    assert "令牌无效" in result["message"]


@pytest.mark.parametrize("body", [{"source_name": "wind"}, {"source_name": 5}, {"admin": True}, [1]])
async def test_a_senseless_test_is_refused(http: httpx.AsyncClient, body: object) -> None:
    answer = await http.post(f"{BASE}/test-sources", json=body)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"


async def test_current_and_recommendations_name_the_cause(http: httpx.AsyncClient) -> None:
    current = (await http.get(f"{BASE}/sources/current")).json()
    CurrentEnvelope.model_validate(current)
    assert (current["data"]["name"], current["data"]["token_source_display"]) == ("tushare", "环境变量")
    advice = (await http.get(f"{BASE}/recommendations")).json()
    RecommendationsEnvelope.model_validate(advice)
    assert advice["data"]["primary_source"]["name"] == "tushare"
    assert advice["data"]["fallback_sources"] == []
    assert "只有一个数据源可用" in advice["data"]["suggestions"][0]


async def test_when_nothing_works_that_is_said(simulator: Simulator, settings: Settings) -> None:
    simulator.faults.set("tushare.trade_cal", "http403")
    async with open_app(settings) as app:
        banned = await app.store.health.get("tushare", Dataset.DAILY_DATA)
        assert banned.open_until is None
        assert await app.monitor.current() is None
        advice = await app.monitor.recommendations()
        assert advice.primary is None
        assert any("拒绝访问" in warning for warning in advice.warnings)


async def test_a_cool_down_is_among_the_warnings(simulator: Simulator, settings: Settings) -> None:
    simulator.faults.set("tushare.daily_basic", "http403")
    async with open_app(settings) as app:
        await app.service.run_full_sync()
        advice = await app.monitor.recommendations()
        assert any("每日指标冷却至" in warning for warning in advice.warnings)


async def test_a_page_that_polls_does_not_hammer_a_source_that_cools_down(
    simulator: Simulator, settings: Settings
) -> None:
    simulator.faults.set("tushare.stock_basic", "http403")
    async with open_app(settings) as app:
        await app.service.run_full_sync()
        simulator.calls.reset()
        [report] = await app.monitor.reports()
        assert simulator.calls.get() == {}
        assert not report.available
        assert "冷却" in report.message
        [tested] = await app.monitor.test()
        assert tested.available, "the test button makes a real call"


async def test_the_health_of_a_source_tells_what_each_dataset_did_last(
    http: httpx.AsyncClient, simulator: Simulator
) -> None:
    before = SourcesHealthEnvelope.model_validate((await http.get("/api/sync/sources/health")).json()).data[0]
    assert (before.name, before.available, before.token_source, before.datasets) == (
        "tushare",
        True,
        "env",
        [],
    )
    assert before.checked_at is not None
    assert (before.provides, before.token_required) == (list(Dataset), True)
    simulator.faults.set("tushare.fina_indicator_vip", "no_permission")
    await http.post("/api/sync/stock_basics/run", params={"wait": 30})
    (after,) = SourcesHealthEnvelope.model_validate((await http.get("/api/sync/sources/health")).json()).data
    by_dataset = {each.dataset: each for each in after.datasets}
    listed = by_dataset[Dataset.STOCK_LIST]
    assert listed.state == "closed"
    assert listed.last_success_at is not None
    assert listed.rows
    assert listed.latency_ms is not None
    refused = by_dataset[Dataset.ROE]
    assert refused.last_error_at is not None
    assert (refused.last_success_at, refused.latency_ms, refused.rows) == (None, None, None)


async def test_clearing_the_cache_asks_the_upstreams_again_and_touches_nothing_else(
    http: httpx.AsyncClient, simulator: Simulator
) -> None:
    await http.post("/api/sync/stock_basics/run", params={"wait": 30})
    await http.get(f"{BASE}/sources/status")
    before = simulator.calls.get()
    assert (await http.get(f"{BASE}/sources/status")).status_code == 200
    assert simulator.calls.get() == before
    answer = CacheEnvelope.model_validate((await http.delete(f"{BASE}/cache")).json()).data
    assert (answer.cleared, answer.items_cleared) == (True, 1)
    assert CacheEnvelope.model_validate((await http.delete(f"{BASE}/cache")).json()).data.items_cleared == 0
    await http.get(f"{BASE}/sources/status")
    assert simulator.calls.get() != before
    assert (await http.get("/api/sync/status")).json()["data"]["status"] == "success"
