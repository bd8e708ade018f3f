"""Where the verbs do their work: at a store, or at a server. What they show is the same."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from stocksync.domain.status import Job, SyncStats
from stocksync.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """The run that somebody wants."""

    job: Job
    force: bool
    preferred_sources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Begun:
    """How the job stands after a wish; `accepted` is False where another run goes on instead."""

    stats: SyncStats
    accepted: bool


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


class Desk(Protocol):
    """What the verbs need. Raises StoreError at a store, RemoteError at a server."""

    async def begin(self, wish: Wish) -> Begun:
        """Start a run. Raises UnknownSource at a store."""
        ...

    def changes(self, job: Job | None) -> AsyncGenerator[SyncStats, None]:
        """How a job stands, then every change; whoever is slow misses steps in between, never the last."""
        ...

    async def get_run(self, run: SyncStats) -> SyncStats:
        """How a run stands now."""
        ...

    def known(self, run: SyncStats) -> SyncStats:
        """How a run stands as far as is known here, also when the desk is closed."""
        ...

    async def end(self, run: SyncStats) -> None:
        """Ask a run to end and wait a little for it; say so where that is not enough."""
        ...

    async def cancel(self, run_id: str | None) -> SyncStats:
        """Ask for the end of the run that goes on, or of this one only. Raises NoRunInProgress."""
        ...

    async def history(self, limit: int) -> Sequence[SyncStats]:
        """The newest runs."""
        ...

    async def sources(self, *, test: bool) -> Sequence[SourceLine]:
        """The sources in order of trust; with `test`, after a real call to each."""
        ...


@asynccontextmanager
async def open_desk(settings: Settings) -> AsyncIterator[Desk]:
    """Open the store, or a client of the server that the settings name, and load nothing of the other."""
    if settings.server is None:
        from stocksync.cli.local import open_local_desk  # noqa: PLC0415 - only where it is used

        async with open_local_desk(settings) as local:
            yield local
    else:
        from stocksync.cli.remote import open_remote_desk  # noqa: PLC0415 - only where it is used

        async with open_remote_desk(settings) as remote:
            yield remote
