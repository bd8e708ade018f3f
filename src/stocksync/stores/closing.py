"""How a run that lost the slot is closed: the same words and the same numbers in every store."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Final

from stocksync.domain.journal import RunEvent
from stocksync.domain.status import Reason, SyncStats, fail, recount
from stocksync.ports import Fence

_MESSAGES: Final = {
    Reason.SUPERSEDED: "同步任务已被新的强制任务取代",
    Reason.INTERRUPTED: "同步进程意外中断，任务未完成",
    Reason.CANCELLED: "同步任务已被取消",
}


def closed(
    stats: SyncStats,
    marks: Mapping[str, tuple[int, int]],
    *,
    reason: Reason,
    revision: int,
    at: datetime,
) -> SyncStats:
    """End a displaced run, with counters that match what it really stored (`marks`, see StockStore.marks)."""
    ended = fail(recount(stats, marks), at=at, reason=reason, message=_MESSAGES[reason])
    return replace(ended, revision=revision)


def closing_event(stats: SyncStats, *, at: datetime) -> RunEvent:
    """The last line of the log of a run that was closed."""
    return RunEvent(
        at=at, level="error", event="run_closed", message=stats.message or "", data={"reason": stats.reason}
    )


def displacing_revision(token: int) -> int:
    """The revision that closes the run which `token` displaced: step 0, before the first of its own."""
    return Fence(token=token, owner="", run_id="").revision(0)
