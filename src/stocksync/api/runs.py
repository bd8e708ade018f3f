"""Starting and cancelling runs, and looking one up."""

import hashlib
from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Header, Query, Request
from starlette.responses import Response

from stocksync.api.params import RUN_ID, RunId
from stocksync.api.prefer import Preference, parse_prefer
from stocksync.api.problems import problem_response
from stocksync.api.schemas.base import problems_doc
from stocksync.api.schemas.status import StatusEnvelope
from stocksync.api.state import app_of, view_of
from stocksync.api.view import OK_MESSAGE, envelope
from stocksync.audit import Actor
from stocksync.domain.status import Job, SyncStats, Trigger
from stocksync.domain.wire import to_wire
from stocksync.errors import RunInProgress, StoreError, TooManyWaiting
from stocksync.sync.requests import RunRequest, Started

router = APIRouter(tags=["同步"])

_JOBS: Final = {"multi": Job.MULTI, "single": Job.SINGLE}
_ALREADY_RUNNING: Final = "同步任务正在运行中"
_LONGEST_AGENT: Final = 256

Force = Annotated[bool, Query(description="接管正在运行的任务：旧任务以 superseded 结束")]
Preferred = Annotated[
    str | None, Query(max_length=200, description="本次优先的数据源，逗号分隔", examples=["tushare,akshare"])
]
Wait = Annotated[float | None, Query(ge=0, le=300, description="最多等待的秒数，结束则返回最终状态")]
Prefer = Annotated[str | None, Header(description="wait=N、respond-async、handling=strict（RFC 7240）")]
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        description="重复同一请求时得到同一次运行；24 小时内有效，用于不同的请求则为 422",
    ),
]

_VARY: Final = {"Vary": "Prefer"}
_LOCATION_DOC: Final = {"description": "该次运行的地址", "schema": {"type": "string"}}
_RETRY_DOC: Final = {"description": "建议的轮询间隔（秒）", "schema": {"type": "integer"}}
_APPLIED_DOC: Final = {"description": "采纳了 Prefer 中的哪些", "schema": {"type": "string"}}
_REPLAYED_DOC: Final = {"description": "true：同一个键此前启动的运行", "schema": {"type": "string"}}

_RUN_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "model": StatusEnvelope,
        "description": "已在运行（返回当前状态），或在 wait 时间内已结束",
        "headers": {"Preference-Applied": _APPLIED_DOC, "Idempotency-Replayed": _REPLAYED_DOC},
    },
    202: {
        "description": "已启动",
        "headers": {
            "Location": _LOCATION_DOC,
            "Retry-After": _RETRY_DOC,
            "Preference-Applied": _APPLIED_DOC,
            "Idempotency-Replayed": _REPLAYED_DOC,
        },
    },
    **problems_doc(409, 415, 422, 503),
}


def actor_of(request: Request) -> Actor:
    """Who sends this request, as far as HTTP tells."""
    agent = request.headers.get("user-agent", "")[:_LONGEST_AGENT]
    return Actor(ip_address=request.client.host if request.client else None, user_agent=agent or None)


@router.post(
    "/api/sync/stock_basics/run",
    summary="启动同步",
    status_code=HTTPStatus.ACCEPTED,
    response_model=StatusEnvelope,
    responses=_RUN_RESPONSES,
)
async def run(
    request: Request,
    force: Force = False,
    preferred_sources: Preferred = None,
    mode: Annotated[
        Literal["multi", "single"], Query(description="multi：多数据源；single：只用第一个数据源")
    ] = "multi",
    wait: Wait = None,
    prefer: Prefer = None,
    key: Key = None,
) -> Response:
    """启动一次同步并立即返回 202；`wait=N` 或 `Prefer: wait=N` 则最多等待 N 秒。"""
    wanted = _wanted(request, _JOBS[mode], preferred_sources, force=force)
    return await _run(request, wanted, wait, parse_prefer(prefer), key)


@router.post(
    "/api/sync/multi-source/stock_basics/run",
    summary="启动多数据源同步",
    status_code=HTTPStatus.ACCEPTED,
    response_model=StatusEnvelope,
    responses=_RUN_RESPONSES,
)
async def run_multi_source(
    request: Request,
    force: Force = False,
    preferred_sources: Preferred = None,
    wait: Wait = None,
    prefer: Prefer = None,
    key: Key = None,
) -> Response:
    """与 `POST /api/sync/stock_basics/run` 的 `mode=multi` 相同。"""
    wanted = _wanted(request, Job.MULTI, preferred_sources, force=force)
    return await _run(request, wanted, wait, parse_prefer(prefer), key)


@router.post(
    "/api/sync/stock_basics/cancel",
    summary="取消同步",
    status_code=HTTPStatus.ACCEPTED,
    response_model=StatusEnvelope,
    responses=problems_doc(409, 415, 422, 503),
)
async def cancel(
    request: Request,
    run_id: Annotated[
        str | None,
        Query(pattern=RUN_ID, max_length=64, description="只取消这一次运行；缺省为正在运行的任何一次"),
    ] = None,
) -> Response:
    """请求结束正在运行的任务（任何进程的），2 秒内以 failed / cancelled 结束。"""
    app = app_of(request)
    stats = await app.service.cancel(actor_of(request), run_id)
    return _answer(HTTPStatus.ACCEPTED, stats, "已请求取消同步任务", _where(stats))


@router.get(
    "/api/sync/runs/{run_id}",
    summary="一次运行",
    response_model=StatusEnvelope,
    responses=problems_doc(404, 422, 503),
)
async def get_run(request: Request, run_id: RunId) -> Response:
    """任何一次运行的状态，运行中或已结束。"""
    app = app_of(request)
    return _answer(
        HTTPStatus.OK, await app.service.get_run(run_id), OK_MESSAGE, {"Cache-Control": "no-cache"}
    )


def _wanted(request: Request, job: Job, preferred: str | None, *, force: bool) -> RunRequest:
    names = tuple(name.strip() for name in (preferred or "").split(",") if name.strip())
    return RunRequest(
        job=job, force=force, preferred_sources=names, trigger=Trigger.API, actor=actor_of(request)
    )


async def _run(
    request: Request, wanted: RunRequest, wait: float | None, preference: Preference, key: str | None
) -> Response:
    """Start what is wanted, wait for its end if that is wanted too, and say how it stands then."""
    started = await _start(request, wanted, key)
    headers = _VARY | ({"Idempotency-Replayed": "true"} if started.replayed else {})
    if not started.accepted:
        headers |= preference.applied()
        if preference.strict:
            return problem_response(RunInProgress(_ALREADY_RUNNING), request.url.path, headers)
        return _answer(HTTPStatus.OK, started.stats, _ALREADY_RUNNING, headers)
    seconds = preference.wait if wait is None else wait
    stats = started.stats
    if seconds and not stats.final:
        stats = await _ended(request, stats, seconds)
    headers |= preference.applied(waited=wait is None and bool(seconds), at_once=not seconds)
    if stats.final:
        return _answer(HTTPStatus.OK, stats, stats.message or OK_MESSAGE, headers)
    return _answer(HTTPStatus.ACCEPTED, stats, "同步任务已启动", headers | _where(stats))


async def _start(request: Request, wanted: RunRequest, key: str | None) -> Started:
    app = app_of(request)
    if key is None:
        return await app.service.start(wanted)
    return await app.once.start(key, await _fingerprint(request), wanted)


async def _fingerprint(request: Request) -> str:
    """What makes a request the same: method, path, query and body."""
    parts = (request.method.encode(), request.scope["path"].encode(), request.scope["query_string"])
    digest = hashlib.sha256()
    for part in (*parts, await request.body()):
        digest.update(len(part).to_bytes(8) + part)
    return digest.hexdigest()


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


def _where(stats: SyncStats) -> dict[str, str]:
    return {"Location": f"/api/sync/runs/{stats.run_id}", "Retry-After": "1"}


def _answer(status: HTTPStatus, stats: SyncStats, message: str, headers: Mapping[str, str]) -> Response:
    return Response(envelope(to_wire(stats), message), status, headers, "application/json")
