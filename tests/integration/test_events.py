"""Following a sync over real servers: event streams, polls and long polls, and how broken ones go on."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest

from integration.servers import ServerProcess, free_port, server
from mongod import MongoServers
from stocksync.api.schemas.status import SyncStatsOut
from stocksync.domain.status import broken_invariants, broken_steps
from stocksync.domain.wire import from_wire
from stocksync.simulator import Simulator
from support import SMALL

RUN = "/api/sync/stock_basics/run"
STATUS = "/api/sync/stock_basics/status"
EVENTS = "/api/sync/stock_basics/events"
FINAL = {"success", "success_with_errors", "failed"}
PATIENCE = 30.0
"""Seconds after which something is broken, however slow the machine."""


@dataclass(frozen=True)
class Event:
    """One event as a browser sees it."""

    id: str | None
    name: str
    stats: dict[str, Any]

    @property
    def ends(self) -> str | None:
        """The run whose end this is."""
        run: str | None = self.stats["run_id"] if self.stats["status"] in FINAL else None
        return run


async def read(answer: httpx.Response) -> AsyncIterator[Event]:
    fields: dict[str, str] = {}
    async for line in answer.aiter_lines():
        if line:
            name, _, value = line.partition(":")
            fields[name] = value.strip()
        elif "data" in fields:
            yield Event(fields.pop("id", None), fields.pop("event"), json.loads(fields.pop("data")))


@asynccontextmanager
async def stream(url: str, last: str | None = None, **params: object) -> AsyncIterator[AsyncIterator[Event]]:
    headers = {} if last is None else {"Last-Event-ID": last}
    async with (
        httpx.AsyncClient(base_url=url, timeout=PATIENCE) as client,
        client.stream("GET", EVENTS, params=params, headers=headers) as answer,
    ):
        assert answer.status_code == 200
        yield read(answer)


class Browser:
    """An EventSource: connects again whenever its stream ends, with the last id it was given."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.events: list[Event] = []
        self.last: str | None = None
        self.connections = 0
        self._told = asyncio.Event()

    async def follow(self, enough: Callable[["Browser"], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not enough(self):
                try:
                    await self._connect(enough)
                except httpx.TransportError:
                    await asyncio.sleep(0.1)

    async def sees(self, wanted: Callable[[Event], bool]) -> None:
        """Wait until it was told something, while it follows."""
        async with asyncio.timeout(PATIENCE):
            while not any(map(wanted, self.events)):
                self._told.clear()
                await self._told.wait()

    async def _connect(self, enough: Callable[["Browser"], bool]) -> None:
        async with stream(self._url, self.last, max_seconds=60) as events:
            self.connections += 1
            async for event in events:
                self.events.append(event)
                self.last = event.id or self.last
                self._told.set()
                if enough(self):
                    return

    @property
    def ends(self) -> list[str]:
        """The runs whose end it was told."""
        return [event.ends for event in self.events if event.ends]


async def enter(stack: AsyncExitStack, manager: Any) -> ServerProcess:
    running: ServerProcess = await asyncio.to_thread(manager.__enter__)
    stack.push_async_callback(asyncio.to_thread, manager.__exit__, None, None, None)
    return running


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as opened:
        yield opened


@pytest.fixture
async def running(stack: AsyncExitStack, simulator: Simulator, tmp_path: Path) -> ServerProcess:
    return await enter(stack, server(tmp_path / "stocks.db", simulator.settings))


async def start(url: str, **params: object) -> dict[str, Any]:
    async with httpx.AsyncClient(base_url=url, timeout=PATIENCE) as client:
        answer = await client.post(RUN, params=params)
        assert answer.status_code in {200, 202}, answer.text
        data: dict[str, Any] = answer.json()["data"]
        return data


async def plain(url: str, **options: Any) -> httpx.Response:
    async with httpx.AsyncClient(base_url=url, timeout=PATIENCE) as client:
        return await client.get(STATUS, **options)


def check(events: list[Event]) -> None:
    """Ids never go back, and what they tell is one legal story."""
    ids = [int(event.id) for event in events if event.id is not None]
    assert ids == sorted(ids)
    snapshots = [from_wire(event.stats) for event in events]
    for event, stats in zip(events, snapshots, strict=True):
        SyncStatsOut.model_validate(event.stats)
        assert event.name == "status"
        assert event.id in {None, str(stats.revision)}
        assert broken_invariants(stats) == []
    for before, after in pairwise(snapshots):
        if before.revision != after.revision and before.job is after.job:
            assert broken_steps(before, after) == []


async def test_a_stream_tells_a_whole_run(running: ServerProcess) -> None:
    events: list[Event] = []
    async with stream(running.url) as told:
        async for event in told:
            events.append(event)
            if len(events) == 1:
                run = await start(running.url)
            elif event.ends:
                break
    check(events)
    assert (events[0].id, events[0].stats["status"]) == ("0", "never_run")
    assert len({event.id for event in events}) == len(events) > 3
    assert events[-1].ends == run["run_id"]
    assert events[-1].stats["inserted"] == SMALL
    assert events[-1].stats == (await plain(running.url)).json()["data"]


async def test_the_wire_is_an_event_stream_that_no_proxy_holds_back(running: ServerProcess) -> None:
    async with httpx.AsyncClient(base_url=running.url, timeout=PATIENCE) as client:
        for params in ({"max_seconds": 1}, {"max_seconds": 1, "job": "stock_basics"}):
            began = time.monotonic()
            answer = await client.get(EVENTS, params=params)
            assert 0.9 < time.monotonic() - began < 5, "it ends by itself, and cleanly"
            assert answer.text.startswith("retry: 2000\n\nid: 0\nevent: status\ndata: {")
            assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
            assert answer.headers["cache-control"] == "no-cache, no-transform"
            assert answer.headers["x-accel-buffering"] == "no"


@pytest.mark.parametrize(
    ("params", "headers", "status"),
    [
        ({"max_seconds": 0}, {}, 422),
        ({"max_seconds": 3601}, {}, 422),
        ({"job": "x"}, {}, 422),
        ({"last_event_id": "1" * 65}, {}, 422),
        ({}, {"Host": "evil.example"}, 403),
    ],
)
async def test_what_cannot_be_streamed_is_a_problem(
    running: ServerProcess, params: dict[str, str], headers: dict[str, str], status: int
) -> None:
    async with httpx.AsyncClient(base_url=running.url, timeout=PATIENCE) as client:
        answer = await client.get(EVENTS, params=params, headers=headers)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


async def test_a_client_that_was_cut_off_resumes_and_misses_no_end(running: ServerProcess) -> None:
    browser = Browser(running.url)
    await browser.follow(lambda seen: bool(seen.events))
    runs = [await start(running.url, wait=20), await start(running.url, wait=20)]
    await browser.follow(lambda seen: len(seen.ends) == 2)
    assert browser.ends == [run["run_id"] for run in runs]
    check(browser.events)
    async with stream(running.url, last_event_id=browser.events[0].id, max_seconds=1) as told:
        assert [event.ends async for event in told] == browser.ends, "for clients that cannot set headers"
    async with stream(running.url, str(runs[0]["revision"]), max_seconds=1) as told:
        assert [event.ends async for event in told] == browser.ends[1:]


async def test_a_client_follows_a_run_over_the_death_of_its_server(
    stack: AsyncExitStack, simulator: Simulator, tmp_path: Path
) -> None:
    environment = {**simulator.settings, "STOCKSYNC_RESCUE_SECONDS": "2"}
    port = free_port()
    first = await enter(stack, server(tmp_path / "stocks.db", environment, port=port))
    simulator.faults.set("tushare.stock_basic", "hang")
    browser = Browser(first.url)
    following = asyncio.create_task(browser.follow(lambda seen: len(seen.ends) == 2))
    run = await start(first.url)
    await browser.sees(lambda event: event.stats["phase"] == "stock_list")
    await asyncio.to_thread(first.kill)
    simulator.faults.clear()
    await enter(stack, server(tmp_path / "stocks.db", environment, port=port))
    await following
    check(browser.events)
    assert browser.connections >= 2
    dead, resumed = (event.stats for event in browser.events if event.ends)
    assert (dead["run_id"], dead["reason"]) == (run["run_id"], "interrupted")
    assert (resumed["status"], resumed["trigger"]) == ("success", "rescue")


@pytest.mark.parametrize("kind", ["sqlite", "mongodb"])
async def test_a_run_is_followed_from_another_process(
    kind: str, stack: AsyncExitStack, simulator: Simulator, tmp_path: Path, mongo: MongoServers
) -> None:
    store = tmp_path / "stocks.db" if kind == "sqlite" else mongo.replica_set()
    one = await enter(stack, server(store, simulator.settings))
    other = await enter(stack, server(store, simulator.settings))
    browser = Browser(other.url)
    following = asyncio.create_task(browser.follow(lambda seen: len(set(seen.ends)) == 4))
    await browser.sees(lambda _: True)
    runs = [await start(one.url, wait=20), await start(one.url, wait=20)]
    simulator.faults.set("tushare.stock_basic", "hang")
    runs.append(await start(one.url))
    simulator.faults.clear()
    runs.append(await start(one.url, force="true", wait=20))  # the run before it ends as this one begins
    await following
    check(browser.events)
    assert browser.ends == [run["run_id"] for run in runs]
    assert len({event.stats["revision"] for event in browser.events}) > 6


async def test_streams_beyond_the_cap_are_refused_and_plain_requests_are_not(
    stack: AsyncExitStack, simulator: Simulator, tmp_path: Path
) -> None:
    running = await enter(
        stack, server(tmp_path / "stocks.db", {**simulator.settings, "STOCKSYNC_MAX_STREAMS": "3"})
    )
    async with AsyncExitStack() as crowd:
        streams = [await crowd.enter_async_context(stream(running.url, max_seconds=60)) for _ in range(3)]
        for told in streams:
            await anext(told)
        async with httpx.AsyncClient(base_url=running.url, timeout=PATIENCE) as client:
            for params in ({}, {"max_seconds": 5}):
                refused = await client.get(EVENTS, params=params)
                assert refused.status_code == 503
                assert refused.headers["content-type"] == "application/problem+json"
                assert refused.headers["retry-after"]
                assert refused.json()["code"] == "too_many_waiting"
            assert (await client.get(STATUS)).status_code == 200
            assert (await client.head(EVENTS)).status_code == 503
    async with (
        asyncio.timeout(PATIENCE),
        httpx.AsyncClient(base_url=running.url, timeout=PATIENCE) as client,
    ):
        while (await client.get(EVENTS, params={"max_seconds": 1})).status_code != 200:
            pass  # the places are free again as soon as the server has noticed


async def test_stopping_takes_no_longer_for_open_streams(running: ServerProcess) -> None:
    limits = httpx.Limits(max_connections=None)
    async with (
        httpx.AsyncClient(base_url=running.url, timeout=PATIENCE, limits=limits) as client,
        AsyncExitStack() as crowd,
    ):
        answers = [await crowd.enter_async_context(client.stream("GET", EVENTS)) for _ in range(200)]
        began = time.monotonic()
        stopping = asyncio.create_task(asyncio.to_thread(running.stop))
        for answer in answers:
            assert "never_run" in (await answer.aread()).decode(), "it ended cleanly"
        assert await stopping == 0
        assert time.monotonic() - began < 5


async def test_head_answers_as_get_does_without_a_body(running: ServerProcess) -> None:
    async with httpx.AsyncClient(base_url=running.url, timeout=PATIENCE) as client:
        for path in (STATUS, "/api/sync/status", f"{STATUS}?job=stock_basics", "/livez"):
            get, head = await client.get(path), await client.head(path)
            assert (head.status_code, head.content) == (200, b"")
            for name in ("content-type", "content-length", "etag", "cache-control"):
                assert head.headers.get(name) == get.headers.get(name), name
        tag = (await client.head(STATUS)).headers["etag"]
        assert (await client.head(STATUS, headers={"If-None-Match": tag})).status_code == 304
        events = await client.head(EVENTS)
        assert (events.status_code, events.content) == (200, b"")
        assert events.headers["content-type"].startswith("text/event-stream")
        assert (await client.head("/api/nowhere")).status_code == 404
        assert (await client.head(RUN)).status_code == 405
        assert (await client.head(STATUS, headers={"Host": "evil.example"})).status_code == 403


async def test_the_polling_habit_of_existing_pages_sees_the_end(running: ServerProcess) -> None:
    every = 0.1
    """Five seconds, fifty times faster."""
    run = await start(running.url)
    seen = []
    for _ in range(60):
        stats = (await plain(running.url)).json()["data"]
        seen.append(stats["status"])
        if stats["status"] != "running":
            break
        await asyncio.sleep(every)
    assert (stats["run_id"], seen[-1]) == (run["run_id"], "success")


async def test_a_poller_with_a_tag_misses_nothing(running: ServerProcess) -> None:
    tag, answers = "", []
    async with httpx.AsyncClient(base_url=running.url, timeout=PATIENCE) as client, asyncio.timeout(PATIENCE):
        starting = None
        while not answers or answers[-1]["status"] != "success":
            answer = await client.get(STATUS, headers={"If-None-Match": tag} if tag else {})
            if answer.status_code == 304:
                assert answer.headers["etag"] == tag
            else:
                assert answer.headers["etag"] != tag
                tag = answer.headers["etag"]
                answers.append(answer.json()["data"])
            starting = starting or asyncio.create_task(start(running.url))
            await asyncio.sleep(0.005)
        assert (await client.get(STATUS, headers={"If-None-Match": tag})).status_code == 304
        run = await starting
    revisions = [stats["revision"] for stats in answers]
    assert revisions == sorted(set(revisions))
    assert answers[0]["status"] == "never_run"
    assert answers[-1]["run_id"] == run["run_id"]


async def test_a_long_poll_returns_with_the_change(running: ServerProcess) -> None:
    waiting = asyncio.create_task(plain(running.url, params={"wait": 20, "since_revision": 0}))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    began = time.monotonic()
    run = await start(running.url)
    stats = (await waiting).json()["data"]
    assert time.monotonic() - began < 5
    assert stats["run_id"] == run["run_id"]
    assert stats["revision"] >= run["revision"]
