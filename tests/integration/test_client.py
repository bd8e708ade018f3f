"""Both clients against a real server: one test body, because they differ in nothing but `await`."""

import asyncio
import json
import secrets
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from integration.servers import ServerProcess, free_port, server
from stocksync.client import AsyncStocksyncClient, StocksyncClient
from stocksync.domain.status import Job, Reason, SyncStats, SyncStatus, Trigger, broken_steps
from stocksync.domain.stock import Dataset
from stocksync.errors import ServerError, Unreachable
from stocksync.simulator import Simulator
from stocksync.simulator.faults import Faults
from support import SMALL

RESCUE = {"STOCKSYNC_RESCUE_SECONDS": "2"}
SECONDS = 30
_ITERATORS = frozenset({"watch", "history", "log", "rejects", "changes"})


class InThreads:
    """The blocking client with the manners of the other one."""

    def __init__(self, client: StocksyncClient) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def call(*args: Any, **options: Any) -> Any:
            if name in _ITERATORS:
                return self._iterate(method(*args, **options))
            return asyncio.to_thread(method, *args, **options)

        return call

    @staticmethod
    async def _iterate(items: Any) -> AsyncIterator[Any]:
        with closing(items):
            while (item := await asyncio.to_thread(next, items, None)) is not None:
                yield item


@pytest.fixture(params=["async", "blocking"])
def manner(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@asynccontextmanager
async def opened(manner: str, url: str, **options: Any) -> AsyncIterator[AsyncStocksyncClient]:
    if manner == "async":
        async with AsyncStocksyncClient(url, **options) as client:
            yield client
    else:
        with StocksyncClient(url, **options) as blocking:
            yield InThreads(blocking)  # type: ignore[misc]


@asynccontextmanager
async def serving(
    simulator: Simulator, folder: Path, port: int | None = None
) -> AsyncIterator[ServerProcess]:
    manager = server(folder / "stocks.db", {**simulator.settings, **RESCUE}, port=port)
    running = await asyncio.to_thread(manager.__enter__)
    try:
        yield running
    finally:
        await asyncio.to_thread(manager.__exit__, None, None, None)


@pytest.fixture(scope="module")
def running(shared_simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server for all tests that leave it as they found it."""
    with server(tmp_path_factory.mktemp("shared") / "stocks.db", shared_simulator.settings) as process:
        yield process


@pytest.fixture
def faults(shared_simulator: Simulator) -> Iterator[Faults]:
    """What goes wrong in the upstream of that server, until the end of the test."""
    yield shared_simulator.faults
    shared_simulator.faults.clear()


@pytest.fixture
async def client(manner: str, running: ServerProcess) -> AsyncIterator[AsyncStocksyncClient]:
    async with opened(manner, running.url) as made:
        yield made


async def synced(client: AsyncStocksyncClient, **options: Any) -> SyncStats:
    run = await client.run(**options)
    return await client.wait(run.run_id or "", timeout=SECONDS)


async def refused(call: Any) -> ServerError:
    with pytest.raises(ServerError) as caught:
        await call
    return caught.value


async def test_a_run_from_start_to_end(client: AsyncStocksyncClient) -> None:
    run = await client.run()
    assert (run.status, run.trigger) == (SyncStatus.RUNNING, Trigger.API)
    seen: list[SyncStats] = []
    end = await client.wait(run.run_id or "", timeout=SECONDS, on_progress=seen.append)
    assert (end.status, end.total, end.inserted + end.updated) == (SyncStatus.SUCCESS, SMALL, SMALL)
    assert seen[-1] == end
    assert len(seen) > 1
    assert [broken_steps(*pair) for pair in pairwise(seen)] == [[]] * (len(seen) - 1)
    assert await client.get_run(end.run_id or "") == end == await client.status(Job.MULTI)
    assert await client.wait(end.run_id or "") == end


async def test_what_a_run_left_behind(client: AsyncStocksyncClient, faults: Faults) -> None:
    faults.set("tushare.stock_basic", "poison")
    end = await synced(client)
    run_id = end.run_id or ""
    assert end.status is SyncStatus.SUCCESS_WITH_ERRORS
    rejects = [each async for each in client.rejects(run_id)]
    assert len(rejects) == end.errors
    assert tuple(rejects[: len(end.rejects_sample)]) == end.rejects_sample
    lines = [line async for line in client.log(run_id)]
    assert lines[-1].event.event == "run_finished"
    assert [line async for line in client.log(run_id, follow=True)] == lines
    grave = [line async for line in client.log(run_id, level="warning")]
    assert grave == [line for line in lines if line.event.level != "info"]
    assert [change async for change in client.changes(run_id)] == []


async def test_a_log_is_followed_while_the_run_goes_on(client: AsyncStocksyncClient, faults: Faults) -> None:
    faults.set("tushare.daily_basic", "hang")
    run_id = (await client.run()).run_id or ""
    heard = []
    async with asyncio.timeout(SECONDS), aclosing(client.log(run_id, follow=True)) as lines:
        async for line in lines:
            heard.append(line.event.event)
            if line.event.data.get("phase") == "daily_data":
                await client.cancel(run_id)
    assert heard[-1] == "run_finished"
    assert (await client.get_run(run_id)).reason is Reason.CANCELLED


async def test_one_run_at_a_time(client: AsyncStocksyncClient, faults: Faults) -> None:
    faults.set("tushare.stock_basic", "hang")
    first = await client.run(mode="single")
    assert first.job is Job.SINGLE
    busy = await refused(client.run())
    assert (busy.code, busy.status) == ("run_in_progress", 409)
    second = await client.run(force=True)
    assert (await client.wait(first.run_id or "", timeout=SECONDS)).reason is Reason.SUPERSEDED
    assert not (await client.wait(second.run_id or "", timeout=0.3)).final
    assert (await refused(client.cancel(first.run_id))).code == "no_run_in_progress"
    assert (await client.cancel(second.run_id)).run_id == second.run_id
    assert (await client.wait(second.run_id or "", timeout=SECONDS)).reason is Reason.CANCELLED
    assert (await refused(client.cancel())).code == "no_run_in_progress"


async def test_a_key_stands_for_one_run(client: AsyncStocksyncClient) -> None:
    key = secrets.token_hex()
    first = await synced(client, idempotency_key=key)
    assert await client.run(idempotency_key=key) == first
    assert (await refused(client.run(idempotency_key=key, force=True))).code == "idempotency_key_reused"


async def test_what_is_not_there(client: AsyncStocksyncClient) -> None:
    unknown = await refused(client.run(preferred_sources=["wind"]))
    assert (unknown.code, unknown.status) == ("unknown_source", 422)
    assert "tushare" in unknown.detail
    assert (await refused(client.get_run("nothing"))).code == "run_not_found"
    assert (await refused(client.wait("nothing"))).code == "run_not_found"
    assert (await refused(client.get_run("../status"))).code in {"invalid_request", "not_found"}
    assert (await refused(client.test_sources("wind"))).code == "unknown_source"


async def test_history_page_by_page(simulator: Simulator, tmp_path: Path) -> None:
    async with serving(simulator, tmp_path) as own, opened("async", own.url) as client:
        newest = await synced(client)
        copies(tmp_path / "stocks.db", newest, 130)
        await check_history(client, newest)
        async with opened("blocking", own.url) as other:
            await check_history(other, newest)


async def check_history(client: AsyncStocksyncClient, newest: SyncStats) -> None:
    runs = [run async for run in client.history()]
    assert len(runs) == len({run.run_id for run in runs}) == 131
    assert runs[0] == newest
    assert [run.revision for run in runs] == sorted((run.revision for run in runs), reverse=True)
    assert [run async for run in client.history(limit=105)] == runs[:105]
    assert [run async for run in client.history(statuses=[SyncStatus.FAILED])] == []
    assert [run async for run in client.history(job=Job.MULTI, triggers=[Trigger.API], limit=1)] == runs[:1]
    assert newest.started_at is not None
    today = newest.started_at.date()
    assert [run async for run in client.history(start=today, end=today)] == runs
    assert [run async for run in client.history(start=newest.started_at, end=newest.started_at)] == runs


def copies(store: Path, run: SyncStats, count: int) -> None:
    """Older runs, made of one that was."""
    with closing(sqlite3.connect(store)) as connection, connection:
        columns = [row[1] for row in connection.execute("PRAGMA table_info(sync_runs)")]
        (row,) = connection.execute("SELECT * FROM sync_runs").fetchall()
        values = dict(zip(columns, row, strict=True))
        for n in range(1, count + 1):
            its = {"run_id": f"copy-{n}", "revision": run.revision - n}
            document = json.dumps(json.loads(values["document"]) | its)
            copy = {**values, **{name: its[name] for name in its if name in columns}, "document": document}
            marks = ", ".join("?" * len(columns))
            connection.execute(f"INSERT INTO sync_runs VALUES ({marks})", tuple(copy.values()))  # noqa: S608


async def test_sources_and_what_to_do_about_them(client: AsyncStocksyncClient, faults: Faults) -> None:
    (standing,) = await client.sources()
    assert (standing.report.name, standing.report.available) == ("tushare", True)
    assert (standing.report.token_required, standing.report.token_source) == (True, "env")
    await synced(client)
    (standing,) = await client.sources()
    listed = next(each for each in standing.datasets if each.dataset is Dataset.STOCK_LIST)
    assert listed.rows
    assert listed.last_success_at is not None
    advice = await client.recommendations()
    assert (advice.primary, advice.fallbacks) == ("tushare", ())
    assert await client.test_sources() == {"tushare": None}
    faults.set("tushare.trade_cal", "bad_token")
    assert "令牌无效" in ((await client.test_sources("tushare"))["tushare"] or "")


async def test_a_server_that_is_not_there(manner: str) -> None:
    port = free_port()
    async with opened(manner, f"http://127.0.0.1:{port}") as client:
        began = time.monotonic()
        for call in (client.status(), client.run(), client.cancel(), client.wait("r1")):
            with pytest.raises(Unreachable, match=str(port)):
                await call
        with pytest.raises(Unreachable):
            await anext(aiter(client.watch()))
        assert time.monotonic() - began < 5


async def test_a_proxy_of_the_environment_does_not_come_between(
    manner: str, running: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    async with opened(manner, running.url) as client:
        assert (await client.status(Job.MULTI)).job is Job.MULTI


async def test_nothing_is_missed_over_a_restart_of_the_server(
    manner: str, simulator: Simulator, tmp_path: Path
) -> None:
    """Kill the server in the middle of a run: the watcher sees the run's end, and the one that follows it."""
    port = free_port()
    seen: list[SyncStats] = []
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(serving(simulator, tmp_path, port))
        client = await stack.enter_async_context(opened(manner, first.url))
        watcher = asyncio.create_task(collect(client, seen))
        simulator.faults.set("tushare.daily_basic", "hang")
        run_id = (await client.run()).run_id or ""
        waiter = asyncio.create_task(client.wait(run_id, timeout=SECONDS))
        await until_seen(seen, lambda stats: stats.phase == "daily_data")
        await asyncio.to_thread(first.kill)
        simulator.faults.clear()
        await stack.enter_async_context(serving(simulator, tmp_path, port))
        assert (await waiter).reason is Reason.INTERRUPTED
        async with asyncio.timeout(SECONDS):
            await watcher
    end = next(stats for stats in seen if stats.run_id == run_id and stats.final)
    assert end.reason is Reason.INTERRUPTED
    assert (seen[-1].status, seen[-1].trigger) == (SyncStatus.SUCCESS, Trigger.RESCUE)
    revisions = [stats.revision for stats in seen]
    assert revisions == sorted(revisions)


async def collect(client: AsyncStocksyncClient, seen: list[SyncStats]) -> None:
    async with aclosing(client.watch()) as changes:
        async for stats in changes:
            seen.append(stats)
            if stats.status is SyncStatus.SUCCESS:
                return


async def until_seen(seen: list[SyncStats], holds: Any) -> None:
    async with asyncio.timeout(SECONDS):
        while not any(map(holds, seen)):  # noqa: ASYNC110 - the list is filled by another task
            await asyncio.sleep(0.02)


async def test_a_server_that_stays_away_is_given_up(
    manner: str, simulator: Simulator, tmp_path: Path
) -> None:
    async with serving(simulator, tmp_path) as own, opened(manner, own.url, patience=1.0) as client:
        changes = client.watch()
        await anext(changes)
        await asyncio.to_thread(own.kill)
        with pytest.raises(Unreachable):
            async with asyncio.timeout(SECONDS):
                await anext(changes)
