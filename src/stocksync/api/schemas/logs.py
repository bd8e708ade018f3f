"""The operation log."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from stocksync.api.schemas.base import JSON_INT, Count, Shape

_MOST_EXACT = 2**53 - 1
"""The largest whole number that every reader of JSON keeps exactly."""

Text = Annotated[str, Field(max_length=1000)]
Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^$.\x00]+$")]
Number = Annotated[float, Field(ge=-_MOST_EXACT, le=_MOST_EXACT)]
Whole = Annotated[int, Field(ge=-_MOST_EXACT, le=_MOST_EXACT)]
Days = Annotated[int, Field(ge=1, le=36500), JSON_INT]
Milliseconds = Annotated[int, Field(ge=0, le=_MOST_EXACT), JSON_INT]
Scalar = Text | bool | Whole | Number | None
Detail = Scalar | Annotated[list[Scalar], Field(max_length=100)]
Details = Annotated[
    dict[Name, Detail],
    Field(
        max_length=50,
        description="补充信息：名称 → 文字、数值、真假或它们的列表",
        json_schema_extra={"additionalProperties": False},  # names that the pattern refuses
    ),
]


class OperationLogOut(Shape):
    """一条操作日志。旧服务写入的记录缺少的内容为 null 或空。"""

    id: str
    user_id: str | None
    username: str | None
    action_type: Annotated[str, Field(examples=["data_import"])]
    action: str
    details: dict[str, Any]
    success: Annotated[bool, Field(description="是否被接受并完成；同步的最终结果见 details.outcome")]
    error_message: str | None
    duration_ms: Count | None
    ip_address: str | None
    user_agent: str | None
    session_id: str | None
    timestamp: datetime
    created_at: datetime | None


class OperationLogEnvelope(Shape):
    """成功的应答，data 为一条操作日志。"""

    success: Literal[True]
    data: OperationLogOut
    message: str


class OperationLogsOut(Shape):
    """一页操作日志，最新的在前。"""

    logs: list[OperationLogOut]
    total: Count
    page: Annotated[int, Field(ge=1)]
    page_size: Annotated[int, Field(ge=1, le=100)]
    total_pages: Count


class OperationLogsEnvelope(Shape):
    """成功的应答，data 为一页操作日志。"""

    success: Literal[True]
    data: OperationLogsOut
    message: str


class HourOut(Shape):
    """一天中某一小时（北京时间）的记录数。"""

    hour: Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):00$")]
    count: Count


class LogStatsOut(Shape):
    """操作日志的统计。"""

    total_logs: Count
    success_logs: Count
    failed_logs: Count
    success_rate: Annotated[float, Field(ge=0, le=100, description="百分比，一位小数；没有记录时为 0")]
    action_type_distribution: dict[str, Count]
    hourly_distribution: Annotated[list[HourOut], Field(min_length=24, max_length=24)]


class LogStatsEnvelope(Shape):
    """成功的应答，data 为统计。"""

    success: Literal[True]
    data: LogStatsOut
    message: str


class ClearLogsRequest(Shape):
    """要清空的范围；都缺省则清空全部。"""

    model_config = ConfigDict(strict=True)

    days: Annotated[Days | None, Field(description="保留最近的天数，只清空更早的记录")] = None
    action_type: Annotated[str | None, Field(max_length=64, description="只清空这一类")] = None


class ClearFilterOut(Shape):
    """清空了哪些记录；before 为被清空记录的时间上限。"""

    days: int | None
    action_type: str | None
    before: datetime | None


class ClearedOut(Shape):
    """清空的结果。"""

    deleted_count: Count
    filter: ClearFilterOut


class ClearedEnvelope(Shape):
    """成功的应答，data 为清空的结果。"""

    success: Literal[True]
    data: ClearedOut
    message: str


class CreateLogRequest(Shape):
    """前端自己的一次操作。操作者的地址与用户代理取自请求本身。"""

    model_config = ConfigDict(strict=True)

    action_type: Annotated[str, Field(min_length=1, max_length=64, examples=["system_settings"])]
    action: Annotated[str, Field(min_length=1, max_length=200, examples=["修改显示设置"])]
    details: Details = Field(default_factory=dict)
    success: bool = True
    error_message: Text | None = None
    duration_ms: Milliseconds | None = None
    session_id: Annotated[str | None, Field(max_length=128)] = None


class CreatedOut(Shape):
    """新记录的编号。"""

    log_id: str


class CreatedEnvelope(Shape):
    """成功的应答，data 为新记录的编号。"""

    success: Literal[True]
    data: CreatedOut
    message: str
