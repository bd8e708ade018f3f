"""The documented route of the status; the plain GET never comes here, the gateway answers it."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Query, Request
from starlette.responses import Response

from stocksync.api.schemas.base import problems_doc
from stocksync.api.schemas.status import StatusEnvelope
from stocksync.api.state import view_of
from stocksync.domain.status import Job

router = APIRouter(tags=["同步"])

Wait = Annotated[float, Query(ge=0, le=60, description="长轮询：最多等待的秒数，有变化时提前返回")]
Since = Annotated[int | None, Query(ge=0, description="已知的 revision；等待比它新的状态")]
KnownTag = Annotated[str | None, Header(alias="If-None-Match", description="已知的 ETag；没有变化时返回 304")]

_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    304: {"description": "自 If-None-Match 所示版本以来没有变化"},
    **problems_doc(422, 503),
}


@router.get(
    "/api/sync/status",
    summary="同步状态（别名）",
    response_model=StatusEnvelope,
    responses=_RESPONSES,
)
@router.get(
    "/api/sync/stock_basics/status",
    summary="同步状态",
    response_model=StatusEnvelope,
    responses=_RESPONSES,
)
async def get_status(
    request: Request,
    job: Annotated[
        Job | None, Query(description="只看一个任务；缺省为两个任务中最新的（运行中的优先）")
    ] = None,
    wait: Wait = 0,
    since_revision: Since = None,
    if_none_match: KnownTag = None,
) -> Response:
    """此刻同步的准确状态。没有变化时 revision 和 ETag 不变；运行中至少每 200 毫秒有一个新的 revision。"""
    view = view_of(request)
    if wait:
        known = view.get(job).stats.revision if since_revision is None else since_revision
        await view.wait(lambda: view.get(job).stats.revision > known, wait, request.receive)
    snapshot = view.get(job)
    start, body = snapshot.messages((if_none_match or "").encode("latin-1"))
    return Response(
        body["body"], start["status"], {name.decode(): value.decode() for name, value in start["headers"]}
    )


@router.get(
    "/api/sync/multi-source/status",
    summary="多数据源同步的状态",
    response_model=StatusEnvelope,
    responses=_RESPONSES,
)
async def get_multi_source_status(
    request: Request, wait: Wait = 0, since_revision: Since = None, if_none_match: KnownTag = None
) -> Response:
    """与 `GET /api/sync/stock_basics/status?job=stock_basics_multi_source` 相同。"""
    return await get_status(request, Job.MULTI, wait, since_revision, if_none_match)
