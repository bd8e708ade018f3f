"""The status object."""

import json
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from stocksync.api.schemas.base import Count, Shape
from stocksync.domain.status import Job, Outcome, Phase, Reason, SyncStatus, Trigger
from stocksync.domain.stock import Dataset


class SourceCountOut(Shape):
    """一个数据源提供的股票数，和其中已入库的数量。"""

    total: Count
    success: Count


class ProgressOut(Shape):
    """进度；未知为 null。"""

    percent: Annotated[float | None, Field(ge=0, le=100)]
    rate_per_s: Annotated[float | None, Field(description="每秒写入的行数")]
    eta_seconds: Annotated[float | None, Field(description="预计剩余秒数")]
    elapsed_ms: Annotated[int | None, Field(description="已用毫秒数")]


class AttemptOut(Shape):
    """向一个数据源的一次询问，及其结果。"""

    dataset: Dataset
    source: str
    outcome: Outcome
    rows: Count
    dropped: Annotated[Count, Field(description="不属于 A 股范围而略去的行数")]
    duration_ms: Count
    error: str | None


class RejectOut(Shape):
    """一行无法入库的数据，及其原因。"""

    code: str
    field: str
    value: str
    reason: str


class SyncStatsOut(Shape):
    """同步状态。完成的运行满足 total = inserted + updated + errors。"""

    job: Job
    data_type: Literal["stock_basics"]
    status: SyncStatus
    started_at: datetime | None
    finished_at: datetime | None
    total: Annotated[Count, Field(description="范围内的 A 股总数；名单取得后即确定")]
    inserted: Count
    updated: Annotated[Count, Field(description="已确认为最新的已有行，无论是否需要写入")]
    errors: Count
    last_trade_date: Annotated[str | None, Field(pattern=r"^\d{8}$", description="指标所属的交易日")]
    data_sources_used: list[str]
    source_stats: dict[str, SourceCountOut]
    message: str | None
    total_tasks: Count
    completed_tasks: Count
    failed_tasks: Count
    run_id: str | None
    revision: Annotated[Count, Field(description="全库唯一递增的版本号")]
    reason: Annotated[Reason | None, Field(description="失败的原因")]
    stale_since: Annotated[
        datetime | None, Field(description="数据库自此不可用，状态可能已过时；正常为 null")
    ]
    unchanged: Annotated[Count, Field(description="updated 中无需写入的数量")]
    trigger: Trigger | None
    phase: Phase | None
    progress: ProgressOut
    attempts: list[AttemptOut]
    rejects_sample: Annotated[list[RejectOut], Field(max_length=20)]


_STATS_EXAMPLE: dict[str, Any] = {
    "job": "stock_basics_multi_source",
    "data_type": "stock_basics",
    "status": "success",
    "started_at": "2026-11-23T18:30:00.000000+08:00",
    "finished_at": "2026-11-23T18:30:03.512000+08:00",
    "total": 5450,
    "inserted": 2,
    "updated": 5448,
    "errors": 0,
    "last_trade_date": "20261123",
    "data_sources_used": ["stock_list:tushare", "trade_date:tushare", "daily_data:tushare"],
    "source_stats": {"tushare": {"total": 5450, "success": 5450}},
    "message": "同步完成，共 5450 只：新增 2，更新 5448（11 只无变化），交易日 20261123",
    "total_tasks": 5450,
    "completed_tasks": 5450,
    "failed_tasks": 0,
    "run_id": "20261123-183000-1f0c9a2b",
    "revision": 7000031,
    "reason": None,
    "stale_since": None,
    "unchanged": 11,
    "trigger": "api",
    "phase": "done",
    "progress": {"percent": 100.0, "rate_per_s": 21800.0, "eta_seconds": None, "elapsed_ms": 3512},
    "attempts": [
        {
            "dataset": "stock_list",
            "source": "tushare",
            "outcome": "ok",
            "rows": 5450,
            "dropped": 0,
            "duration_ms": 1240,
            "error": None,
        }
    ],
    "rejects_sample": [],
}


STATUS_EXAMPLE: dict[str, Any] = {"success": True, "data": _STATS_EXAMPLE, "message": "操作成功"}


EVENTS_EXAMPLE = (
    f"retry: 2000\n\nid: {_STATS_EXAMPLE['revision']}\nevent: status\n"
    f"data: {json.dumps(_STATS_EXAMPLE, ensure_ascii=False)}\n\n"
)


class StatusEnvelope(Shape):
    """成功的应答，data 为同步状态。"""

    success: Literal[True]
    data: SyncStatsOut
    message: str
