"""The log of a run on the wire, and as a stream that follows a run of any process."""

import asyncio
import json
import re
from collections.abc import Collection, Coroutine
from typing import Any, Final, TypeVar

from stocksync.api.sse import RETRY, Body, Stream, frame
from stocksync.app import App
from stocksync.domain.journal import LogLine
from stocksync.domain.status import SyncStats
from stocksync.domain.wire import iso, to_wire
from stocksync.errors import StoreUnavailable
from stocksync.ports import LEVELS, ROWS_AT_ONCE

Item = TypeVar("Item")

_PAUSE_SECONDS: Final = 0.2
"""A follower reads the store at most so often; a step of a run comes about as often."""

_READ_SECONDS: Final = 2.0

_PLACE: Final = re.compile(r"[0-9]{1,10}\Z", re.ASCII)


def wanted_levels(lowest: str) -> tuple[str, ...]:
    """This level and all that are graver."""
    return LEVELS[LEVELS.index(lowest) :]


def place_of(last_event_id: str | None, *, otherwise: int) -> int:
    """The place of the line that a client has seen last, from its Last-Event-ID; what is none is ignored."""
    return int(last_event_id) if last_event_id and _PLACE.match(last_event_id) else otherwise


def line_to_wire(line: LogLine) -> dict[str, Any]:
    """Write a line of a log; everything in it is JSON."""
    event = line.event
    return {
        "seq": line.seq,
        "at": iso(event.at),
        "level": event.level,
        "event": event.event,
        "message": event.message,
        "data": dict(event.data),
    }


def following(app: App, run: SyncStats, *, after: int, levels: Collection[str]) -> Body:
    """Send the lines after one as they come, and how the run ended when it has.

    What a step has to say is stored before the step itself is shown: when the board shows a newer revision,
    the store has its lines.
    """

    async def body(stream: Stream) -> None:
        stats, seen = run, after
        await stream.send(RETRY)
        while True:
            seen = await _send_lines(app, stream, stats, after=seen, levels=levels)
            if stats.final:
                await stream.send(frame("end", _json(to_wire(stats))))
                return
            if not await _moved_on(app, stream, stats):
                return
            stats = await _in_time(app.service.get_run(run.run_id or ""))

    return body


async def _send_lines(
    app: App, stream: Stream, stats: SyncStats, *, after: int, levels: Collection[str]
) -> int:
    """Send what there is now, and tell the place of the last line."""
    while True:
        reading = app.store.runs.events(stats.run_id or "", after=after, levels=levels)
        lines = await _in_time(reading)
        await stream.send(b"".join(frame("log", _json(line_to_wire(line)), line.seq) for line in lines))
        after = lines[-1].seq if lines else after
        if len(lines) < ROWS_AT_ONCE:
            return after


async def _moved_on(app: App, stream: Stream, stats: SyncStats) -> bool:
    """Wait until the board shows a later step of the run, or another run; False when the stream is to end."""
    await asyncio.sleep(_PAUSE_SECONDS)
    while await stream.changed():
        shown = app.service.board.get(stats.job)
        if shown.run_id != stats.run_id or shown.revision > stats.revision:
            return True
    return False


async def _in_time(reading: Coroutine[Any, Any, Item]) -> Item:
    """What the store answers soon: one that hangs must not keep the server from stopping.

    Raises StoreError; then the stream breaks off, and its client connects again.
    """
    try:
        async with asyncio.timeout(_READ_SECONDS):
            return await reading
    except TimeoutError as exc:
        raise StoreUnavailable("数据库没有及时应答") from exc


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
