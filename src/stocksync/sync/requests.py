"""What somebody asks of a job, what he is told, and what the operation log says of it."""

from dataclasses import dataclass

from stocksync.audit import ActionType, Actor, OperationLogService, log_operation
from stocksync.domain.status import Job, SyncStats, Trigger
from stocksync.errors import StocksyncError
from stocksync.ports import RunStore


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """What somebody asks for, and who. `run_id` is for whoever must know it before the run begins."""

    job: Job = Job.MULTI
    force: bool = False
    preferred_sources: tuple[str, ...] = ()
    trigger: Trigger
    actor: Actor
    run_id: str | None = None


@dataclass(frozen=True, slots=True)
class Started:
    """How the job stands after the request.

    `accepted` is False where another run goes on instead, `replayed` True where the request came before.
    """

    stats: SyncStats
    accepted: bool
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class RunRecords:
    """The records of everybody who asked for a run. Raises StoreError."""

    audit: OperationLogService
    runs: RunStore

    async def accepted(self, request: RunRequest, run_id: str) -> None:
        """Record a request whose run has the slot; how the run ends is added by whoever closes it."""
        log_id = await self._record(request, run_id=run_id)
        run = await self.runs.get(run_id)
        if run is not None and run.final:  # displaced already, and whoever closed it found no record
            await self.audit.complete_run(log_id, run)

    async def refused(self, request: RunRequest, error: StocksyncError, *, after_ms: int) -> None:
        """Record a request that got no run."""
        await self._record(request, error=str(error), duration_ms=after_ms)

    async def _record(
        self,
        request: RunRequest,
        *,
        run_id: str | None = None,
        error: str | None = None,
        duration_ms: int | None = None,
    ) -> str:
        return await log_operation(
            self.audit,
            request.actor,
            action_type=ActionType.DATA_IMPORT,
            action="运行股票基础信息同步",
            details={
                "run_id": run_id,
                "job": request.job.value,
                "trigger": request.trigger.value,
                "force": request.force,
                "preferred_sources": list(request.preferred_sources),
            },
            error_message=error,
            duration_ms=duration_ms,
            run_id=run_id,
        )
