"""The routes about sources. An existing front end calls exactly those of the multi-source family."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Body, Request
from starlette.responses import Response

from stocksync.api.runs import actor_of
from stocksync.api.schemas.base import problems_doc
from stocksync.api.schemas.sources import (
    CacheEnvelope,
    CurrentEnvelope,
    RecommendationsEnvelope,
    SourcesEnvelope,
    SourcesHealthEnvelope,
    SourceTestRequest,
    SourceTestsEnvelope,
)
from stocksync.api.state import app_of
from stocksync.api.view import answer
from stocksync.audit import ActionType, OperationLogCreate
from stocksync.domain.health import SourceHealth, SourceReport, SourceStanding
from stocksync.domain.wire import iso
from stocksync.sync.breaker import breaker_state
from stocksync.sync.sources import priority_of

router = APIRouter(prefix="/api/sync", tags=["数据源"])

_TOKEN_NAMES = {"env": "环境变量", "database": "数据库"}


@router.get(
    "/multi-source/sources/status",
    summary="各数据源是否可用",
    response_model=SourcesEnvelope,
    responses=problems_doc(503),
)
async def sources_status(request: Request) -> Response:
    """按优先级列出数据源（priority 越大越优先）。页面可以轮询：结果最多保留 60 秒，不会每次都请求上游。"""
    reports = await app_of(request).monitor.reports()
    return answer(
        [
            {**_source(report), "available": report.available, "description": report.description}
            for report in reports
        ]
    )


@router.get(
    "/multi-source/sources/current",
    summary="当前使用的数据源",
    response_model=CurrentEnvelope,
    responses=problems_doc(503),
)
async def sources_current(request: Request) -> Response:
    """下一次同步首先使用的数据源：优先级最高的可用者；都不可用时 name 为 null。"""
    report = await app_of(request).monitor.current()
    if report is None:
        return answer({"name": None, "priority": None, "description": None})
    data = {**_source(report), "description": report.description}
    if report.token_source:
        data["token_source_display"] = _TOKEN_NAMES[report.token_source]
    return answer(data)


@router.get(
    "/sources/health",
    summary="各数据源的健康状况",
    response_model=SourcesHealthEnvelope,
    responses=problems_doc(503),
)
async def sources_health(request: Request) -> Response:
    """各数据源最近一次连通性检查（最多保留 60 秒），和每个数据集上次的成功、失败、冷却、用时与行数。"""
    app = app_of(request)
    now = app.clock.now()
    return answer([_standing(standing, now) for standing in await app.monitor.health()])


@router.post(
    "/multi-source/test-sources",
    summary="测试数据源",
    response_model=SourceTestsEnvelope,
    responses=problems_doc(415, 422, 503),
)
async def check_sources(
    request: Request, body: Annotated[SourceTestRequest | None, Body(description="缺省测试全部数据源")] = None
) -> Response:
    """对每个数据源发出一次真实请求，同时进行，各自最多 10 秒。"""
    app = app_of(request)
    name = body.source_name if body else None
    record = OperationLogCreate(
        action_type=ActionType.SYSTEM_SETTINGS, action="测试数据源连接", details={"source_name": name}
    )
    async with app.audit.recorded(actor_of(request), record) as recording:
        reports = await app.monitor.test(name)
        recording.details.update((report.name, report.available) for report in reports)
    results = [
        {**_source(report), "available": report.available, "message": report.message} for report in reports
    ]
    return answer({"test_results": results})


@router.get(
    "/multi-source/recommendations",
    summary="数据源使用建议",
    response_model=RecommendationsEnvelope,
    responses=problems_doc(503),
)
async def recommendations(request: Request) -> Response:
    """该用哪个数据源，以及什么需要处理；原因是实际测得的。"""
    advice = await app_of(request).monitor.recommendations()
    primary = advice.primary
    return answer(
        {
            "primary_source": primary
            and {"name": primary, "priority": priority_of(primary), "reason": advice.reason},
            "fallback_sources": [{"name": name, "priority": priority_of(name)} for name in advice.fallbacks],
            "suggestions": list(advice.suggestions),
            "warnings": list(advice.warnings),
        }
    )


@router.delete(
    "/multi-source/cache",
    summary="清除缓存",
    response_model=CacheEnvelope,
    responses=problems_doc(503),
)
async def clear_cache(request: Request) -> Response:
    """只清除缓存（数据源的检查结果），绝不触及历史记录或正在运行的任务。"""
    app = app_of(request)
    record = OperationLogCreate(action_type=ActionType.CACHE_OPERATION, action="清除缓存")
    async with app.audit.recorded(actor_of(request), record) as recording:
        dropped = recording.details["items_cleared"] = app.monitor.forget()
    return answer({"cleared": True, "items_cleared": dropped})


def _standing(standing: SourceStanding, now: datetime) -> dict[str, Any]:
    report = standing.report
    return {
        "name": report.name,
        "priority": report.priority,
        "description": report.description,
        "provides": [dataset.value for dataset in report.provides],
        "available": report.available,
        "message": report.message,
        "token_required": report.token_required,
        "token_source": report.token_source,
        "checked_at": iso(report.checked_at),
        "check_ms": report.check_ms,
        "datasets": [_dataset(each, now) for each in standing.datasets],
    }


def _dataset(health: SourceHealth, now: datetime) -> dict[str, Any]:
    return {
        "dataset": health.dataset.value,
        "state": breaker_state(health, now).value,
        "failures": health.failures,
        "open_until": iso(health.open_until),
        "last_success_at": iso(health.last_success_at),
        "last_error": health.last_error,
        "last_error_at": iso(health.last_error_at),
        "latency_ms": health.latency_ms,
        "rows": health.rows,
    }


def _source(report: SourceReport) -> dict[str, Any]:
    shown: dict[str, Any] = {"name": report.name, "priority": report.priority}
    return shown | ({"token_source": report.token_source} if report.token_source else {})
