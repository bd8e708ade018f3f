"""What an older service left in sync_status and operation_logs. Reads only."""

from collections.abc import AsyncIterator
from typing import Any, Final

from stocksync.domain.status import Job, SyncStatus
from stocksync.errors import StoreInvalid
from stocksync.stores.mongo.connection import Connection
from stocksync.stores.mongo.doctor.forms import Document, Fix, fix_moments
from stocksync.stores.mongo.doctor.survey import Tally, pages
from stocksync.stores.mongo.schema import LOGS, STATUS
from stocksync.stores.mongo.status import load
from stocksync.stores.report import Finding, Severity

_TIMES: Final = ("timestamp", "created_at")
_MOMENTS: Final = ("started_at", "finished_at")


async def status_findings(connection: Connection) -> AsyncIterator[Finding]:
    """Say how each status document will be read."""
    async for page in pages(connection, STATUS, {}):
        for document in page:
            for finding in _status_findings(document):
                yield finding


async def unreadable_statuses(connection: Connection) -> list[Any]:
    """The _ids of status documents of our own kind that cannot be read: the status could not be told."""
    return [
        document["_id"]
        async for page in pages(connection, STATUS, {})
        for document in page
        if _is_broken(document)
    ]


def _is_broken(document: Document) -> bool:
    if "revision" not in document:
        return False
    try:
        load(document)
    except StoreInvalid:
        return True
    return False


def _status_findings(document: Document) -> list[Finding]:
    job = document.get("job")
    which = f"sync_status 中 {str(job)[:40]} 的状态"
    if _is_broken(document):
        return [
            Finding(
                code="status_unreadable",
                severity=Severity.BLOCKING,
                message=f"{which}无法识别，状态接口会出错",
                repair="整份移入集合 stocksync_repair_removed；历次运行仍在 sync_runs",
            )
        ]
    if "revision" in document:
        return []
    if job not in set(Job):
        return [_note("status_ignored", f"{which}不属于任何任务，不会被使用", Severity.INFO)]
    return _legacy_findings(document, which)


def _legacy_findings(document: Document, which: str) -> list[Finding]:
    found: list[Finding] = []
    word = str(document.get("status", "")).lower()
    if word not in set(SyncStatus):
        found.append(_note("status_unknown_word", f"{which}是未知的 {word[:40]!r}，会显示为失败"))
    if word == SyncStatus.RUNNING:
        found.append(
            _note("status_left_running", f"{which}停留在运行中，会显示为失败；请先确认旧服务已经停止")
        )
    naive = [name for name in _MOMENTS if isinstance(document.get(name), str) and _is_naive(document[name])]
    if naive:
        found.append(
            _note(
                "status_naive_dates", f"{which}的 {'、'.join(naive)} 没有时区，按北京时间理解", Severity.INFO
            )
        )
    return found


def _is_naive(text: str) -> bool:
    time = text.replace(" ", "T").partition("T")[2]
    return not (time.endswith("Z") or "+" in time or "-" in time)


def _note(code: str, message: str, severity: Severity = Severity.WARNING) -> Finding:
    return Finding(code=code, severity=severity, message=message)


async def log_findings(connection: Connection) -> AsyncIterator[Finding]:
    """Say in which records of the operation log the times are no dates."""
    mendable, unreadable = Tally(), Tally()
    async for page in undated_logs(connection):
        for document in page:
            fix = fix_log(document)
            if fix.fields:
                mendable.add(document, *fix.fields)
            if fix.unreadable:
                unreadable.add(document, *fix.unreadable)
    if mendable.rows:
        yield Finding(
            code="log_dates",
            severity=Severity.WARNING,
            message=f"operation_logs 的 {mendable.rows} 条记录时间不是日期（{mendable.by_field}），无法排序",
            count=mendable.rows,
            examples=tuple(mendable.examples),
            repair="改为 BSON 日期（无时区的按北京时间）",
        )
    if unreadable.rows:
        yield Finding(
            code="unreadable_log_dates",
            severity=Severity.WARNING,
            message=f"operation_logs 中 {unreadable.rows} 条记录的时间无法识别，保持原样",
            count=unreadable.rows,
            examples=tuple(unreadable.examples),
        )


def undated_logs(connection: Connection) -> AsyncIterator[list[dict[str, Any]]]:
    """The records with a time that is no date."""
    no_date = {"$exists": True, "$not": {"$type": "date"}}
    return pages(connection, LOGS, {"$or": [{name: no_date} for name in _TIMES]}, _TIMES)


def fix_log(document: Document) -> Fix:
    """What a repair changes in one record."""
    return fix_moments(document, _TIMES)
