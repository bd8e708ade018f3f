"""The shapes of the API for its OpenAPI document. The bytes themselves come from domain.wire."""

from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from stocksync.domain.status import Job, Outcome, Phase, Reason, SyncStatus, Trigger
from stocksync.domain.stock import Dataset

Count = Annotated[int, Field(ge=0)]


class Shape(BaseModel):
    """Exactly these fields."""

    model_config = ConfigDict(extra="forbid")


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


class StatusEnvelope(Shape):
    """成功的应答，data 为同步状态。"""

    success: Literal[True]
    data: SyncStatsOut
    message: str


TokenSource = Annotated[Literal["env", "database"] | None, Field(description="令牌的来源，绝不含令牌本身")]


class SourceOut(Shape):
    """一个数据源；priority 越大越优先。"""

    name: str
    priority: int
    available: bool
    description: str
    token_source: TokenSource = None


class SourcesEnvelope(Shape):
    """成功的应答，data 为数据源列表。"""

    success: Literal[True]
    data: list[SourceOut]
    message: str


class CurrentSourceOut(Shape):
    """当前使用的数据源；都不可用时 name 为 null。"""

    name: str | None
    priority: int | None
    description: str | None
    token_source: TokenSource = None
    token_source_display: str | None = None


class CurrentEnvelope(Shape):
    """成功的应答，data 为当前使用的数据源。"""

    success: Literal[True]
    data: CurrentSourceOut
    message: str


class SourceTestRequest(Shape):
    """要测试的数据源。"""

    source_name: Annotated[
        str | None, Field(max_length=32, description="缺省为全部", examples=["tushare"])
    ] = None


class SourceTestOut(Shape):
    """一次真实请求的结果。"""

    name: str
    priority: int
    available: bool
    message: str
    token_source: TokenSource = None


class SourceTestsOut(Shape):
    """各数据源的测试结果。"""

    test_results: list[SourceTestOut]


class SourceTestsEnvelope(Shape):
    """成功的应答，data 为测试结果。"""

    success: Literal[True]
    data: SourceTestsOut
    message: str


class PrimaryOut(Shape):
    """建议首先使用的数据源。"""

    name: str
    priority: int
    reason: str


class FallbackOut(Shape):
    """后备的数据源。"""

    name: str
    priority: int


class RecommendationsOut(Shape):
    """使用建议。"""

    primary_source: PrimaryOut | None
    fallback_sources: list[FallbackOut]
    suggestions: list[str]
    warnings: list[str]


class RecommendationsEnvelope(Shape):
    """成功的应答，data 为使用建议。"""

    success: Literal[True]
    data: RecommendationsOut
    message: str


class ProblemOut(BaseModel):
    """错误（RFC 9457），code 是稳定的错误代码。"""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    success: Literal[False]
    data: None
    message: str


def problems_doc(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Document that a route can answer with these problems, beside the ones that every route can."""
    schema = {"$ref": "#/components/schemas/ProblemOut"}
    return {
        status: {
            "model": ProblemOut,
            "description": HTTPStatus(status).phrase,
            "content": {"application/problem+json": {"schema": schema}},
        }
        for status in statuses
    }
