"""The verb `sources`: which upstreams are switched on, in order of trust, and whether they answer."""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from stocksync.app import open_app
from stocksync.cli.outcome import ExitCode
from stocksync.cli.output import print_json
from stocksync.cli.session import prepare
from stocksync.cli.tables import add_row, console, table
from stocksync.domain.stock import Dataset
from stocksync.ports import Source
from stocksync.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceLine:
    """What can be said of a source. `available` and `error` are None where nobody asked it."""

    order: int
    name: str
    description: str
    provides: list[str]
    token_required: bool
    configured: bool
    available: bool | None
    error: str | None


def sources(*, test: bool, as_json: bool, store: str | None) -> int:
    """List them; with `test`, fail where none of them works."""
    reports = asyncio.run(_look(prepare(store), test=test))
    if as_json:
        print_json([asdict(report) for report in reports])
    else:
        _print(reports, test=test)
    works = not test or any(report.available for report in reports)
    return ExitCode.SUCCESS if works else ExitCode.FAILED


async def _look(settings: Settings, *, test: bool) -> list[SourceLine]:
    async with open_app(settings) as app:
        errors: dict[str, str | None] | None = None
        if test:
            reports = await app.monitor.test()
            errors = {report.name: None if report.available else report.message for report in reports}
        return [
            _report(order, source, settings, errors)
            for order, source in enumerate(app.service.sources.values(), start=1)
        ]


def _report(
    order: int, source: Source, settings: Settings, errors: dict[str, str | None] | None
) -> SourceLine:
    setting = f"{source.name}_token"
    token_required = setting in type(settings).model_fields
    error = None if errors is None else errors[source.name]
    return SourceLine(
        order=order,
        name=source.name,
        description=source.description,
        provides=[dataset.value for dataset in Dataset if dataset in source.provides],
        token_required=token_required,
        configured=not token_required or getattr(settings, setting) is not None,
        available=None if errors is None else error is None,
        error=error,
    )


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
