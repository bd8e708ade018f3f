"""From settings to an ASGI application: the gateway in front, one router a family behind it."""

import gc
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.middleware.cors import CORSMiddleware

from stocksync import __version__
from stocksync.api import document, events, health, history, logs, page, problems, runs, sources, status
from stocksync.api.events import StatusEvents
from stocksync.api.gateway import Gateway
from stocksync.api.shutdown import on_stop_signal
from stocksync.api.sse import open_streams
from stocksync.api.state import State
from stocksync.api.view import StatusView
from stocksync.app import App, open_app
from stocksync.logs import configure_logging
from stocksync.settings import Settings, load_settings

OpenApp = Callable[[Settings], AbstractAsyncContextManager[App]]

_DESCRIPTION = """\
保持 A 股股票基础信息数据库准确，并随时准确说明同步状态。

成功的应答是 `{"success": true, "data": …, "message": …}`；错误是 RFC 9457 的 `application/problem+json`，
同时带有 `success: false`、`data: null`、`message` 和稳定的 `code`。
"""


_open_serving: OpenApp = partial(open_app, resume=True)
"""A server stays, so it can go on with what was interrupted."""


def create_api(settings: Settings, *, opener: OpenApp = _open_serving) -> Gateway:
    """Build the application; `opener` opens what it works with when the server starts, and closes it."""
    gateway = Gateway(settings.allowed_hosts, settings.allowed_origins)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[State]:
        async with opener(settings) as app:
            view = StatusView(app.service.board)
            gateway.status = view
            keep_collections_short()
            async with open_streams(settings.max_streams) as streams:
                status_events = StatusEvents(app.service.board, view, app.store.runs, streams)
                await status_events.learn_ends()
                streams.keep(status_events.follow())
                gateway.events = status_events

                def send_home() -> None:
                    view.close()
                    streams.close()

                with on_stop_signal(send_home):
                    yield State(app=app, status=view, streams=streams, events=status_events)
                send_home()

    api = FastAPIOffline(
        title="stocksync",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=lifespan,
        openapi_url="/openapi.json",
        redirect_slashes=False,
    )
    if settings.allowed_origins:
        api.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.allowed_origins),
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=["ETag", "Location", "Retry-After", "Preference-Applied"],
        )
    problems.install(api)
    document.make_exact(api)
    for router in (
        status.router, events.router, runs.router, history.router, sources.router, logs.router,
        health.router,
    ):  # fmt: skip
        api.include_router(router)
    page.install(api, page.read_page())
    gateway.application = api
    return gateway


def keep_collections_short() -> None:
    """Leave what was made at the start out of later garbage collections: it would cost 20 ms at a time."""
    gc.collect()
    gc.freeze()


def from_environment() -> Gateway:
    """Build the application from STOCKSYNC_* alone: what the server's worker processes call."""
    settings = load_settings()
    configure_logging(settings.log_level)
    return create_api(settings)
