"""The composition root: wires settings, store, sources and service. What opens a thing closes it."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from stocksync.audit import OperationLogService
from stocksync.clock import SystemClock
from stocksync.ports import Clock, Store
from stocksync.settings import Settings
from stocksync.sources import build_sources
from stocksync.stores import open_store
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


@asynccontextmanager
async def open_app(settings: Settings, clock: Clock | None = None) -> AsyncIterator[App]:
    """Open everything, and close it in the opposite order. Raises StoreError, SettingsInvalid."""
    clock = clock or SystemClock()
    async with AsyncExitStack() as stack:
        sources = build_sources(settings, clock)
        for source in sources.values():
            stack.push_async_callback(source.aclose)
        store = await open_store(settings.store)
        stack.push_async_callback(store.aclose)
        audit = OperationLogService(store.logs, clock)
        service = MultiSourceBasicsSyncService(
            store=store, sources=sources, audit=audit, clock=clock, settings=settings
        )
        stack.push_async_callback(service.aclose)
        await service.open()
        monitor = SourceMonitor(
            sources, store.health, clock, token_source="env" if settings.tushare_token else None
        )
        stack.push_async_callback(monitor.aclose)
        yield App(settings=settings, store=store, service=service, audit=audit, monitor=monitor)
