"""The desk at a server: everything goes over its API."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from stocksync.cli.desk import Begun, SourceLine, Wish
from stocksync.cli.output import note
from stocksync.cli.session import USER_AGENT
from stocksync.client import AsyncStocksyncClient
from stocksync.domain.health import SourceReport
from stocksync.domain.status import Job, SyncStats
from stocksync.errors import NoRunInProgress, RunInProgress, ServerError, SettingsInvalid
from stocksync.settings import Settings

_CANCEL_SECONDS: Final = 5.0
"""A server ends a run within 2 seconds, and then it has to be told."""


@asynccontextmanager
async def open_remote_desk(settings: Settings) -> AsyncIterator["RemoteDesk"]:
    """Make a client of the server for as long as the desk is used. Raises SettingsInvalid."""
    try:
        client = AsyncStocksyncClient(settings.server or "", user_agent=USER_AGENT)
    except ValueError as exc:
        raise SettingsInvalid(f"服务器地址无效：{exc}") from exc
    async with client:
        yield RemoteDesk(client)


@dataclass(frozen=True, slots=True)
class RemoteDesk:
    """Implements Desk over a client."""

    client: AsyncStocksyncClient

    async def begin(self, wish: Wish) -> Begun:
        try:
            stats = await self.client.run(
                force=wish.force,
                preferred_sources=wish.preferred_sources,
                mode="multi" if wish.job is Job.MULTI else "single",
            )
        except ServerError as exc:
            if exc.code != RunInProgress.code:
                raise
            return Begun(await self.client.status(), accepted=False)
        return Begun(stats, accepted=True)

    def changes(self, job: Job | None) -> AsyncGenerator[SyncStats, None]:
        return self.client.watch(job)

    async def get_run(self, run: SyncStats) -> SyncStats:
        return await self.client.get_run(run.run_id or "")

    def known(self, run: SyncStats) -> SyncStats:
        return run

    async def end(self, run: SyncStats) -> None:
        try:
            await self.cancel(run.run_id)
        except NoRunInProgress:
            return  # it ended by itself meanwhile
        stats = await self.client.wait(run.run_id or "", timeout=_CANCEL_SECONDS)
        if not stats.final:
            note("已请求取消，但同步任务还没有结束")

    async def cancel(self, run_id: str | None) -> SyncStats:
        try:
            return await self.client.cancel(run_id)
        except ServerError as exc:
            if exc.code != NoRunInProgress.code:
                raise
            raise NoRunInProgress(exc.detail) from exc

    async def history(self, limit: int) -> Sequence[SyncStats]:
        return [stats async for stats in self.client.history(limit=limit)]

    async def sources(self, *, test: bool) -> Sequence[SourceLine]:
        standings = await self.client.sources()
        errors = await self.client.test_sources() if test else {}
        return [
            _line(order, standing.report, errors.get(standing.report.name), tested=test)
            for order, standing in enumerate(standings, start=1)
        ]


def _line(order: int, report: SourceReport, error: str | None, *, tested: bool) -> SourceLine:
    return SourceLine(
        order=order,
        name=report.name,
        description=report.description,
        provides=[dataset.value for dataset in report.provides],
        token_required=report.token_required,
        configured=not report.token_required or report.token_source is not None,
        available=error is None if tested else None,
        error=error,
    )
