"""Server-Sent Events: their wire form, and the one place that keeps all open streams of a process.

How a route answers with a stream (the framework has let go of the request by the time it runs):

    async def lines(stream: Stream) -> None:
        seen = 0
        while True:
            new = await read_lines(after=seen)
            await stream.send(b"".join(frame("line", line.text, number) for number, line in new))
            seen += len(new)
            if ended or not await stream.changed():
                return

    return EventStream(streams_of(request), lines, max_seconds)

`changed` returns whenever anything about the sync has changed. A step of a run is stored before it is shown,
so what belongs to it can be read then. It sends pings meanwhile, and is False when the stream is to end.
What a stream sends next is looked up when it can send again: a slow client skips states and has no queue.
`frame` is for lines without line breaks, such as JSON.
"""

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from time import monotonic
from typing import Any, Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from stocksync.aio import stop
from stocksync.api.connections import Client, cut, keep_unsent_short
from stocksync.errors import StocksyncError, TooManyWaiting

BEGUN: Final = "stocksync.begun"
"""Where in the scope a route leaves the stream that it has begun, for the gateway to carry on."""

RETRY: Final = b"retry: 2000\n\n"
"""How long a browser waits before it connects again, milliseconds."""

PING: Final = b": ping\n\n"
PING_SECONDS: Final = 15.0
"""A stream is never silent for longer, so that no proxy takes it for dead."""

STALLED_SECONDS: Final = 30.0
"""A client that has taken nothing for so long is dropped."""

LONGEST_STREAM: Final = 3600
USUAL_STREAM: Final = 900
"""Seconds after which a stream ends, and the client connects again."""

_SLICE: Final = 25
"""So many streams send before everybody else gets a turn: about a millisecond of work."""

_CROWD: Final = 1000
"""After so many more streams than ever, they are left out of garbage collections.

Looking through 10,000 streams takes 200 ms at a time, and none of it is ever garbage: what a stream holds
is freed when it ends.
"""

_BEAT_SECONDS: Final = 0.5
_PARTING_SECONDS: Final = 1.0
_END: Final = {"type": "http.response.body", "body": b"", "more_body": False}

_log = logging.getLogger(__name__)


def frame(event: str, data: str, number: int | None = None) -> bytes:
    """Encode one event; `number` becomes its id, which a client that connects again gives back."""
    named = "" if number is None else f"id: {number}\n"
    return f"{named}event: {event}\ndata: {data}\n\n".encode("utf-8", "replace")


class Stream:
    """One client that is sent events, for as long as it, its time and the server last."""

    __slots__ = (
        "_ends_at",
        "_news",
        "_over",
        "_send",
        "_sending",
        "_sent_at",
        "_stalled",
        "_task",
        "_turn",
        "client",
    )  # fmt: skip

    def __init__(self, send: Send, seconds: float, client: Client) -> None:
        self.client = client
        self._send = send
        self._sent_at = monotonic()
        self._ends_at = self._sent_at + seconds
        self._task = asyncio.current_task()
        self._turn: asyncio.Future[None] | None = None
        self._news = self._over = self._sending = self._stalled = False

    async def send(self, frames: bytes) -> None:
        """Send, and wait until the client can take more. One that takes nothing for too long is dropped."""
        if not frames:
            return
        self._sent_at = monotonic()
        self._sending = True
        await self._send({"type": "http.response.body", "body": frames, "more_body": True})
        self._sending = False

    async def changed(self) -> bool:
        """Wait until there may be something new; False when the stream is to end."""
        while not self._over:
            if self._news:
                self._news = False
                return True
            if monotonic() - self._sent_at >= PING_SECONDS:
                await self.send(PING)
                continue
            self._turn = asyncio.get_running_loop().create_future()
            await self._turn
        return False

    def wake(self) -> None:
        """Say that there may be something new."""
        self._news = True
        self._take_turn()

    def end(self) -> None:
        """Let the stream end as soon as it has sent what it is sending."""
        self._over = True
        self._take_turn()

    def drop(self) -> bool:
        """End it if it cannot send; tell whether that was so."""
        if not self._sending or self._stalled or self._task is None:
            return False
        self._over = self._stalled = True
        self._task.cancel()
        return True

    def stalled(self, now: float) -> bool:
        """Whether the client has taken nothing for too long."""
        return self._sending and now - self._sent_at >= STALLED_SECONDS

    def tend(self, now: float) -> None:
        """Do what is due: end or ping."""
        if now >= self._ends_at:
            self.end()
        elif now - self._sent_at >= PING_SECONDS:
            self._take_turn()

    def dropped(self) -> bool:
        """Whether the cancellation that just arrived is our own; then it is over with."""
        if self._stalled and self._task is not None:
            self._task.uncancel()
        return self._stalled

    def _take_turn(self) -> None:
        if self._turn is not None and not self._turn.done():
            self._turn.set_result(None)


Body = Callable[[Stream], Awaitable[None]]
"""Sends a stream's events until there are no more, or `changed` says that it is to end."""


class EventStreams:
    """Every open stream of this process. Whatever is done to all of them is done in slices."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: set[Stream] = set()
        self._kept: set[asyncio.Task[None]] = set()
        self._ending: asyncio.Task[None] | None = None
        self._uncollected = 0
        self._prepared = False
        self._nobody = asyncio.Event()
        self._nobody.set()

    def require_room(self) -> None:
        """Raise TooManyWaiting where no further stream may be opened."""
        if len(self._open) >= self._most:
            raise TooManyWaiting("打开的事件流过多，请稍后再试")

    async def run(self, body: Body, seconds: float, client: Client, receive: Receive, send: Send) -> None:
        """Carry a stream from behind its headers to its end."""
        stream = Stream(send, seconds, client)
        leaving = asyncio.ensure_future(disconnected(receive))
        leaving.add_done_callback(lambda _: stream.end())
        self._add(stream)
        if not self._prepared:
            self._prepared = True
            keep_unsent_short(client[1])
        if self._ending is not None:
            stream.end()
        try:
            await body(stream)
        except asyncio.CancelledError:
            if not stream.dropped():
                raise
            _log.info("dropped a client of an event stream that does not read")
            return
        except StocksyncError as exc:
            _log.warning("an event stream broke off: %s", exc)  # its client connects again
        finally:
            self._open.discard(stream)
            if not self._open:
                self._nobody.set()
            gone = leaving.done()
            leaving.cancel()
        if not gone:
            await send(_END)

    def _add(self, stream: Stream) -> None:
        self._open.add(stream)
        self._nobody.clear()
        if len(self._open) > self._uncollected + _CROWD:
            self._uncollected = len(self._open)
            gc.freeze()

    async def wake(self) -> None:
        """Tell all streams that there may be something new."""
        await self._each(Stream.wake)

    def close(self) -> None:
        """End all streams, now and from now on."""
        if self._ending is None:
            self._ending = asyncio.create_task(self._end_all())

    def keep(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something for as long as there are streams, until `aclose`."""
        task = asyncio.create_task(work)
        self._kept.add(task)
        task.add_done_callback(self._kept.discard)

    async def aclose(self) -> None:
        """End all streams and whatever was kept for them. Idempotent."""
        self.close()
        if self._ending is not None:
            await self._ending
        await stop(self._kept, within=_PARTING_SECONDS)

    async def tend(self) -> None:
        """Keep the time of the streams, for ever."""
        while True:
            await asyncio.sleep(_BEAT_SECONDS)
            now = monotonic()
            await self._each(lambda stream: stream.tend(now))  # noqa: B023 - done before the next round
            await self._drop([stream for stream in self._open if stream.stalled(now)])

    async def _end_all(self) -> None:
        await self._each(Stream.end)
        with suppress(TimeoutError):
            async with asyncio.timeout(_PARTING_SECONDS):
                await self._nobody.wait()
        await self._drop(list(self._open))

    async def _drop(self, streams: list[Stream]) -> None:
        """Give up the clients that do not read, and their connections: the server would wait for them."""
        clients = {stream.client for stream in streams if stream.drop()}
        if clients:
            await asyncio.to_thread(cut, clients)

    async def _each(self, act: Callable[[Stream], None]) -> None:
        for number, stream in enumerate(tuple(self._open), start=1):
            act(stream)
            if number % _SLICE == 0:
                await asyncio.sleep(0)


@asynccontextmanager
async def open_streams(most: int) -> AsyncIterator[EventStreams]:
    """Keep at most so many streams, and end them all at the end."""
    streams = EventStreams(most)
    streams.keep(streams.tend())
    try:
        yield streams
    finally:
        await streams.aclose()


class EventStream(Response):
    """A stream as a route's answer. The gateway carries it on, so that the framework's part is given back."""

    media_type: str | None = "text/event-stream"

    def __init__(self, streams: EventStreams, body: Body, seconds: float) -> None:
        self.status_code = 200
        self.background = None
        self.init_headers({"cache-control": "no-cache, no-transform", "x-accel-buffering": "no"})
        self._streams = streams
        self._body = body
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the headers; the signature is ASGI's. Raises TooManyWaiting."""
        del receive
        self._streams.require_room()
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        (host, port), (_, our_port) = scope["client"], scope["server"]
        self._client = (host, int(port)), int(our_port)  # granian gives ports as text
        scope[BEGUN].append(self)

    async def run(self, receive: Receive, send: Send) -> None:
        """Send the events."""
        await self._streams.run(self._body, self._seconds, self._client, receive, send)


async def disconnected(receive: Receive) -> None:
    """Wait until the client has gone; what it still sends is of no interest."""
    while (await receive())["type"] != "http.disconnect":
        pass
