"""The API without a server: requests go straight to the application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from stocksync.api import create_api
from stocksync.app import App


@asynccontextmanager
async def in_process(
    app: App, *, address: str = "127.0.0.1", agent: str = "tests/1"
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the API over an application that somebody else opened."""

    @asynccontextmanager
    async def opened(_: object) -> AsyncIterator[App]:
        yield app

    gateway = create_api(app.settings, opener=opened)
    api = gateway.application
    async with api.router.lifespan_context(api) as state:  # type: ignore[union-attr] # it is FastAPI's

        async def with_state(scope: object, receive: object, send: object) -> None:
            scope["state"] = dict(state)  # type: ignore[index]
            await gateway(scope, receive, send)  # type: ignore[arg-type]

        transport = httpx.ASGITransport(with_state, client=(address, 4711))
        async with httpx.AsyncClient(
            transport=transport, base_url="http://localhost:8000", headers={"User-Agent": agent}, timeout=60
        ) as client:
            yield client
