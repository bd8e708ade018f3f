"""The runs that were, and what each of them left behind: its log, its rejected rows, its changes."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Header, Query, Request
from starlette.responses import Response

from stocksync.api.moments import EndDate, StartDate
from stocksync.api.params import (
    Cursor,
    PageNumber,
    RunId,
    cursor_of,
    revision_of,
)
from stocksync.api.run_log import following, line_to_wire, place_of, wanted_levels
from stocksync.api.schemas.base import events_doc, problems_doc
from stocksync.api.schemas.runs import (
    ChangesEnvelope,
    HistoryEnvelope,
    Level,
    LogEnvelope,
    RejectsEnvelope,
    RunsEnvelope,
)
from stocksync.api.sse import LONGEST_STREAM, USUAL_STREAM, EventStream
from stocksync.api.state import app_of, streams_of
from stocksync.api.view import answer
from stocksync.domain.changes import ChangeKind
from stocksync.domain.status import Job, SyncStatus, Trigger
from stocksync.domain.wire import to_wire
from stocksync.ports import FIRST, LAST, ROWS_AT_ONCE, RunFilter

router = APIRouter(tags=["运行历史"])

_EVENTS: Final = "text/event-stream"

RowsAPage = Annotated[int, Query(ge=1, le=ROWS_AT_ONCE, description="每页行数")]


@router.get(
    "/api/sync/runs",
    summary="运行历史",
    response_model=RunsEnvelope,
    responses=problems_doc(422, 503),
)
async def list_runs(
    request: Request,
    status: Annotated[
        list[SyncStatus], Query(max_length=len(SyncStatus), description="只看这些状态，可重复")
    ] = [],  # noqa: B006 - FastAPI's default, never changed
    job: Annotated[Job | None, Query(description="只看一个任务")] = None,
    trigger: Annotated[
        list[Trigger], Query(max_length=len(Trigger), description="只看由这些方式触发的运行，可重复")
    ] = [],  # noqa: B006 - FastAPI's default, never changed
    start_date: StartDate = None,
    end_date: EndDate = None,
    page: PageNumber = 1,
    page_size: Annotated[int, Query(ge=1, le=100, description="每页条数")] = 20,
    cursor: Cursor = None,
) -> Response:
    """全部运行，最新的在前；日期按 started_at 比较。翻页时请用 cursor：不会因新的运行而重复或遗漏。"""
    which = RunFilter(
        statuses=frozenset(status),
        jobs=frozenset(() if job is None else (job,)),
        triggers=frozenset(trigger),
        since=start_date,
        until=end_date,
    )
    runs = app_of(request).store.runs
    offset = 0 if cursor else (page - 1) * page_size
    found = await runs.history(which, limit=page_size + 1, offset=offset, before=revision_of(cursor))
    total = await runs.run_count(which)
    records = found[:page_size]
    has_more = len(found) > page_size
    return answer(
        {
            **_page([to_wire(stats) for stats in found], total=total, page=page, size=page_size),
            "next_cursor": cursor_of(records[-1].revision) if has_more else None,
        }
    )


@router.get(
    "/api/sync/multi-source/history",
    summary="多数据源同步的历史",
    response_model=HistoryEnvelope,
    responses=problems_doc(422, 503),
)
async def multi_source_history(
    request: Request,
    page: PageNumber = 1,
    page_size: Annotated[int, Query(ge=1, le=50, description="每页条数")] = 10,
    status: Annotated[SyncStatus | Literal[""] | None, Query(description="只看这一状态；空为全部")] = None,
) -> Response:
    """多数据源任务的历次运行，每次一条，最新的在前。"""
    which = RunFilter(jobs=frozenset({Job.MULTI}), statuses=frozenset({SyncStatus(status)} if status else ()))
    runs = app_of(request).store.runs
    found = await runs.history(which, limit=page_size + 1, offset=(page - 1) * page_size)
    total = await runs.run_count(which)
    return answer(_page([to_wire(stats) for stats in found], total=total, page=page, size=page_size))


@router.get(
    "/api/sync/runs/{run_id}/log",
    summary="一次运行的日志",
    response_model=LogEnvelope,
    responses={
        200: {
            "description": "一段日志；或（follow=true，或 Accept: text/event-stream）日志的事件流："
            "每行一个 log 事件，id 为 seq，运行结束后以 end 事件给出最终状态",
            "content": events_doc("log", "end"),
        },
        **problems_doc(404, 422, 503),
    },
)
async def run_log(
    request: Request,
    run_id: RunId,
    after: Annotated[int, Query(ge=FIRST, le=LAST, description="只要 seq 比它大的行")] = FIRST,
    limit: Annotated[int, Query(ge=1, le=ROWS_AT_ONCE, description="最多行数；事件流不受此限")] = 500,
    level: Annotated[Level, Query(description="最低级别")] = "info",
    follow: Annotated[bool, Query(description="以事件流持续给出新的行，直到运行结束")] = False,
    max_seconds: Annotated[
        float, Query(ge=1, le=LONGEST_STREAM, description="事件流到时正常结束，客户端会自动重连")
    ] = USUAL_STREAM,
    accept: Annotated[str, Header(description="text/event-stream 等同于 follow=true")] = "",
    last_event_id: Annotated[
        str | None, Header(description="收到的最后一个 id：从这一行之后继续，优先于 after")
    ] = None,
) -> Response:
    """运行的结构化日志，无论运行在哪个进程；运行中也可以读取，已有的行不会再改变。"""
    app = app_of(request)
    stats = await app.service.get_run(run_id)  # before its lines: what it had said by then is all there
    levels = wanted_levels(level)
    if follow or _EVENTS in accept:
        start = place_of(last_event_id, otherwise=after)
        return EventStream(
            streams_of(request), following(app, stats, after=start, levels=levels), max_seconds
        )
    found = await app.store.runs.events(run_id, after=after, limit=limit, levels=levels)
    return answer(
        {
            "records": [line_to_wire(line) for line in found],
            "next_after": found[-1].seq if found else after,
            "final": stats.final and len(found) < limit,
        }
    )


@router.get(
    "/api/sync/runs/{run_id}/rejects",
    summary="一次运行中被拒绝的行",
    response_model=RejectsEnvelope,
    responses=problems_doc(404, 422, 503),
)
async def run_rejects(
    request: Request, run_id: RunId, page: PageNumber = 1, page_size: RowsAPage = 100
) -> Response:
    """每一行无法入库的数据，及其原因。"""
    app = app_of(request)
    await app.service.get_run(run_id)
    found = await app.store.runs.rejects(run_id, limit=page_size + 1, offset=(page - 1) * page_size)
    total = await app.store.runs.reject_count(run_id)
    return answer(_page([asdict(each) for each in found], total=total, page=page, size=page_size))


@router.get(
    "/api/sync/runs/{run_id}/changes",
    summary="一次运行中市场的变化",
    response_model=ChangesEnvelope,
    responses=problems_doc(404, 422, 503),
)
async def run_changes(
    request: Request,
    run_id: RunId,
    kind: Annotated[ChangeKind | None, Query(description="只看一类变化")] = None,
    page: PageNumber = 1,
    page_size: RowsAPage = 100,
) -> Response:
    """新上市、不再列出、重新列出、更名、转板、更换代码的股票。首次装入一个数据源的名单不算市场的变化。"""
    app = app_of(request)
    await app.service.get_run(run_id)
    runs = app.store.runs
    found = await runs.changes(run_id, kind=kind, limit=page_size + 1, offset=(page - 1) * page_size)
    counts = await runs.change_counts(run_id)
    total = sum(counts.values()) if kind is None else counts.get(kind, 0)
    page_of = _page([asdict(each) for each in found], total=total, page=page, size=page_size)
    return answer({**page_of, "counts": counts})


def _page(found: Sequence[dict[str, Any]], *, total: int, page: int, size: int) -> dict[str, Any]:
    """A page of records, of which one more than fits was asked for."""
    return {
        "records": found[:size],
        "total": total,
        "page": page,
        "page_size": size,
        "has_more": len(found) > size,
    }
