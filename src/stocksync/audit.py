"""Who did what: every trigger, cancel and change leaves a record in operation_logs."""

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from stocksync.aio import uninterrupted
from stocksync.domain.status import SyncStats
from stocksync.domain.wire import iso
from stocksync.errors import StocksyncError, StoreError
from stocksync.ports import Clock, LogFilter, LogStats, OperationLog, OperationLogStore

_log = logging.getLogger(__name__)


class ActionType(StrEnum):
    """What kind of action a record of ours tells of; a front end's own records may have other kinds."""

    DATA_IMPORT = "data_import"
    DATA_EXPORT = "data_export"
    CACHE_OPERATION = "cache_operation"
    SYSTEM_SETTINGS = "system_settings"
    DATABASE_OPERATION = "database_operation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who asks: a person behind an HTTP request, the CLI or the service itself."""

    username: str | None = None
    user_id: str | None = None
    ip_address: str | None = None
    user_agent: str | None = None
    session_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationLogCreate:
    """What there is to record. `success` means accepted; the outcome of a run is added when it ends."""

    action_type: str
    action: str
    success: bool = True
    details: Mapping[str, Any] = field(default_factory=dict)
    error_message: str | None = None
    duration_ms: int | None = None
    run_id: str | None = None


@dataclass(frozen=True, slots=True)
class Recording:
    """The record of an action that goes on. What is put into `details` is added when the action ends."""

    log_id: str
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cleared:
    """How many records were deleted; with `before`, only those that are older."""

    count: int
    before: datetime | None


class OperationLogService:
    """Writes records, and does what is itself to be recorded.

    Raises StoreError: an action that cannot be recorded is not carried out silently.
    """

    def __init__(self, store: OperationLogStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def create_log(self, actor: Actor, record: OperationLogCreate) -> str:
        """Store a record now and return its id."""
        return await self._store.create(
            OperationLog(
                timestamp=self._clock.now(),
                action_type=record.action_type,
                action=record.action,
                success=record.success,
                details=record.details,
                error_message=record.error_message,
                duration_ms=record.duration_ms,
                run_id=record.run_id,
                username=actor.username,
                user_id=actor.user_id,
                ip_address=actor.ip_address,
                user_agent=actor.user_agent,
                session_id=actor.session_id,
            )
        )

    async def complete_run(self, log_id: str, run: SyncStats) -> None:
        """Set in place how the run that a record started has ended, as whoever closes a run does."""
        await self._store.complete(
            log_id,
            error_message=run.message if run.reason else None,
            duration_ms=run.progress.elapsed_ms or 0,
            details={"outcome": run.status.value},
        )

    async def clear(self, actor: Actor, *, keep_days: int | None, action_type: str | None) -> Cleared:
        """Delete what is older than so many days, and of this type; the record of that stays.

        Raises StoreError.
        """
        before = None if keep_days is None else self._clock.now() - timedelta(days=keep_days)
        asked = {"keep_days": keep_days, "before": iso(before), "action_type": action_type}
        record = OperationLogCreate(
            action_type=ActionType.DATABASE_OPERATION, action="清空操作日志", details=asked
        )
        async with self.recorded(actor, record) as recording:
            wanted = LogFilter(end=before, action_type=action_type)
            count = await self._store.delete(wanted, keep=recording.log_id)
            recording.details["deleted_count"] = count
        return Cleared(count, before)

    async def export(self, actor: Actor, wanted: LogFilter) -> AsyncIterator[Sequence[OperationLog]]:
        """Give every record that is wanted, newest first, a page at a time. Raises StoreError.

        The record of the export is made first, and is not in it.
        """
        record = OperationLogCreate(
            action_type=ActionType.DATA_EXPORT, action="导出操作日志", details={"filter": _as_json(wanted)}
        )
        async with self.recorded(actor, record) as recording:
            recording.details["rows"] = 0
            async for page in self._store.pages(wanted):
                others = [log for log in page if log.id != recording.log_id]
                recording.details["rows"] += len(others)
                yield others

    async def recent_stats(self, days: int) -> LogStats:
        """Count the records of the last days. Raises StoreError."""
        return await self._store.stats(LogFilter(start=self._clock.now() - timedelta(days=days)))

    @asynccontextmanager
    async def recorded(self, actor: Actor, record: OperationLogCreate) -> AsyncIterator[Recording]:
        """Record an action before it is carried out, and in place how it ended and how long it took.

        An action that has been carried out is not made to fail because its end could not be recorded.
        """
        recording = Recording(await self.create_log(actor, record))
        began = self._clock.monotonic()
        error: str | None = "操作中断"
        try:
            yield recording
            error = None
        except StocksyncError as exc:
            error = str(exc)
            raise
        finally:
            elapsed_ms = round((self._clock.monotonic() - began) * 1000)
            await uninterrupted(self._complete(recording, error, elapsed_ms))

    async def _complete(self, recording: Recording, error: str | None, elapsed_ms: int) -> None:
        outcome = "success" if error is None else "failed"
        try:
            await self._store.complete(
                recording.log_id,
                error_message=error,
                duration_ms=elapsed_ms,
                details={**recording.details, "outcome": outcome},
            )
        except StoreError as exc:
            _log.warning("how record %s ended could not be stored: %s", recording.log_id, exc)


def _as_json(wanted: LogFilter) -> Mapping[str, Any]:
    return {
        "start": iso(wanted.start),
        "end": iso(wanted.end),
        "action_type": wanted.action_type,
        "success": wanted.success,
        "keyword": wanted.keyword,
    }


async def log_operation(
    service: OperationLogService,
    actor: Actor,
    *,
    action_type: ActionType,
    action: str,
    details: Mapping[str, Any],
    error_message: str | None = None,
    duration_ms: int | None = None,
    run_id: str | None = None,
) -> str:
    """Record what `actor` asked for, accepted unless there is an `error_message`; gives the record's id.

    Every trigger, cancel and change passes here, save those that are `recorded` while they go on.
    Raises StoreError.
    """
    record = OperationLogCreate(
        action_type=action_type,
        action=action,
        success=error_message is None,
        details=details,
        error_message=error_message,
        duration_ms=duration_ms,
        run_id=run_id,
    )
    return await service.create_log(actor, record)
