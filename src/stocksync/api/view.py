"""The hot path: how the sync stands, as bytes that are made once a revision."""

import asyncio
import json
from collections.abc import Callable, MutableMapping
from typing import Any, Final

from starlette.responses import Response
from starlette.types import Receive

from stocksync.api.sse import disconnected, frame
from stocksync.domain.status import Job, SyncStats
from stocksync.domain.wire import to_wire
from stocksync.errors import TooManyWaiting
from stocksync.sync.board import StatusBoard

STATUS_PATHS: Final = frozenset({"/api/sync/stock_basics/status", "/api/sync/status"})

OK_MESSAGE: Final = "操作成功"

_MOST_WAITING: Final = 256
"""Long polls at once in one process: far below the server's limit, so that plain requests get through."""

RawHeaders = list[tuple[bytes, bytes]]


def envelope(data: object, message: str = OK_MESSAGE) -> bytes:
    """Encode the success envelope."""
    return _enveloped(_json(data), message).encode("utf-8", "replace")


def _enveloped(data: str, message: str) -> str:
    return f'{{"success":true,"data":{data},"message":{_json(message)}}}'


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def answer(data: object, message: str = OK_MESSAGE) -> Response:
    """Answer a question whose answer may be another one in a moment."""
    return Response(
        envelope(data, message), media_type="application/json", headers={"Cache-Control": "no-cache"}
    )


class Snapshot:
    """One revision, ready to be sent. `tag` changes whenever the bytes do."""

    __slots__ = ("body", "event", "found", "headers", "stats", "tag", "unchanged")

    def __init__(self, stats: SyncStats) -> None:
        self.stats = stats
        data = _json(to_wire(stats))
        self.body = _enveloped(data, OK_MESSAGE).encode("utf-8", "replace")
        self.event = frame("status", data, stats.revision)
        stale = f"-{stats.stale_since.timestamp():.0f}" if stats.stale_since else ""
        self.tag = f'W/"{stats.job}-{stats.revision}{stale}"'.encode()
        common: RawHeaders = [(b"etag", self.tag), (b"cache-control", b"no-cache")]
        self.headers: RawHeaders = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(self.body)).encode()),
            *common,
        ]
        self.found = (
            {"type": "http.response.start", "status": 200, "headers": self.headers},
            {"type": "http.response.body", "body": self.body},
        )
        self.unchanged = (
            {"type": "http.response.start", "status": 304, "headers": common},
            {"type": "http.response.body", "body": b""},
        )

    def messages(self, known_tag: bytes) -> tuple[MutableMapping[str, Any], MutableMapping[str, Any]]:
        """The ASGI messages for a client that knows these tags."""
        return self.unchanged if known_tag and self._matches(known_tag) else self.found

    def event_after(self, revision: int) -> bytes:
        """As an event; without its id where a later one has been sent, for ids never go back."""
        return self.event if self.stats.revision >= revision else self.event.partition(b"\n")[2]

    def _matches(self, known_tag: bytes) -> bool:
        if known_tag == self.tag:
            return True
        wanted = self.tag.removeprefix(b"W/")
        tags = (tag.strip() for tag in known_tag.split(b","))
        return any(tag == b"*" or tag.removeprefix(b"W/") == wanted for tag in tags)


class StatusView:
    """The board as bytes. Encodes a snapshot when it is first asked for, and keeps it while it is shown."""

    def __init__(self, board: StatusBoard) -> None:
        self._board = board
        self._encoded: dict[Job, Snapshot] = {}
        self._waiting = 0
        self._closing = asyncio.Event()

    def get(self, job: Job | None = None) -> Snapshot:
        """How a job stands now, or the newest of the two."""
        return self.encoded(self._board.get(job))

    def encoded(self, stats: SyncStats) -> Snapshot:
        """A snapshot's bytes, for as long as it is shown made only once."""
        snapshot = self._encoded.get(stats.job)
        if snapshot is None or snapshot.stats is not stats:
            snapshot = self._encoded[stats.job] = Snapshot(stats)
        return snapshot

    async def wait(self, holds: Callable[[], bool], seconds: float, receive: Receive) -> None:
        """Wait until something holds, at most so long, and no longer than client and server are there.

        Raises TooManyWaiting where too many wait already.
        """
        if self._waiting >= _MOST_WAITING:
            raise TooManyWaiting("等待中的请求过多，请稍后再试")
        self._waiting += 1
        waits = [
            asyncio.ensure_future(self._board.wait_for(holds)),
            asyncio.ensure_future(self._closing.wait()),
            asyncio.ensure_future(disconnected(receive)),
        ]
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._waiting -= 1
            for task in waits:
                task.cancel()

    def close(self) -> None:
        """Send everybody who waits home with what there is."""
        self._closing.set()
