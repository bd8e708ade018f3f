"""How things read in Chinese: words for the wire's words, times in the market's zone, figures."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from stocksync.domain.status import Attempt, Job, Outcome, Phase, Reason, SyncStats, SyncStatus, Trigger
from stocksync.domain.stock import Dataset
from stocksync.domain.wire import MARKET_ZONE

NONE: Final = "—"

JOBS: Final[Mapping[Job, str]] = {Job.MULTI: "多数据源", Job.SINGLE: "单数据源"}

STATUSES: Final[Mapping[SyncStatus, str]] = {
    SyncStatus.IDLE: "空闲",
    SyncStatus.NEVER_RUN: "从未运行",
    SyncStatus.RUNNING: "运行中",
    SyncStatus.SUCCESS: "成功",
    SyncStatus.SUCCESS_WITH_ERRORS: "完成但有错误",
    SyncStatus.FAILED: "失败",
}
REASONS: Final[Mapping[Reason, str]] = {
    Reason.ERROR: "出错",
    Reason.ALL_SOURCES_FAILED: "所有数据源都失败",
    Reason.INCOMPLETE_DATA: "数据不完整",
    Reason.CANCELLED: "已取消",
    Reason.SUPERSEDED: "被强制任务取代",
    Reason.INTERRUPTED: "意外中断",
    Reason.STORE_UNAVAILABLE: "数据库不可用",
}
TRIGGERS: Final[Mapping[Trigger, str]] = {
    Trigger.API: "接口",
    Trigger.CLI: "命令行",
    Trigger.SCHEDULE: "定时",
    Trigger.STARTUP: "启动",
    Trigger.RESCUE: "恢复",
}
PHASES: Final[Mapping[Phase, str]] = {
    Phase.STARTING: "准备",
    Phase.STOCK_LIST: "获取股票列表",
    Phase.TRADE_DATE: "确定交易日",
    Phase.DAILY_DATA: "获取每日指标",
    Phase.MERGE: "合并",
    Phase.WRITE: "写入",
    Phase.RECONCILE: "核对退市",
    Phase.DONE: "完成",
}
OUTCOMES: Final[Mapping[Outcome, str]] = {
    Outcome.OK: "成功",
    Outcome.EMPTY: "无数据",
    Outcome.INCOMPLETE: "不完整",
    Outcome.NOT_FINAL: "未定稿",
    Outcome.DENIED: "被拒绝",
    Outcome.RATE_LIMITED: "超出频次",
    Outcome.BANNED: "被封禁",
    Outcome.TIMEOUT: "超时",
    Outcome.ERROR: "失败",
    Outcome.SKIPPED: "跳过",
}
DATASETS: Final[Mapping[Dataset, str]] = {
    Dataset.STOCK_LIST: "股票列表",
    Dataset.TRADE_DATE: "交易日历",
    Dataset.DAILY_DATA: "每日指标",
    Dataset.ROE: "净资产收益率",
}


def outcome(stats: SyncStats) -> str:
    """How a run went, with the reason where it failed."""
    word = STATUSES[stats.status]
    return word if stats.reason is None else f"{word}（{REASONS[stats.reason]}）"


def phase(stats: SyncStats) -> str:
    """Where a run is."""
    return NONE if stats.phase is None else PHASES[stats.phase]


def when(moment: datetime | None) -> str:
    """A moment on the market's clock."""
    return NONE if moment is None else f"{moment.astimezone(MARKET_ZONE):%Y-%m-%d %H:%M:%S}"


def duration(seconds: float | None) -> str:
    """A length of time, as exact as people need it."""
    if seconds is None:
        return NONE
    if seconds < 60:  # noqa: PLR2004 - seconds in a minute
        return f"{seconds:.1f} 秒"
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes} 分 {seconds:02d} 秒"


def elapsed(stats: SyncStats) -> str:
    """How long a run took, or has taken so far."""
    milliseconds = stats.progress.elapsed_ms
    return duration(None if milliseconds is None else milliseconds / 1000)


def figures(stats: SyncStats) -> str:
    """How far and how fast; only what is known."""
    progress = stats.progress
    parts = (
        f"{stats.processed}/{stats.total}" if stats.total else "",
        f"{progress.percent:g}%" if progress.percent is not None else "",
        f"{progress.rate_per_s:.0f} 只/秒" if progress.rate_per_s is not None else "",
        f"预计还需 {duration(progress.eta_seconds)}" if progress.eta_seconds is not None else "",
    )
    return "  ".join(part for part in parts if part)


def counts(stats: SyncStats) -> str:
    """What became of the stocks."""
    updated = f"更新 {stats.updated}（其中无变化 {stats.unchanged}）"
    return f"总数 {stats.total}，新增 {stats.inserted}，{updated}，错误 {stats.errors}"


def failure(attempt: Attempt) -> str:
    """What a source did not give, and why."""
    error = f"：{attempt.error}" if attempt.error else ""
    return f"{attempt.source} {DATASETS[attempt.dataset]}{OUTCOMES[attempt.outcome]}{error}"


def sources_used(labels: tuple[str, ...]) -> str:
    """Labels like "stock_list:tushare", for people."""
    pairs = [label.partition(":") for label in labels]
    return "、".join(f"{DATASETS[Dataset(dataset)]} {source}" for dataset, _, source in pairs) or NONE
