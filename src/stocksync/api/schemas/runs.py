"""Runs of the past: their history, what each of them said, rejected and changed."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from stocksync.api.schemas.base import Count, Shape
from stocksync.api.schemas.status import RejectOut, SyncStatsOut
from stocksync.domain.changes import ChangeKind

Level = Literal["info", "warning", "error"]


class PageOut(Shape):
    """一页记录的位置。"""

    total: Annotated[Count, Field(description="符合条件的总数")]
    page: Annotated[int, Field(ge=1)]
    page_size: Annotated[int, Field(ge=1)]
    has_more: Annotated[bool, Field(description="后面是否还有")]


class HistoryOut(PageOut):
    """运行的历史，每次运行一条，最新的在前。"""

    records: list[SyncStatsOut]


class RunsOut(HistoryOut):
    """运行的历史，可按 next_cursor 稳定翻页。"""

    next_cursor: Annotated[str | None, Field(description="下一页的 cursor；没有更多时为 null")]


class LogRecordOut(Shape):
    """运行日志的一行。"""

    seq: Annotated[Count, Field(description="在该次运行日志中的位置，递增，可能有间隔")]
    at: datetime
    level: Level
    event: Annotated[str, Field(description="供程序识别的事件名")]
    message: Annotated[str, Field(description="供人阅读的说明")]
    data: dict[str, Any]


class LogOut(Shape):
    """运行日志的一段。"""

    records: list[LogRecordOut]
    next_after: Annotated[int, Field(ge=-1, description="最后一行的 seq；没有新行时为请求中的 after")]
    final: Annotated[bool, Field(description="运行已结束，且之后不再有日志")]


class RejectsOut(PageOut):
    """一次运行中无法入库的行，及各自的原因。"""

    records: list[RejectOut]


class ChangeOut(Shape):
    """市场的一项变化；code 和 name 是变化之后的。"""

    kind: Annotated[
        ChangeKind,
        Field(
            description="listed 新上市，delisted 不再列出，relisted 重新列出，"
            "renamed 更名，moved_board 转板，renumbered 更换代码"
        ),
    ]
    code: Annotated[str, Field(pattern=r"^[0-9]{6}$")]
    source: Annotated[str, Field(description="名单来自哪个数据源")]
    name: str
    before: Annotated[str | None, Field(description="更名前的名称、转板前的板块或原代码")]
    after: Annotated[str | None, Field(description="更名后的名称、转板后的板块或新代码")]


class ChangesOut(PageOut):
    """一次运行中市场的变化。"""

    records: list[ChangeOut]
    counts: Annotated[dict[ChangeKind, Count], Field(description="各类变化的数量，不受 kind 参数影响")]


class RunsEnvelope(Shape):
    """成功的应答。"""

    success: Literal[True]
    data: RunsOut
    message: str


class HistoryEnvelope(Shape):
    """成功的应答。"""

    success: Literal[True]
    data: HistoryOut
    message: str


class LogEnvelope(Shape):
    """成功的应答。"""

    success: Literal[True]
    data: LogOut
    message: str


class RejectsEnvelope(Shape):
    """成功的应答。"""

    success: Literal[True]
    data: RejectsOut
    message: str


class ChangesEnvelope(Shape):
    """成功的应答。"""

    success: Literal[True]
    data: ChangesOut
    message: str
