"""How a status and a history look on a terminal."""

import os
import sys
from collections.abc import Iterable, Sequence
from typing import Final

from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from stocksync.cli import words
from stocksync.cli.output import one_line
from stocksync.domain.status import Outcome, SyncStats, SyncStatus

_PIPE_WIDTH: Final = 200
"""Columns where stdout is no terminal: what is piped into grep must not be folded."""

_STYLES: Final = {
    SyncStatus.RUNNING: "cyan",
    SyncStatus.SUCCESS: "green",
    SyncStatus.SUCCESS_WITH_ERRORS: "yellow",
    SyncStatus.FAILED: "red",
}


def console() -> Console:
    """Stdout. Texts of any origin are shown as they are: no markup, no emoji codes."""
    piped = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    return Console(markup=False, emoji=False, highlight=False, width=_PIPE_WIDTH if piped else None)


def table(*headings: str) -> Table:
    """An empty table in the house's style; a heading with a leading ">" is of a column of numbers."""
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for heading in headings:
        made.add_column(heading.removeprefix(">"), justify="right" if heading.startswith(">") else "left")
    return made


def add_row(target: Table, *cells: object) -> None:
    """Add a row of texts of any origin."""
    target.add_row(*(cell if isinstance(cell, Text) else one_line(cell) for cell in cells))


def outcome(stats: SyncStats) -> Text:
    """How a run stands or went, in its colour."""
    return Text(words.outcome(stats), style=_STYLES.get(stats.status, ""))


def status_view(stats: SyncStats) -> Group:
    """Everything that people ask about one status."""
    parts: list[Table] = [_facts(stats)]
    if any(attempt.outcome is not Outcome.OK for attempt in stats.attempts):
        parts.append(_attempts(stats))
    if stats.rejects_sample:
        parts.append(_rejects(stats))
    return Group(*_spaced(parts))


def history_view(runs: Sequence[SyncStats]) -> Table:
    """One line a run."""
    shown = table("开始", ">用时", "任务", "触发", "结果", ">总数", ">新增", ">更新", ">错误", "交易日")
    for stats in runs:
        trigger = words.NONE if stats.trigger is None else words.TRIGGERS[stats.trigger]
        add_row(
            shown, words.when(stats.started_at), words.elapsed(stats), words.JOBS[stats.job], trigger,
            outcome(stats), stats.total, stats.inserted, stats.updated, stats.errors,
            stats.last_trade_date or words.NONE,
        )  # fmt: skip
    return shown


def _facts(stats: SyncStats) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column()
    add_row(grid, "状态", outcome(stats).append(f"  {stats.status}", style="dim"))
    add_row(grid, "任务", f"{words.JOBS[stats.job]}  {stats.job}")
    for name, value in _of_the_run(stats) if stats.run_id else ():
        add_row(grid, name, value)
    if stats.message:
        add_row(grid, "说明", stats.message)
    if stats.stale_since is not None:
        add_row(grid, "注意", f"数据库自 {words.when(stats.stale_since)} 起不可达，以上为当时的状态")
    return grid


def _of_the_run(stats: SyncStats) -> Iterable[tuple[str, str]]:
    yield "编号", f"{stats.run_id}"
    yield "触发", words.NONE if stats.trigger is None else words.TRIGGERS[stats.trigger]
    yield "阶段", words.phase(stats)
    yield "开始", words.when(stats.started_at)
    yield "结束", f"{words.when(stats.finished_at)}（用时 {words.elapsed(stats)}）"
    yield "进度", words.figures(stats) or words.NONE
    yield "结果", words.counts(stats)
    yield "交易日", stats.last_trade_date or words.NONE
    yield "数据源", words.sources_used(stats.data_sources_used)
    if stats.source_stats:
        counts = (f"{name} {count.success}/{count.total}" for name, count in stats.source_stats.items())
        yield "名单来源", "、".join(counts)


def _attempts(stats: SyncStats) -> Table:
    shown = table("数据集", "数据源", "结果", ">行数", ">剔除", ">用时", "错误")
    for attempt in stats.attempts:
        add_row(
            shown, words.DATASETS[attempt.dataset], attempt.source, words.OUTCOMES[attempt.outcome],
            attempt.rows, attempt.dropped, words.duration(attempt.duration_ms / 1000), attempt.error or "",
        )  # fmt: skip
    return shown


def _rejects(stats: SyncStats) -> Table:
    shown = table("出错的股票", "字段", "值", "原因")
    for reject in stats.rejects_sample:
        add_row(shown, reject.code, reject.field, reject.value, reject.reason)
    if stats.errors > len(stats.rejects_sample):
        add_row(shown, f"……共 {stats.errors} 条", "", "", "")
    return shown


def _spaced(parts: Sequence[Table]) -> Iterable[Table | str]:
    for n, part in enumerate(parts):
        if n:
            yield ""
        yield part
