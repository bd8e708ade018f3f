"""The verb `sources`: which upstreams are switched on, in order of trust, and whether they answer."""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict

from stocksync.cli.desk import SourceLine, open_desk
from stocksync.cli.outcome import ExitCode
from stocksync.cli.output import print_json
from stocksync.cli.session import prepare
from stocksync.cli.tables import add_row, console, table
from stocksync.settings import Settings


def sources(*, test: bool, as_json: bool, store: str | None, server: str | None) -> int:
    """List them; with `test`, fail where none of them works."""
    reports = asyncio.run(_look(prepare(store, server), test=test))
    if as_json:
        print_json([asdict(report) for report in reports])
    else:
        _print(reports, test=test)
    works = not test or any(report.available for report in reports)
    return ExitCode.SUCCESS if works else ExitCode.FAILED


async def _look(settings: Settings, *, test: bool) -> Sequence[SourceLine]:
    async with open_desk(settings) as desk:
        return await desk.sources(test=test)


def _print(reports: Sequence[SourceLine], *, test: bool) -> None:
    shown = table(">顺序", "数据源", "配置", *(["测试"] if test else []), "说明")
    for report in reports:
        result = ["可用" if report.available else f"不可用：{report.error}"] if test else []
        add_row(shown, report.order, report.name, _configured(report), *result, report.description)
    console().print(shown)


def _configured(report: SourceLine) -> str:
    if not report.token_required:
        return "无需令牌"
    return "已配置令牌" if report.configured else "未配置令牌"
