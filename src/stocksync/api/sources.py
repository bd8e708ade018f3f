"""The multi-source family's routes about sources; an existing front end calls exactly these."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Request
from starlette.responses import Response

from stocksync.api.runs import actor_of
from stocksync.api.schemas.base import problems_doc
from stocksync.api.schemas.sources import (
    CurrentEnvelope,
    RecommendationsEnvelope,
    SourcesEnvelope,
    SourceTestRequest,
    SourceTestsEnvelope,
)
from stocksync.api.state import app_of
from stocksync.api.view import envelope
from stocksync.audit import log_operation
from stocksync.sync.sources import SourceReport

router = APIRouter(prefix="/api/sync/multi-source", tags=["数据源"])

_TOKEN_NAMES = {"env": "环境变量", "database": "数据库"}


@router.get(
    "/sources/status",
    summary="各数据源是否可用",
    response_model=SourcesEnvelope,
    responses=problems_doc(503),
)
async def sources_status(request: Request) -> Response:
    """按优先级列出数据源（priority 越大越优先）。页面可以轮询：结果最多保留 60 秒，不会每次都请求上游。"""
    reports = await app_of(request).monitor.reports()
    return _answer(
        [
            {**_source(report), "available": report.available, "description": report.description}
            for report in reports
        ]
    )


@router.get(
    "/sources/current",
    summary="当前使用的数据源",
    response_model=CurrentEnvelope,
    responses=problems_doc(503),
)
async def sources_current(request: Request) -> Response:
    """下一次同步首先使用的数据源：优先级最高的可用者；都不可用时 name 为 null。"""
    report = await app_of(request).monitor.current()
    if report is None:
        return _answer({"name": None, "priority": None, "description": None})
    data = {**_source(report), "description": report.description}
    if report.token_source:
        data["token_source_display"] = _TOKEN_NAMES[report.token_source]
    return _answer(data)


@router.post(
    "/test-sources",
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
    reports = await app.monitor.test(name)
    await log_operation(
        app.audit,
        actor_of(request),
        action_type="system_settings",
        action="测试数据源连接",
        details={report.name: report.available for report in reports},
    )
    results = [
        {**_source(report), "available": report.available, "message": report.message} for report in reports
    ]
    return _answer({"test_results": results})


@router.get(
    "/recommendations",
    summary="数据源使用建议",
    response_model=RecommendationsEnvelope,
    responses=problems_doc(503),
)
async def recommendations(request: Request) -> Response:
    """该用哪个数据源，以及什么需要处理；原因是实际测得的。"""
    advice = await app_of(request).monitor.recommendations()
    primary = advice.primary
    return _answer(
        {
            "primary_source": primary
            and {"name": primary.name, "priority": primary.priority, "reason": advice.reason},
            "fallback_sources": [
                {"name": report.name, "priority": report.priority} for report in advice.fallbacks
            ],
            "suggestions": list(advice.suggestions),
            "warnings": list(advice.warnings),
        }
    )


def _source(report: SourceReport) -> dict[str, Any]:
    shown: dict[str, Any] = {"name": report.name, "priority": report.priority}
    return shown | ({"token_source": report.token_source} if report.token_source else {})


def _answer(data: object) -> Response:
    return Response(envelope(data), media_type="application/json", headers={"Cache-Control": "no-cache"})
