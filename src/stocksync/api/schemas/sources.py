"""The sources: how they do, which is used, what to recommend."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from stocksync.api.schemas.base import Count, Shape
from stocksync.domain.stock import Dataset
from stocksync.sync.breaker import BreakerState

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


class DatasetHealthOut(Shape):
    """一个数据源的一个数据集；从未请求过的数据集不列出，未知为 null。"""

    dataset: Dataset
    state: Annotated[
        BreakerState, Field(description="closed：正常请求；open：冷却中，不请求；half_open：下次试探一次")
    ]
    failures: Annotated[Count, Field(description="连续失败的次数")]
    open_until: Annotated[datetime | None, Field(description="冷却至")]
    last_success_at: datetime | None
    last_error: str | None
    last_error_at: datetime | None
    latency_ms: Annotated[int | None, Field(ge=0, description="上次成功的用时")]
    rows: Annotated[int | None, Field(ge=0, description="上次成功的可用行数")]


class SourceHealthOut(Shape):
    """一个数据源的健康状况。冷却中的不会为此请求，此时 checked_at 和 check_ms 为 null。"""

    name: str
    priority: int
    description: str
    provides: Annotated[list[Dataset], Field(description="提供哪些数据集")]
    available: bool
    message: str
    token_required: bool
    token_source: TokenSource
    checked_at: datetime | None
    check_ms: Annotated[int | None, Field(ge=0, description="最近一次连通性检查的用时")]
    datasets: list[DatasetHealthOut]


class SourcesHealthEnvelope(Shape):
    """成功的应答，data 为各数据源的健康状况。"""

    success: Literal[True]
    data: list[SourceHealthOut]
    message: str


class CacheOut(Shape):
    """清除了什么。"""

    cleared: Literal[True]
    items_cleared: Count


class CacheEnvelope(Shape):
    """成功的应答，data 为清除的结果。"""

    success: Literal[True]
    data: CacheOut
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
