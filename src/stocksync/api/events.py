"""The status as an event stream: the snapshot, then every change, and the end of every run.

Whoever is behind gets the newest state instead of the ones in between. Only the ends of runs are never
skipped: which runs have ended is read from the store whenever another run is shown, because between two looks
of this process a run of another one can have ended and the next one begun.
"""

import asyncio
import logging
import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Annotated, Final

from fastapi import APIRouter, Header, Query, Request
from starlette.responses import Response

from stocksync.api.schemas.base import events_doc, problems_doc
from stocksync.api.schemas.status import EVENTS_EXAMPLE
from stocksync.api.sse import LONGEST_STREAM, RETRY, USUAL_STREAM, EventStream, EventStreams, Stream
from stocksync.api.state import events_of
from stocksync.api.view import Snapshot, StatusView
from stocksync.domain.status import Job, SyncStats, newest
from stocksync.errors import StoreError
from stocksync.ports import RunStore
from stocksync.sync.board import StatusBoard

MOST_MISSED: Final = 20
"""Of the runs that a client missed, so many newest are told."""

_MOST_KEPT: Final = 2 * MOST_MISSED
_LEARN_SECONDS: Final = 1.0
_REVISION = re.compile(r"[0-9]{1,18}\Z", re.ASCII)

_log = logging.getLogger(__name__)

Shown = Mapping[Job, SyncStats]

EVENTS_PATH: Final = "/api/sync/stock_basics/events"

router = APIRouter(tags=["同步"])


@router.get(
    EVENTS_PATH,
    summary="同步状态事件流（SSE）",
    status_code=HTTPStatus.OK,
    response_class=EventStream,
    responses={
        200: {
            "description": "事件 status：id 为 revision，data 为同步状态（单行 JSON，无外层封装）",
            "content": events_doc("status", example=EVENTS_EXAMPLE),
        },
        **problems_doc(422, 503),
    },
)
async def stream_status(
    request: Request,
    job: Annotated[
        Job | None, Query(description="只看一个任务；缺省为两个任务中最新的（运行中的优先）")
    ] = None,
    max_seconds: Annotated[
        float, Query(ge=1, le=LONGEST_STREAM, description="到时正常结束，客户端会自动重连")
    ] = USUAL_STREAM,
    last_event_id: Annotated[
        str | None,
        Query(max_length=64, description="同 Last-Event-ID 请求头，供不能设置请求头的客户端使用"),
    ] = None,
    last_event_id_header: Annotated[
        str | None,
        Header(alias="Last-Event-ID", description="收到的最后一个 id；先补发此后结束的运行的最终状态"),
    ] = None,
) -> Response:
    """先发送当前状态，之后每有变化即发送。来不及接收的客户端只收到最新状态，但不会错过任何一次运行的最终状态。"""
    return events_of(request).stream(job, last_event_id_header or last_event_id or "", max_seconds)


class StatusEvents:
    """How the sync stands, as the streams are told it."""

    def __init__(self, board: StatusBoard, view: StatusView, runs: RunStore, streams: EventStreams) -> None:
        self._board = board
        self._view = view
        self._runs = runs
        self._streams = streams
        self._shown = self._look()
        self._ends: dict[str, Snapshot] = {}
        """How the newest runs ended, in the order in which this process learnt it."""
        self._learnt = 0
        self._complete = False

    def stream(self, job: Job | None, last_event_id: str, seconds: float) -> EventStream:
        """Answer with a stream for one job, or for both; an id that is none of ours is ignored."""
        known = int(last_event_id) if _REVISION.match(last_event_id) else None
        return EventStream(self._streams, lambda stream: self._send(stream, job, known), seconds)

    def plain(self, headers: Iterable[tuple[bytes, bytes]]) -> EventStream:
        """Answer a request without parameters, as most are."""
        last = next((value for name, value in headers if name == b"last-event-id"), b"")
        return self.stream(None, last.decode("latin-1"), USUAL_STREAM)

    async def follow(self) -> None:
        """Tell the streams of every change, for ever."""
        while True:
            shown = self._look()
            if not self._complete or _runs(shown) != _runs(self._shown):
                await self.learn_ends()
            self._shown = shown
            await self._streams.wake()
            await self._board.wait_for(lambda: self._look() != shown)  # noqa: B023 - done before the next round

    async def learn_ends(self) -> None:
        """Read which runs have ended. Where that fails the streams go on, and the next change tries again."""
        self._complete = False
        try:
            async with asyncio.timeout(_LEARN_SECONDS):
                runs = await self._runs.history(limit=MOST_MISSED + 1)  # one of them may be running
        except (StoreError, TimeoutError) as exc:
            _log.debug("cannot tell which runs have ended: %s", exc)
            return
        for run in reversed(runs):
            if run.final and run.run_id is not None and run.run_id not in self._ends:
                self._ends[run.run_id] = Snapshot(run)
                self._learnt += 1
        for run_id in tuple(self._ends)[:-_MOST_KEPT]:
            del self._ends[run_id]
        self._complete = True

    async def _send(self, stream: Stream, job: Job | None, known: int | None) -> None:
        """Send for as long as the stream lasts; `known` is the revision that its client has seen last."""
        learnt = self._learnt
        ends = [] if known is None else self._missed(known, job)
        last: Snapshot | None = None
        frames = RETRY
        while True:
            for snapshot in (*ends, self._now(job)):
                if last is None:
                    frames += snapshot.event
                elif snapshot.tag != last.tag:
                    frames += snapshot.event_after(last.stats.revision)
                last = snapshot
            await stream.send(frames)
            if not await stream.changed():
                return
            frames = b""
            ends, learnt = self._learnt_since(learnt, job), self._learnt

    def _look(self) -> Shown:
        return {job: self._board.get(job) for job in Job}

    def _now(self, job: Job | None) -> Snapshot:
        return self._view.encoded(newest(self._shown) if job is None else self._shown[job])

    def _missed(self, known: int, job: Job | None) -> list[Snapshot]:
        missed = [end for end in self._ends.values() if end.stats.revision > known and _of(end, job)]
        return sorted(missed, key=lambda end: end.stats.revision)[-MOST_MISSED:]

    def _learnt_since(self, learnt: int, job: Job | None) -> list[Snapshot]:
        if learnt == self._learnt:
            return []
        return [end for end in tuple(self._ends.values())[learnt - self._learnt :] if _of(end, job)]


def _of(snapshot: Snapshot, job: Job | None) -> bool:
    return job is None or snapshot.stats.job is job


def _runs(shown: Shown) -> list[tuple[str | None, bool]]:
    """What has to be different for another run to have ended."""
    return [(stats.run_id, stats.final) for stats in shown.values()]
