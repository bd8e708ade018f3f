"""Starting, cancelling and looking up runs."""

from http import HTTPStatus
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Query, Request
from starlette.responses import Response

from stocksync.api.prefer import parse_prefer
from stocksync.api.schemas.base import problems_doc
from stocksync.api.schemas.status import StatusEnvelope
from stocksync.api.state import app_of, view_of
from stocksync.api.view import OK_MESSAGE, envelope
from stocksync.audit import Actor
from stocksync.domain.status import Job, SyncStats, Trigger
from stocksync.domain.wire import to_wire
from stocksync.errors import RunInProgress, StoreError, TooManyWaiting
from stocksync.sync.runner import RunRequest

router = APIRouter(tags=["同步"])

_JOBS = {"multi": Job.MULTI, "single": Job.SINGLE}
_ALREADY_RUNNING = "同步任务正在运行中"
_LONGEST_AGENT = 256


def actor_of(request: Request) -> Actor:
    """Who sends this request, as far as HTTP tells."""
    agent = request.headers.get("user-agent", "")[:_LONGEST_AGENT]
    return Actor(ip_address=request.client.host if request.client else None, user_agent=agent or None)


@router.post(
    "/api/sync/stock_basics/run",
    summary="启动同步",
    status_code=HTTPStatus.ACCEPTED,
    response_model=StatusEnvelope,
    responses={
        200: {"model": StatusEnvelope, "description": "已在运行（返回当前状态），或在 wait 时间内已结束"},
        202: {
            "description": "已启动",
            "headers": {
                "Location": {"description": "该次运行的地址", "schema": {"type": "string"}},
                "Retry-After": {"description": "建议的轮询间隔（秒）", "schema": {"type": "integer"}},
            },
        },
        **problems_doc(409, 415, 422, 503),
    },
)
async def run(
    request: Request,
    force: Annotated[bool, Query(description="接管正在运行的任务：旧任务以 superseded 结束")] = False,
    preferred_sources: Annotated[
        str | None, Query(description="本次优先的数据源，逗号分隔", examples=["tushare,akshare"])
    ] = None,
    mode: Annotated[
        Literal["multi", "single"], Query(description="multi：多数据源；single：只用第一个数据源")
    ] = "multi",
    wait: Annotated[
        float | None, Query(ge=0, le=300, description="最多等待的秒数，结束则返回最终状态")
    ] = None,
    prefer: Annotated[
        str | None, Header(description="wait=N、respond-async、handling=strict（RFC 7240）")
    ] = None,
) -> Response:
    """启动一次同步并立即返回 202；`wait=N` 或 `Prefer: wait=N` 则最多等待 N 秒。"""
    app = app_of(request)
    preference = parse_prefer(prefer)
    started = await app.service.start(
        RunRequest(
            job=_JOBS[mode],
            force=force,
            preferred_sources=_names(preferred_sources),
            trigger=Trigger.API,
            actor=actor_of(request),
        )
    )
    if not started.accepted:
        if preference.strict:
            raise RunInProgress(_ALREADY_RUNNING)
        return _answer(HTTPStatus.OK, started.stats, _ALREADY_RUNNING)
    seconds = preference.wait if wait is None else wait
    stats = started.stats
    if seconds:
        stats = await _ended(request, stats, seconds)
    headers = {"Vary": "Prefer", **preference.applied(waited=wait is None and bool(seconds))}
    if stats.final:
        return _answer(HTTPStatus.OK, stats, stats.message or OK_MESSAGE, headers)
    headers |= {"Location": f"/api/sync/runs/{stats.run_id}", "Retry-After": "1"}
    return _answer(HTTPStatus.ACCEPTED, stats, "同步任务已启动", headers)


@router.post(
    "/api/sync/stock_basics/cancel",
    summary="取消同步",
    status_code=HTTPStatus.ACCEPTED,
    response_model=StatusEnvelope,
    responses=problems_doc(409, 415, 503),
)
async def cancel(request: Request) -> Response:
    """请求结束正在运行的任务（任何进程的），2 秒内以 failed / cancelled 结束。"""
    app = app_of(request)
    stats = await app.service.cancel(actor_of(request))
    location = {"Location": f"/api/sync/runs/{stats.run_id}", "Retry-After": "1"}
    return _answer(HTTPStatus.ACCEPTED, stats, "已请求取消同步任务", location)


@router.get(
    "/api/sync/runs/{run_id}",
    summary="一次运行",
    response_model=StatusEnvelope,
    responses=problems_doc(404, 503),
)
async def get_run(request: Request, run_id: str) -> Response:
    """任何一次运行的状态，运行中或已结束。"""
    app = app_of(request)
    return _answer(
        HTTPStatus.OK, await app.service.get_run(run_id), OK_MESSAGE, {"Cache-Control": "no-cache"}
    )


async def _ended(request: Request, run: SyncStats, seconds: float) -> SyncStats:
    """Wait for the run's end within the server's limits; tell how it stands then."""
    app = app_of(request)
    view = view_of(request)
    board = app.service.board

    def over() -> bool:
        shown = board.get(run.job)
        return shown.run_id != run.run_id or shown.final

    try:
        await view.wait(over, seconds, request.receive)
        return await app.service.get_run(run.run_id or "")
    except (TooManyWaiting, StoreError):
        return run  # it has been started, and that is the answer


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())


def _answer(
    status: HTTPStatus, stats: SyncStats, message: str, headers: dict[str, str] | None = None
) -> Response:
    return Response(envelope(to_wire(stats), message), status, headers, "application/json")
