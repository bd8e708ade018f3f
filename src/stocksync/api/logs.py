"""The operation log: looking, counting, exporting, clearing, and a front end's own records."""

import json
import math
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Query, Request
from starlette.responses import Response

from stocksync.api.csv_text import MARK, CsvResponse, csv_lines
from stocksync.api.moments import EndDate, StartDate
from stocksync.api.runs import actor_of
from stocksync.api.schemas.base import problems_doc
from stocksync.api.schemas.logs import (
    ClearedEnvelope,
    ClearLogsRequest,
    CreatedEnvelope,
    CreateLogRequest,
    LogStatsEnvelope,
    OperationLogEnvelope,
    OperationLogsEnvelope,
)
from stocksync.api.state import app_of
from stocksync.api.view import answer
from stocksync.audit import OperationLogCreate
from stocksync.domain.wire import MARKET_ZONE, iso
from stocksync.errors import LogNotFound
from stocksync.ports import LONGEST_KEYWORD, LogFilter, OperationLog

router = APIRouter(prefix="/api/system/logs", tags=["操作日志"])

_HEADER: Final = (
    "时间（北京时间）", "操作类型", "操作", "结果", "错误信息", "耗时（毫秒）", "用户名", "用户编号",
    "IP 地址", "用户代理", "会话编号", "详情", "编号",
)  # fmt: skip


def wanted_logs(
    start_date: StartDate = None,
    end_date: EndDate = None,
    action_type: Annotated[str | None, Query(max_length=64, description="操作类型")] = None,
    success: Annotated[bool | None, Query(description="是否成功")] = None,
    keyword: Annotated[
        str | None,
        Query(
            max_length=LONGEST_KEYWORD,
            pattern=r"^[^\x00]*$",
            description="按原文查找：操作、用户名、错误信息、IP 地址、详情中的文字；不分大小写",
        ),
    ] = None,
) -> LogFilter:
    """The filters that listing and export share; an empty text is no filter."""
    return LogFilter(
        start=start_date,
        end=end_date,
        action_type=action_type or None,
        success=success,
        keyword=keyword or None,
    )


Wanted = Annotated[LogFilter, Depends(wanted_logs)]


@router.get(
    "/list",
    summary="操作日志",
    response_model=OperationLogsEnvelope,
    responses=problems_doc(422, 503),
)
async def list_logs(
    request: Request,
    wanted: Wanted,
    page: Annotated[int, Query(ge=1, le=1_000_000)] = 1,
    page_size: Annotated[int, Query(ge=1, le=100)] = 20,
) -> Response:
    """按条件筛选，最新的在前。"""
    logs = app_of(request).store.logs
    total = await logs.count(wanted)
    found = await logs.search(wanted, limit=page_size, offset=(page - 1) * page_size)
    return answer(
        {
            "logs": [_shown(log) for log in found],
            "total": total,
            "page": page,
            "page_size": page_size,
            "total_pages": math.ceil(total / page_size),
        }
    )


@router.get(
    "/stats",
    summary="操作日志统计",
    response_model=LogStatsEnvelope,
    responses=problems_doc(422, 503),
)
async def log_stats(
    request: Request, days: Annotated[int, Query(ge=1, le=365, description="最近的天数")] = 30
) -> Response:
    """最近若干天：成功率、各类操作的次数、一天中各小时（北京时间）的次数。"""
    stats = await app_of(request).audit.recent_stats(days)
    rate = stats.succeeded / stats.total * 100 if stats.total else 0.0
    return answer(
        {
            "total_logs": stats.total,
            "success_logs": stats.succeeded,
            "failed_logs": stats.total - stats.succeeded,
            "success_rate": round(rate, 1),
            "action_type_distribution": dict(stats.by_type),
            "hourly_distribution": [
                {"hour": f"{hour:02}:00", "count": count} for hour, count in enumerate(stats.by_hour)
            ],
        }
    )


@router.get(
    "/export/csv",
    summary="导出操作日志",
    response_class=CsvResponse,
    responses={
        200: {
            "description": "CSV（RFC 4180，UTF-8 带 BOM），条数不限，边查边发",
            "headers": {"Content-Disposition": {"description": "文件名", "schema": {"type": "string"}}},
        },
        **problems_doc(422, 503),
    },
)
async def export_csv(request: Request, wanted: Wanted) -> Response:
    """筛选条件与列表相同，最新的在前，时间为北京时间。导出本身也会留下一条记录。"""
    app = app_of(request)
    pages = app.audit.export(actor_of(request), wanted)
    # Before the answer begins: what fails here is still a problem document.
    first = await anext(pages, None) or ()
    today = f"{app.clock.now().astimezone(MARKET_ZONE):%Y-%m-%d}"
    disposition = f'attachment; filename="operation_logs_{today}.csv"'
    headers = {"Content-Disposition": disposition, "Cache-Control": "no-store"}
    return CsvResponse(_file(first, pages), headers=headers)


@router.post(
    "/clear",
    summary="清空操作日志",
    response_model=ClearedEnvelope,
    responses=problems_doc(415, 422, 503),
)
async def clear_logs(request: Request, body: ClearLogsRequest) -> Response:
    """删除记录，不可恢复；days 之内的保留。清空本身会留下一条记录。"""
    cleared = await app_of(request).audit.clear(
        actor_of(request), keep_days=body.days, action_type=body.action_type or None
    )
    which = {"days": body.days, "action_type": body.action_type or None, "before": iso(cleared.before)}
    return answer({"deleted_count": cleared.count, "filter": which}, f"已清空 {cleared.count} 条操作日志")


@router.post(
    "/create",
    summary="记录一次操作",
    response_model=CreatedEnvelope,
    responses=problems_doc(415, 422, 503),
)
async def create_log(request: Request, body: CreateLogRequest) -> Response:
    """供前端记录自己的操作；时间、地址和用户代理由服务填写。"""
    actor = replace(actor_of(request), session_id=body.session_id)
    record = OperationLogCreate(**body.model_dump(exclude={"session_id"}))
    return answer({"log_id": await app_of(request).audit.create_log(actor, record)})


@router.get(
    "/{log_id}",
    summary="一条操作日志",
    response_model=OperationLogEnvelope,
    responses=problems_doc(404, 422, 503),
)
async def get_log(request: Request, log_id: Annotated[str, Path(max_length=64)]) -> Response:
    """一条操作日志的全部内容。"""
    log = await app_of(request).store.logs.get(log_id)
    if log is None:
        raise LogNotFound("没有这条操作日志，或已被清空")
    return answer(_shown(log))


def _shown(log: OperationLog) -> dict[str, Any]:
    return {
        "id": log.id,
        "user_id": log.user_id,
        "username": log.username,
        "action_type": log.action_type,
        "action": log.action,
        "details": dict(log.details),
        "success": log.success,
        "error_message": log.error_message,
        "duration_ms": log.duration_ms,
        "ip_address": log.ip_address,
        "user_agent": log.user_agent,
        "session_id": log.session_id,
        "timestamp": iso(log.timestamp),
        "created_at": iso(log.created_at),
    }


async def _file(
    first: Sequence[OperationLog], rest: AsyncIterator[Sequence[OperationLog]]
) -> AsyncIterator[bytes]:
    yield MARK + csv_lines([_HEADER, *map(_row, first)])
    async for page in rest:
        yield csv_lines(map(_row, page))


def _row(log: OperationLog) -> tuple[object, ...]:
    return (
        f"{log.timestamp.astimezone(MARKET_ZONE):%Y-%m-%d %H:%M:%S}",
        log.action_type,
        log.action,
        "成功" if log.success else "失败",
        log.error_message,
        log.duration_ms,
        log.username,
        log.user_id,
        log.ip_address,
        log.user_agent,
        log.session_id,
        json.dumps(dict(log.details), ensure_ascii=False) if log.details else "",
        log.id,
    )
