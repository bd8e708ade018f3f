"""SyncStats as the JSON object that the API, the CLI and the stores share (mission, section 2)."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any, Final, TypeVar
from zoneinfo import ZoneInfo

from stocksync.domain.status import (
    Attempt,
    Job,
    Outcome,
    Phase,
    Progress,
    Reason,
    Reject,
    SourceCount,
    SyncStats,
    SyncStatus,
    Trigger,
)
from stocksync.domain.stock import Dataset

Part = TypeVar("Part", SourceCount, Progress, Attempt, Reject)

MARKET_ZONE: Final = ZoneInfo("Asia/Shanghai")
"""The market's zone: every time on the wire carries its offset."""

DATA_TYPE: Final = "stock_basics"


def iso(moment: datetime | None) -> str | None:
    """Write a moment as ISO 8601 with microseconds and the market's offset."""
    return None if moment is None else moment.astimezone(MARKET_ZONE).isoformat(timespec="microseconds")


def moment(text: str | None) -> datetime | None:
    """Read a moment; a naive one, as older services wrote them, is the market's time."""
    if text is None:
        return None
    value = datetime.fromisoformat(text)
    return value if value.tzinfo else value.replace(tzinfo=MARKET_ZONE)


def to_wire(stats: SyncStats) -> dict[str, Any]:
    """Write a snapshot, computed fields included; everything in it is JSON."""
    return {
        "job": stats.job.value,
        "data_type": DATA_TYPE,
        "status": stats.status.value,
        "started_at": iso(stats.started_at),
        "finished_at": iso(stats.finished_at),
        "total": stats.total,
        "inserted": stats.inserted,
        "updated": stats.updated,
        "errors": stats.errors,
        "last_trade_date": stats.last_trade_date,
        "data_sources_used": list(stats.data_sources_used),
        "source_stats": {name: asdict(count) for name, count in stats.source_stats.items()},
        "message": stats.message,
        "total_tasks": stats.total,
        "completed_tasks": stats.inserted + stats.updated,
        "failed_tasks": stats.errors,
        "run_id": stats.run_id,
        "revision": stats.revision,
        "reason": _value(stats.reason),
        "stale_since": iso(stats.stale_since),
        "unchanged": stats.unchanged,
        "trigger": _value(stats.trigger),
        "phase": _value(stats.phase),
        "progress": asdict(stats.progress),
        "attempts": [
            {**asdict(attempt), "dataset": attempt.dataset.value, "outcome": attempt.outcome.value}
            for attempt in stats.attempts
        ],
        "rejects_sample": [asdict(reject) for reject in stats.rejects_sample],
    }


def _value(member: Reason | Trigger | Phase | None) -> str | None:
    return None if member is None else member.value


def _read(kind: type[Part], item: Mapping[str, Any]) -> Part:
    """Build a part of a snapshot from the fields that this version knows."""
    return kind(**{each.name: item[each.name] for each in fields(kind) if each.name in item})


def from_wire(document: Mapping[str, Any]) -> SyncStats:
    """Read a snapshot that `to_wire` wrote, also a newer version's: fields that are not known are ignored.

    Raises KeyError, TypeError or ValueError for anything else.
    """
    return SyncStats(
        job=Job(document["job"]),
        status=SyncStatus(document["status"]),
        run_id=document["run_id"],
        revision=document["revision"],
        reason=Reason(document["reason"]) if document["reason"] else None,
        trigger=Trigger(document["trigger"]) if document["trigger"] else None,
        phase=Phase(document["phase"]) if document["phase"] else None,
        started_at=moment(document["started_at"]),
        finished_at=moment(document["finished_at"]),
        stale_since=moment(document["stale_since"]),
        total=document["total"],
        inserted=document["inserted"],
        updated=document["updated"],
        unchanged=document["unchanged"],
        errors=document["errors"],
        last_trade_date=document["last_trade_date"],
        data_sources_used=tuple(document["data_sources_used"]),
        source_stats={name: _read(SourceCount, count) for name, count in document["source_stats"].items()},
        message=document["message"],
        progress=_read(Progress, document["progress"]),
        attempts=tuple(
            _read(Attempt, {**item, "dataset": Dataset(item["dataset"]), "outcome": Outcome(item["outcome"])})
            for item in document["attempts"]
        ),
        rejects_sample=tuple(_read(Reject, item) for item in document["rejects_sample"]),
    )
