"""The desk at a store: runs live in this process."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from stocksync.app import App, open_app
from stocksync.cli.desk import Begun, SourceLine, Wish
from stocksync.cli.output import note
from stocksync.cli.session import this_actor
from stocksync.domain.status import Job, SyncStats, Trigger
from stocksync.domain.stock import Dataset
from stocksync.errors import NoRunInProgress, StoreError
from stocksync.ports import Source
from stocksync.settings import Settings
from stocksync.sync.requests import RunRequest

CANCEL_SECONDS: Final = 2.0
"""How long a run that was asked to end may take for it, before closing the application stops it."""


@asynccontextmanager
async def open_local_desk(settings: Settings) -> AsyncIterator["LocalDesk"]:
    """Open the application for as long as the desk is used. Raises StoreError, SettingsInvalid."""
    async with open_app(settings) as app:
        yield LocalDesk(app)


@dataclass(frozen=True, slots=True)
class LocalDesk:
    """Implements Desk over an open application."""

    app: App

    async def begin(self, wish: Wish) -> Begun:
        request = RunRequest(
            job=wish.job,
            force=wish.force,
            preferred_sources=wish.preferred_sources,
            trigger=Trigger.CLI,
            actor=this_actor(),
        )
        started = await self.app.service.start(request)
        return Begun(started.stats, started.accepted)

    async def changes(self, job: Job | None) -> AsyncGenerator[SyncStats, None]:
        board = self.app.service.board
        while True:
            shown = board.get(job)
            yield shown
            await board.wait_for(lambda: board.get(job) is not shown)  # noqa: B023 - done before the next round

    async def get_run(self, run: SyncStats) -> SyncStats:
        return await self.app.service.wait(run, seconds=0)

    def known(self, run: SyncStats) -> SyncStats:
        return self.app.service.board.get(run.job)

    async def end(self, run: SyncStats) -> None:
        try:
            async with asyncio.timeout(CANCEL_SECONDS):
                await self.cancel(run.run_id)
                await self.app.service.wait(run, seconds=None)
        except NoRunInProgress:
            return  # it ended by itself meanwhile
        except (TimeoutError, StoreError):
            note("同步任务没有及时结束，正在强行停止")

    async def cancel(self, run_id: str | None) -> SyncStats:
        return await self.app.service.cancel(this_actor(), run_id)

    async def history(self, limit: int) -> Sequence[SyncStats]:
        return await self.app.store.runs.history(limit=limit)

    async def sources(self, *, test: bool) -> Sequence[SourceLine]:
        errors: dict[str, str | None] | None = None
        if test:
            reports = await self.app.monitor.test()
            errors = {report.name: None if report.available else report.message for report in reports}
        sources = self.app.service.sources.values()
        return [
            _line(order, source, self.app.settings, errors) for order, source in enumerate(sources, start=1)
        ]


def _line(order: int, source: Source, settings: Settings, errors: dict[str, str | None] | None) -> SourceLine:
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
