"""Conversations that last: they go on when a connection breaks or the server is started anew."""

import logging
from collections.abc import Callable
from dataclasses import replace
from http import HTTPStatus
from typing import Final, Never, TypeVar

from stocksync.client import questions, reading
from stocksync.client.events import Decoder, Event
from stocksync.client.flow import Flow, Give, Pause, Query, Receive, Reply, Request, Send
from stocksync.client.questions import Level, jittered, of
from stocksync.domain.journal import LogLine
from stocksync.domain.status import Job, SyncStats
from stocksync.domain.wire import from_wire
from stocksync.errors import RemoteError, ServerError, Unreachable

Item = TypeVar("Item")

Clock = Callable[[], float]
"""Seconds that never go back."""

EVENTS: Final = "/api/sync/stock_basics/events"

PATIENCE_SECONDS: Final = 60.0
"""How long a server may be away before whoever follows gives up."""

_POLL_SECONDS: Final = 25.0
_SILENCE: Final = 45.0
"""Streams are pinged every 15 seconds and polls answered after 25: more silence is a dead connection."""

_FIRST_PAUSE: Final = 0.25
_LONGEST_PAUSE: Final = 2.0
_LAGGING_PAUSE: Final = 0.5

_log = logging.getLogger(__name__)


class Patience:
    """How long to put up with a server that is away: waits that grow, and an end of them."""

    def __init__(self, seconds: float, clock: Clock) -> None:
        self.longest_pause = _LONGEST_PAUSE
        """What the server itself wants clients to wait, once it has said so."""
        self._seconds = seconds
        self._clock = clock
        self._lost_at: float | None = None
        self._pause = _FIRST_PAUSE

    def kept(self) -> None:
        """Note that the server is there."""
        if self._lost_at is not None:
            _log.warning("the server is back")
        self._lost_at, self._pause = None, _FIRST_PAUSE

    def lost(self, error: RemoteError) -> Flow[Never, None]:
        """Wait before the next try. Raises `error` where no try will help, or after too long."""
        if isinstance(error, ServerError) and error.status != HTTPStatus.SERVICE_UNAVAILABLE:
            raise error
        now = self._clock()
        if self._lost_at is None:
            self._lost_at = now
            _log.warning("lost the server, trying again: %s", error)
        if now - self._lost_at >= self._seconds:
            raise error
        yield jittered(self._pause)
        self._pause = min(2 * self._pause, self.longest_pause)


class _News:
    """Gives each state once. A process of the server may be a moment behind another: nothing goes back."""

    def __init__(self, shown: SyncStats) -> None:
        self.shown = shown

    def tell(self, stats: SyncStats) -> Flow[SyncStats, None]:
        if stats.revision >= self.shown.revision and stats != self.shown:
            self.shown = stats
            yield Give(stats)


def watch(job: Job | None, *, patience: float, clock: Clock) -> Flow[SyncStats, None]:
    """How a job stands, then every change, for ever: by events, or by long polls where there are none."""
    news = _News((yield from questions.status(job)))
    yield Give(news.shown)

    def hear(event: Event) -> Flow[SyncStats, bool]:
        if event.name == "status":
            yield from news.tell(reading.value_of(event.data, from_wire))
        return False

    patient = Patience(patience, clock)
    request = Request(path=EVENTS, query=of(job), silence=_SILENCE)
    try:
        yield from _listen(request, hear, patient, last=str(news.shown.revision))
    except ServerError as exc:
        if exc.status != HTTPStatus.NOT_FOUND:
            raise
    while True:
        try:
            stats = yield from _polled(job, news.shown.revision, _POLL_SECONDS)
        except RemoteError as exc:
            yield from patient.lost(exc)
        else:
            patient.kept()
            yield from news.tell(stats)


def wait(run_id: str, *, timeout: float | None, patience: float, clock: Clock) -> Flow[SyncStats, SyncStats]:
    """Every state of a run until its end, or for so many seconds; the last one is the result."""
    deadline = None if timeout is None else clock() + timeout
    news = _News((yield from questions.get_run(run_id)))
    yield Give(news.shown)
    patient = Patience(patience, clock)
    while not news.shown.final:
        left = _POLL_SECONDS if deadline is None else min(_POLL_SECONDS, deadline - clock())
        if left <= 0:
            break
        try:
            stats = yield from _later(news.shown, run_id, left)
        except RemoteError as exc:
            yield from patient.lost(exc)
        else:
            patient.kept()
            yield from news.tell(stats)
    return news.shown


def follow_log(run_id: str, *, level: Level, patience: float, clock: Clock) -> Flow[LogLine, None]:
    """What a run has said, then what it says until it ends."""
    yield from questions.get_run(run_id)

    def hear(event: Event) -> Flow[LogLine, bool]:
        if event.name == "log":
            yield Give(reading.value_of(event.data, reading.line))
        return event.name == "end"

    query = {"follow": "true", "level": level}
    request = Request(path=questions.path_of(run_id, "/log"), query=query, silence=_SILENCE)
    yield from _listen(request, hear, Patience(patience, clock))


def _listen(
    request: Request, hear: Callable[[Event], Flow[Item, bool]], patient: Patience, *, last: str = ""
) -> Flow[Item, None]:
    """Hear events until one is the last, connecting again behind the `last` heard whenever a stream ends."""
    while True:
        decoder = Decoder()
        headers = {"Last-Event-ID": last} if last else {}
        try:
            _require_stream((yield Send(replace(request, headers=headers), stream=True)))
            while (piece := (yield Receive())) is not None:
                patient.kept()
                for event in decoder.feed(piece):
                    last = event.id or last
                    if (yield from hear(event)):
                        return
                patient.longest_pause = decoder.retry_seconds or patient.longest_pause
            yield jittered(_FIRST_PAUSE)
        except RemoteError as exc:
            yield from patient.lost(exc)


def _require_stream(reply: Reply) -> None:
    if not reading.checked(reply).headers.get("content-type", "").startswith("text/event-stream"):
        raise Unreachable("服务器的应答不是事件流")


def _polled(job: Job | None, since: int, seconds: float) -> Flow[Never, SyncStats]:
    """How a job stands once it has a later revision, or after so many seconds."""
    query: Query = {**of(job), "wait": round(seconds, 3), "since_revision": since}
    reply: Reply = yield Send(Request(path=questions.STATUS, query=query, silence=_SILENCE))
    return reading.data_of(reply, from_wire)


def _later(run: SyncStats, run_id: str, seconds: float) -> Flow[Never, SyncStats]:
    """How a run stands once it has moved on, or after so many seconds."""
    shown = yield from _polled(run.job, run.revision, seconds)
    if shown.run_id == run_id:
        return shown
    run = yield from questions.get_run(run_id)
    if not run.final:  # the next one is shown before the end of this one could be read
        yield Pause(_LAGGING_PAUSE)
    return run
