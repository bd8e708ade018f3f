"""The composition root: wires settings, store, sources and service. What opens a thing closes it."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final

from stocksync.audit import OperationLogService
from stocksync.clock import SystemClock
from stocksync.ports import Clock, Store
from stocksync.settings import Settings
from stocksync.sources import build_sources
from stocksync.stores import open_store
from stocksync.sync.once import StartOnce
from stocksync.sync.runner import MultiSourceBasicsSyncService
from stocksync.sync.sources import SourceMonitor


@dataclass(frozen=True, slots=True)
class App:
    """Everything that the API and the CLI work with."""

    settings: Settings
    store: Store
    service: MultiSourceBasicsSyncService
    audit: OperationLogService
    monitor: SourceMonitor
    clock: Clock
    once: StartOnce


_CLOSE_SECONDS: Final = 1.0

_log = logging.getLogger(__name__)


@asynccontextmanager
async def open_app(
    settings: Settings, clock: Clock | None = None, *, resume: bool = False
) -> AsyncIterator[App]:
    """Open everything, and close it in the opposite order. Raises StoreError, SettingsInvalid.

    With `resume`, which is for processes that stay, interrupted runs are resumed if the settings allow it.
    """
    clock = clock or SystemClock()
    async with AsyncExitStack() as stack:
        sources = build_sources(settings, clock)
        for source in sources.values():
            stack.push_async_callback(source.aclose)
        store = await open_store(settings.store)
        stack.push_async_callback(_close_in_time, store)
        audit = OperationLogService(store.logs, clock)
        service = MultiSourceBasicsSyncService(
            store=store,
            sources=sources,
            audit=audit,
            clock=clock,
            settings=settings,
            resume=resume and settings.resume_interrupted,
        )
        stack.push_async_callback(service.aclose)
        await service.open()
        monitor = SourceMonitor(
            sources, store.health, clock, tokens={"tushare": "env" if settings.tushare_token else None}
        )
        stack.push_async_callback(monitor.aclose)
        yield App(
            settings=settings,
            store=store,
            service=service,
            audit=audit,
            monitor=monitor,
            clock=clock,
            once=StartOnce(service, store.keys, clock),
        )


async def _close_in_time(store: Store) -> None:
    """Close a store; one that hangs does not keep the process from stopping."""
    try:
        async with asyncio.timeout(_CLOSE_SECONDS):
            await store.aclose()
    except TimeoutError:
        _log.warning("the store did not close in time")
