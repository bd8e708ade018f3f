"""Event streams without a server: who is told what, when, and who is given up."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest

from builders import NOON, a_run
from stocksync.api import sse
from stocksync.api.connections import cut, keep_unsent_short
from stocksync.api.events import MOST_MISSED, StatusEvents
from stocksync.api.sse import EventStreams, Stream, frame, open_streams
from stocksync.api.view import StatusView
from stocksync.domain.status import Job, SyncStats, complete
from stocksync.errors import StoreUnavailable, TooManyWaiting
from stocksync.sync.board import StatusBoard
from unit.fakes import FakeRuns, settle

NOBODY = ("127.0.0.1", 1), 2


class Client:
    """The other end of a stream: takes what it is sent while `reading`, until it leaves."""

    def __init__(self) -> None:
        self.reading = asyncio.Event()
        self.reading.set()
        self.left = asyncio.Event()
        self.frames: list[bytes] = []
        self.ended = False

    async def receive(self) -> dict[str, str]:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        await self.reading.wait()
        self.frames.append(message["body"])
        self.ended = not message["more_body"]

    @property
    def text(self) -> str:
        return b"".join(self.frames).decode()

    @property
    def told(self) -> list[tuple[int | None, str, int]]:
        """The events so far: id, run, revision."""
        events = []
        for block in self.text.split("\n\n"):
            fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
            if "data" in fields:
                data = json.loads(fields["data"])
                known = int(fields["id"]) if "id" in fields else None
                events.append((known, data["run_id"], data["revision"]))
        return events


class Desk:
    """Streams over a board that a test publishes to."""

    def __init__(self, streams: EventStreams) -> None:
        self.board = StatusBoard()
        self.runs = FakeRuns()
        self.streams = streams
        self.events = StatusEvents(self.board, StatusView(self.board), self.runs.as_port(), streams)

    async def open(self, job: Job | None = None, last: str = "", *, seconds: float = 60) -> Client:
        client = Client()
        scope: dict[str, Any] = {sse.BEGUN: [], "client": ("127.0.0.1", "1"), "server": ("127.0.0.1", "2")}
        stream = self.events.stream(job, last, seconds)

        async def headers(message: Any) -> None:
            assert message["status"] == 200

        await stream(scope, client.receive, headers)
        self.task = asyncio.create_task(stream.run(client.receive, client.send))
        await settle()
        return client

    def ended(self, number: int, job: Job = Job.MULTI) -> SyncStats:
        """A run that has ended, in the store."""
        run = replace(a_run(f"run-{number}", job), revision=number * 1_000_000 + 9)
        stats = complete(run, at=NOON, message="done")
        self.runs.runs.insert(0, stats)
        return stats


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    async with open_streams(most=3) as streams:
        desk = Desk(streams)
        await desk.events.learn_ends()
        streams.keep(desk.events.follow())
        yield desk


def running(number: int, step: int, job: Job = Job.MULTI) -> SyncStats:
    return replace(a_run(f"run-{number}", job), revision=number * 1_000_000 + step)


def test_an_event_is_framed_as_the_standard_says() -> None:
    assert frame("status", '{"a":"中"}', 7) == 'id: 7\nevent: status\ndata: {"a":"中"}\n\n'.encode()
    assert frame("line", "x") == b"event: line\ndata: x\n\n"


async def test_the_snapshot_comes_first_and_then_every_change(desk: Desk) -> None:
    client = await desk.open()
    assert client.text.startswith("retry: 2000\n\n")
    for step in (1, 2):
        desk.board.publish(running(1, step))
        await settle()
    desk.board.mark_stale(NOON)
    await settle()
    assert client.told == [
        (0, None, 0),
        (1_000_001, "run-1", 1_000_001),
        (1_000_002, "run-1", 1_000_002),
        (1_000_002, "run-1", 1_000_002),
    ]
    assert '"stale_since":"2026' in client.frames[-1].decode()


async def test_whoever_is_behind_gets_the_newest_state_and_every_end(desk: Desk) -> None:
    client = await desk.open()
    desk.board.publish(running(1, 1))
    await settle()
    client.reading.clear()
    for step in range(2, 8):
        desk.board.publish(running(1, step))
        await settle()
    desk.board.publish(desk.ended(1))
    await settle()
    desk.ended(2)  # by another process, between two looks of this one
    for step in range(1, 8):
        desk.board.publish(running(3, step))
        await settle()
    client.reading.set()
    await settle()
    assert [revision for _, _, revision in client.told] == [
        0, 1_000_001, 1_000_002,  # the last one was being sent
        1_000_009, 2_000_009, 3_000_007,
    ]  # fmt: skip


async def test_a_client_that_comes_back_is_told_what_it_missed(desk: Desk) -> None:
    for number in range(1, 31):
        desk.ended(number, Job.SINGLE if number % 2 else Job.MULTI)
    desk.board.publish(desk.runs.runs[0])
    await settle()
    told = (await desk.open(last="27000009")).told
    assert [run for _, run, _ in told] == ["run-28", "run-29", "run-30"], "the last one is the snapshot too"
    single = (await desk.open(Job.SINGLE, "27000009")).told
    assert [run for _, run, _ in single] == ["run-29", None]
    everything = (await desk.open(last="1")).told
    assert [run for _, run, _ in everything] == [f"run-{n}" for n in range(31 - MOST_MISSED, 31)]


@pytest.mark.parametrize("last", ["", "x", "-1", "1.5", "²", "9" * 19, "9" * 18, "1\n2"])
async def test_an_id_that_is_none_of_ours_is_ignored(desk: Desk, last: str) -> None:
    desk.ended(1)
    assert (await desk.open(last=last)).told == [(0, None, 0)]


async def test_an_end_that_could_not_be_read_is_told_later_and_ids_never_go_back(desk: Desk) -> None:
    client = await desk.open()
    desk.runs.failure = StoreUnavailable("away")
    desk.ended(1)
    desk.board.publish(running(2, 1))
    await settle()
    desk.runs.failure = None
    desk.board.publish(running(2, 2))
    await settle()
    assert client.told == [
        (0, None, 0),
        (2_000_001, "run-2", 2_000_001),
        (None, "run-1", 1_000_009),
        (2_000_002, "run-2", 2_000_002),
    ]


async def test_a_client_that_leaves_frees_its_place(desk: Desk) -> None:
    clients = [await desk.open() for _ in range(3)]
    with pytest.raises(TooManyWaiting):
        await desk.open()
    clients[0].left.set()
    await settle()
    assert not clients[0].ended, "nobody is there to be told"
    await desk.open()


async def test_a_silent_stream_pings(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "PING_SECONDS", 0.1)
    client = await desk.open()
    await asyncio.sleep(1.3)
    assert client.frames[1:] in ([b": ping\n\n"], [b": ping\n\n"] * 2)


async def test_a_stream_ends_when_its_time_is_over(desk: Desk) -> None:
    client = await desk.open(seconds=0.1)
    await asyncio.sleep(0.8)
    assert client.ended
    assert desk.task.done()


async def test_a_client_that_takes_nothing_is_dropped(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "STALLED_SECONDS", 0.1)
    client = await desk.open()
    client.reading.clear()
    desk.board.publish(running(1, 1))
    async with asyncio.timeout(3):
        await asyncio.wait([desk.task])
    assert not desk.task.cancelled()
    desk.streams.require_room()


async def test_closing_ends_all_also_the_ones_that_cannot_send(desk: Desk) -> None:
    clients = [await desk.open() for _ in range(2)]
    clients[0].reading.clear()
    desk.board.publish(running(1, 1))
    await settle()
    desk.streams.close()
    await settle()
    assert clients[1].ended
    late = await desk.open()
    assert late.told != []
    assert late.ended
    async with asyncio.timeout(3):
        await desk.streams.aclose()


async def test_waking_thousands_lets_others_go_on() -> None:
    streams = EventStreams(20_000)
    woken = turns = 0

    async def body(stream: Stream) -> None:
        nonlocal woken
        while await stream.changed():
            woken += 1

    clients = [Client() for _ in range(10_000)]
    tasks = [
        asyncio.create_task(streams.run(body, 60, NOBODY, client.receive, client.send)) for client in clients
    ]
    await settle()
    waking = asyncio.create_task(streams.wake())
    while not waking.done():
        before = woken
        await asyncio.sleep(0)
        assert woken - before <= 100
        turns += 1
    await settle()
    assert woken == 10_000
    assert turns >= 100
    await streams.aclose()
    await asyncio.gather(*tasks)


@contextmanager
def connection() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a loopback connection: the client's and the server's."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        client = socket.create_connection(listening.getsockname())
        server, _ = listening.accept()
        with client, server:
            yield client, server


def test_only_the_named_connections_are_cut() -> None:
    with connection() as (client, server), connection() as (other, _):
        name, port = client.getsockname(), server.getsockname()[1]
        assert cut({(name, port + 1)}) == 0
        assert cut({(name, port), (("127.0.0.1", 1), port)}) == 1
        client.settimeout(1)
        assert client.recv(1) == b""
        other.settimeout(0.05)
        with pytest.raises(TimeoutError):
            other.recv(1)


def test_little_waits_unsent_for_a_client_that_reads_slowly() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        assert keep_unsent_short(listening.getsockname()[1]) == 1
        with socket.create_connection(listening.getsockname()):
            server, _ = listening.accept()
            with server:
                server.setblocking(False)
                taken = 0
                with suppress(BlockingIOError):
                    while taken < 10_000_000:
                        taken += server.send(b"x" * 1000)
                assert 0 < taken < 1_000_000
