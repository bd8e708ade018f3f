"""The verbs `doctor` and `repair`: a look at a database before the first write, and its repair."""

import asyncio
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any, Final

from rich.table import Table
from rich.text import Text

from stocksync.cli.outcome import ExitCode
from stocksync.cli.output import note, print_json
from stocksync.cli.session import prepare, this_actor
from stocksync.cli.tables import add_row, console, table
from stocksync.cli.words import NONE
from stocksync.settings import Settings
from stocksync.stores.doctor import examine
from stocksync.stores.doctor import repair as repair_store
from stocksync.stores.report import Finding, RepairReport, Report, Severity, SourceRows

_SEVERITIES: Final = {
    Severity.INFO: ("提示", ""),
    Severity.WARNING: ("警告", "yellow"),
    Severity.BLOCKING: ("阻碍", "red"),
}
_SHOWN: Final = 3
"""Names and examples in a line; --json has them all."""


def doctor(*, as_json: bool, store: str | None) -> int:
    """Look and write nothing; fail where something must be mended before the first sync."""
    settings = prepare(store)
    report = asyncio.run(examine(settings.store))
    if as_json:
        print_json({"store": _address(settings), **_plain(report)})
    else:
        _print_report(settings, report)
    return ExitCode.FAILED if report.blocked else ExitCode.SUCCESS


def repair(*, apply: bool, units: bool, as_json: bool, store: str | None) -> int:
    """Mend what can be mended, or only say what would be done; fail where something still blocks."""
    settings = prepare(store)
    done = asyncio.run(repair_store(settings.store, apply=apply, units=units, actor=this_actor()))
    if as_json:
        steps = [asdict(step) for step in done.steps]
        print_json({"store": _address(settings), "applied": apply, "steps": steps, "left": _plain(done.left)})
    else:
        _print_repair(done, units=units)
    return ExitCode.FAILED if apply and done.left.blocked else ExitCode.SUCCESS


def _address(settings: Settings) -> str:
    """Where the database is, without password and options: options may hold secrets too."""
    return str(settings.masked()["store"]).partition("?")[0]


def _plain(report: Report) -> dict[str, Any]:
    return {**asdict(report), "blocked": report.blocked}


def _print_report(settings: Settings, report: Report) -> None:
    shown = console()
    shown.print(_facts(settings, report))
    shown.print()
    if report.findings:
        shown.print(_findings(report.findings))
        shown.print()
    shown.print(_conclusion(report))


def _facts(settings: Settings, report: Report) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column()
    server = report.server
    add_row(grid, "数据库", _address(settings))
    add_row(grid, "服务器", f"{server.kind} {server.version}，{server.topology}")
    add_row(grid, "保证", server.promises)
    for each in report.sources:
        add_row(grid, "股票", _rows(each))
    if report.to_create:
        named = "、".join(report.to_create[:_SHOWN])
        more = " 等" if len(report.to_create) > _SHOWN else ""
        add_row(grid, "首次启动", f"新建 {len(report.to_create)} 项：{named}{more}")
    return grid


def _rows(each: SourceRows) -> str:
    name = each.source or "（无数据源）"
    if not each.foreign:
        return f"{name} {each.rows} 行"
    when = "，不会被同步更新" if each.source is None else "，由该数据源的下一次同步整理"
    return f"{name} {each.rows} 行，其中 {each.foreign} 行从未由本服务写过{when}"


def _findings(findings: Iterable[Finding]) -> Table:
    shown = table("级别", "问题", ">数量", "说明", "修复")
    for finding in findings:
        word, style = _SEVERITIES[finding.severity]
        examples = f"；例如 {'、'.join(finding.examples[:_SHOWN])}" if finding.examples else ""
        repair_text = finding.repair or NONE
        if finding.needs_units:
            repair_text += "（需要 --units）"
        add_row(
            shown, Text(word, style=style), finding.code, finding.count, f"{finding.message}{examples}",
            repair_text,
        )  # fmt: skip
    return shown


def _conclusion(report: Report) -> str:
    if report.blocked:
        return "有阻碍同步的问题：stocksync repair 显示会做什么，加 --apply 执行"
    if any(finding.repair for finding in report.findings):
        return "可以同步；stocksync repair 显示能修复什么，加 --apply 执行"
    return "可以同步，没有需要修复的内容"


def _print_repair(done: RepairReport, *, units: bool) -> None:
    if not done.steps:
        note("没有能自动修复的内容")
    else:
        console().print(_steps(done, units=units))
    if not done.applied and done.steps:
        note("以上只是计划，什么都没有改动；请先停止旧服务并备份，再加 --apply 执行")
    if done.applied and done.left.blocked:
        note("仍有阻碍同步的问题，请用 stocksync doctor 查看")


def _steps(done: RepairReport, *, units: bool) -> Table:
    shown = table("问题", ">数量", "修复", "结果")
    for step in done.steps:
        if step.done is not None:
            result = f"已修复 {step.done}"
        elif step.needs_units and not units:
            result = "未执行：这是一种判断，需要 --units"
        else:
            result = "将会执行"
        add_row(shown, step.code, step.count, step.repair, result)
    return shown
