"""Who did what: every trigger, cancel and change leaves a record in operation_logs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from stocksync.ports import Clock, OperationLog, OperationLogStore


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
    run_id: str | None = None


class OperationLogService:
    """Writes records. Raises StoreError: an action that cannot be recorded is not carried out silently."""

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
                run_id=record.run_id,
                username=actor.username,
                user_id=actor.user_id,
                ip_address=actor.ip_address,
                user_agent=actor.user_agent,
                session_id=actor.session_id,
            )
        )


async def log_operation(
    service: OperationLogService,
    actor: Actor,
    *,
    action_type: str,
    action: str,
    details: Mapping[str, Any],
    error_message: str | None = None,
    run_id: str | None = None,
) -> str:
    """Record what `actor` asked for, accepted unless there is an `error_message`; gives the record's id.

    Every trigger, cancel and change passes here. Raises StoreError.
    """
    record = OperationLogCreate(
        action_type=action_type,
        action=action,
        success=error_message is None,
        details=details,
        error_message=error_message,
        run_id=run_id,
    )
    return await service.create_log(actor, record)
