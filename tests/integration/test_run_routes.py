"""The routes of past runs: history, log, rejected rows and changes, over real syncs of a simulated market."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from api_client import in_process
from contract.stores import KINDS
from integration.servers import server
from mongod import MongoServers
from stocksync.api.schemas.base import ProblemOut, Shape
from stocksync.api.schemas.runs import (
    ChangesEnvelope,
    HistoryEnvelope,
    LogEnvelope,
    RejectsEnvelope,
    RunsEnvelope,
)
from stocksync.app import App
from stocksync.audit import Actor
from stocksync.domain.status import Job, SyncStats, SyncStatus, Trigger
from stocksync.domain.wire import MARKET_ZONE
from stocksync.simulator import Simulator
from stocksync.simulator.tables import POISON_CODES
from stocksync.sync.requests import RunRequest
from support import SMALL, running_app

RUNS = "/api/sync/runs"
HISTORY = "/api/sync/multi-source/history"
RUN = "/api/sync/stock_basics/run"
Json = dict[str, Any]


@pytest.fixture
async def http(app: App) -> AsyncIterator[httpx.AsyncClient]:
    async with in_process(app) as client:
        yield client


async def sync(app: App, *, job: Job = Job.MULTI, trigger: Trigger = Trigger.API) -> SyncStats:
    started = await app.service.start(RunRequest(job=job, trigger=trigger, actor=Actor()))
    assert started.accepted
    return await app.service.wait(started.stats, seconds=20)


async def read(client: httpx.AsyncClient, path: str, shape: type[Shape], **params: Any) -> Json:
    """The data of an answer whose whole shape is as documented."""
    answer = await client.get(path, params=params)
    assert answer.status_code == 200, answer.text
    shape.model_validate_json(answer.content)
    data: Json = answer.json()["data"]
    return data


async def refused(client: httpx.AsyncClient, path: str, code: int, **params: Any) -> str:
    answer = await client.get(path, params=params)
    assert answer.status_code == code, answer.text
    return ProblemOut.model_validate_json(answer.content).code


def ids(page: Json) -> list[str]:
    return [record["run_id"] for record in page["records"]]


# --- history


async def test_runs_are_listed_newest_first_and_filtered(
    app: App, http: httpx.AsyncClient, simulator: Simulator
) -> None:
    empty = await read(http, RUNS, RunsEnvelope)
    assert empty.pop("records") == []
    assert empty == {"total": 0, "page": 1, "page_size": 20, "has_more": False, "next_cursor": None}
    good = await sync(app)
    single = await sync(app, job=Job.SINGLE, trigger=Trigger.CLI)
    simulator.faults.set("tushare.*", "hang")
    started = await app.service.start(RunRequest(trigger=Trigger.SCHEDULE, actor=Actor()))
    await app.service.cancel(Actor())
    bad = await app.service.wait(started.stats, seconds=20)
    assert [run.status for run in (good, single, bad)] == [SyncStatus.SUCCESS] * 2 + [SyncStatus.FAILED]
    first, second, third = (run.run_id for run in (good, single, bad))

    async def found(**params: Any) -> list[str]:
        page = await read(http, RUNS, RunsEnvelope, **params)
        assert page["total"] == len(page["records"])
        return ids(page)

    assert await found() == [third, second, first]
    assert await found(status="success") == [second, first]
    assert await found(status=["success", "failed"]) == [third, second, first]
    assert await found(status="running") == []
    assert await found(job="stock_basics") == [second]
    assert await found(trigger="cli") == [second]
    assert await found(trigger=["cli", "schedule"]) == [third, second]
    assert (await read(http, RUNS, RunsEnvelope))["records"][2]["attempts"]


async def test_dates_are_days_of_the_market_or_moments(app: App, http: httpx.AsyncClient) -> None:
    run = await sync(app)
    assert run.started_at is not None
    began = run.started_at.astimezone(MARKET_ZONE)
    day = timedelta(days=1)

    async def found(start: str | None, end: str | None = None) -> bool:
        given = {"start_date": start, "end_date": end}
        page = await read(http, RUNS, RunsEnvelope, **{name: text for name, text in given.items() if text})
        return bool(page["records"])

    def naive(moment: datetime) -> str:
        return moment.replace(tzinfo=None).isoformat()

    today, before, after = (f"{moment:%Y-%m-%d}" for moment in (began, began - day, began + day))
    assert await found(today, today)
    assert await found(before, after)
    assert not await found(after)
    assert not await found(None, before)
    assert await found(naive(began), naive(began))
    assert not await found(naive(began + timedelta(milliseconds=1)))
    assert await found(began.isoformat(), began.isoformat())
    assert not await found((began + day).astimezone().isoformat())
    assert await found(None, f"{began + timedelta(minutes=1):%Y-%m-%dT%H:%M}Z")


async def test_a_cursor_goes_on_exactly_after_the_last_record_whatever_came_meanwhile(
    app: App, http: httpx.AsyncClient
) -> None:
    runs = [str((await sync(app)).run_id) for _ in range(5)]
    first = await read(http, RUNS, RunsEnvelope, page_size=2)
    assert (ids(first), first["has_more"], first["total"]) == (runs[:2:-1], True, 5)
    newer = str((await sync(app)).run_id)
    second = await read(http, RUNS, RunsEnvelope, page_size=2, cursor=first["next_cursor"])
    assert (ids(second), second["has_more"], second["total"]) == ([runs[2], runs[1]], True, 6)
    await sync(app)
    third = await read(http, RUNS, RunsEnvelope, page_size=2, cursor=second["next_cursor"])
    assert (ids(third), third["has_more"], third["next_cursor"]) == ([runs[0]], False, None)
    by_page = await read(http, RUNS, RunsEnvelope, page=4, page_size=2)
    assert (ids(by_page), by_page["has_more"]) == ([runs[0]], False)
    assert newer in ids(await read(http, RUNS, RunsEnvelope, page=1, page_size=2))
    assert (await read(http, RUNS, RunsEnvelope, page=100_000, page_size=100))["records"] == []


@pytest.mark.parametrize(
    "params",
    [
        {"status": "done"}, {"status": ["success", ""]}, {"job": "other"}, {"trigger": "cron"},
        {"start_date": "yesterday"}, {"start_date": "2026-02-30"}, {"end_date": "2026-13-01"},
        {"end_date": "20260415"}, {"start_date": "1776225600"}, {"start_date": "2026-04-15T25:00"},
        {"start_date": "2023-02-29"}, {"end_date": "2026-04-15T10:00:00+25:00"}, {"end_date": "2026-04-15\n"},
        {"page": 0}, {"page": 100_001}, {"page": "x"}, {"page_size": 0}, {"page_size": 101},
        {"cursor": ""}, {"cursor": "r"}, {"cursor": "7000031"}, {"cursor": "rg"}, {"cursor": "r" + "f" * 16},
    ],
)  # fmt: skip
async def test_nonsense_is_refused(http: httpx.AsyncClient, params: Json) -> None:
    assert await refused(http, RUNS, 422, **params) == "invalid_request"


async def test_the_multi_source_history_has_that_job_only(app: App, http: httpx.AsyncClient) -> None:
    multi = [str((await sync(app)).run_id) for _ in range(3)]
    await sync(app, job=Job.SINGLE)
    page = await read(http, HISTORY, HistoryEnvelope)
    assert ids(page) == multi[::-1]
    assert {name: page[name] for name in ("total", "page", "page_size", "has_more")} == {
        "total": 3, "page": 1, "page_size": 10, "has_more": False,
    }  # fmt: skip
    page = await read(http, HISTORY, HistoryEnvelope, page=2, page_size=2, status="success")
    assert (ids(page), page["has_more"]) == ([multi[0]], False)
    assert (await read(http, HISTORY, HistoryEnvelope, page_size=2))["has_more"]
    assert (await read(http, HISTORY, HistoryEnvelope, status="failed"))["records"] == []
    assert len((await read(http, HISTORY, HistoryEnvelope, status=""))["records"]) == 3
    for wrong in ({"page_size": 51}, {"page": 0}, {"status": "done"}):
        assert await refused(http, HISTORY, 422, **wrong) == "invalid_request"


@pytest.mark.parametrize("part", ["", "/log", "/rejects", "/changes"])
async def test_an_unknown_run_has_nothing(http: httpx.AsyncClient, part: str) -> None:
    assert await refused(http, f"{RUNS}/20261123-183000-1f0c9a2b{part}", 404) == "run_not_found"
    assert await refused(http, f"{RUNS}/{'x' * 65}{part}", 422) == "invalid_request"
    assert await refused(http, f"{RUNS}/a%0Ab{part}", 422) == "invalid_request"
    answer = await http.post(f"{RUNS}/run-1{part}")
    assert answer.status_code == 405


async def test_a_stream_of_an_unknown_run_is_a_problem(http: httpx.AsyncClient) -> None:
    assert await refused(http, f"{RUNS}/nothing/log", 404, follow=True) == "run_not_found"


# --- rejected rows


async def test_every_rejected_row_is_told_with_its_reason(
    app: App, http: httpx.AsyncClient, simulator: Simulator
) -> None:
    simulator.faults.set("tushare.stock_basic", "poison")
    run = await sync(app)
    assert run.status is SyncStatus.SUCCESS_WITH_ERRORS
    path = f"{RUNS}/{run.run_id}/rejects"
    page = await read(http, path, RejectsEnvelope)
    assert page["total"] == len(page["records"]) == run.errors
    assert {*POISON_CODES, "999999"} <= {record["code"] for record in page["records"]}
    assert all(record["reason"] and record["field"] for record in page["records"])
    pages = [await read(http, path, RejectsEnvelope, page=n, page_size=3) for n in (1, 2, 3)]
    assert [each for one in pages for each in one["records"]] == page["records"]
    assert [one["has_more"] for one in pages] == [True, True, False]
    for wrong in ({"page_size": 1001}, {"page": 0}):
        assert await refused(http, path, 422, **wrong) == "invalid_request"


# --- changes of the market


@pytest.fixture(params=sorted(KINDS))
async def any_app(
    request: pytest.FixtureRequest, simulator: Simulator, tmp_path: Path, mongo: MongoServers
) -> AsyncIterator[App]:
    url = KINDS[request.param].new_url(tmp_path, mongo)
    async with running_app(simulator, tmp_path, store=url) as opened:
        yield opened


def told(page: Json) -> set[tuple[str | None, ...]]:
    names = ("kind", "code", "source", "before", "after")
    return {tuple(record[name] for name in names) for record in page["records"]}


async def test_what_happens_in_the_market_between_two_syncs_is_kept_with_the_second(
    any_app: App, simulator: Simulator
) -> None:
    market = simulator.market
    renamed, gone, moved, returning, *_, beijing = market.stocks
    market.happen({beijing.symbol: "renumber:830001", returning.symbol: "delist"})
    async with in_process(any_app) as http:

        async def changes(**params: Any) -> Json:
            run = await sync(any_app)
            assert run.status is SyncStatus.SUCCESS
            return await read(http, f"{RUNS}/{run.run_id}/changes", ChangesEnvelope, **params)

        first = await changes()
        assert (first["records"], first["counts"], first["total"]) == ([], {}, 0), "a load is no change"
        assert (await changes())["total"] == 0

        market.undo()
        market.happen(
            {
                renamed.symbol: "rename:*ST虚某",
                gone.symbol: "delist",
                moved.symbol: "move:创业板",
                "605996": "list:新股份",
            }
        )
        page = await changes()
        assert told(page) == {
            ("renamed", renamed.symbol, "tushare", renamed.name, "*ST虚某"),
            ("delisted", gone.symbol, "tushare", None, None),
            ("moved_board", moved.symbol, "tushare", moved.board, "创业板"),
            ("listed", "605996", "tushare", None, None),
            ("listed", returning.symbol, "tushare", None, None),
            ("renumbered", beijing.symbol, "tushare", "830001", beijing.symbol),
        }
        assert page["counts"] == {"renamed": 1, "delisted": 1, "moved_board": 1, "listed": 2, "renumbered": 1}
        assert page["total"] == 6

        assert (await changes())["total"] == 0, "told once"
        market.undo(gone.symbol)
        assert told(await changes()) == {("relisted", gone.symbol, "tushare", None, None)}


async def test_changes_come_by_kind_and_page(app: App, http: httpx.AsyncClient, simulator: Simulator) -> None:
    await sync(app)
    simulator.market.happen({f"60599{n}": f"list:新{n}" for n in range(3, 9)})
    simulator.market.happen({simulator.market.stocks[0].symbol: "delist"})
    run = await sync(app)
    path = f"{RUNS}/{run.run_id}/changes"
    listed = await read(http, path, ChangesEnvelope, kind="listed", page_size=4)
    assert (len(listed["records"]), listed["total"], listed["has_more"]) == (4, 6, True)
    assert listed["counts"] == {"listed": 6, "delisted": 1}
    rest = await read(http, path, ChangesEnvelope, kind="listed", page_size=4, page=2)
    assert {record["code"] for record in (*listed["records"], *rest["records"])} == {
        f"60599{n}" for n in range(3, 9)
    }
    assert (await read(http, path, ChangesEnvelope, kind="renamed"))["records"] == []
    assert await refused(http, path, 422, kind="split") == "invalid_request"
    assert await refused(http, path, 422, page_size=1001) == "invalid_request"


async def test_a_source_that_steps_in_for_the_first_time_brings_no_new_stocks(
    simulator: Simulator, tmp_path: Path
) -> None:
    async with running_app(simulator, tmp_path, sources="tushare,baostock") as app:
        await sync(app)
        simulator.faults.set("tushare.*", "http403")
        run = await sync(app)
        assert run.source_stats["baostock"].success > 0
        assert await app.store.runs.changes(run.run_id or "") == []


async def test_a_load_that_was_broken_off_goes_on_as_a_load(simulator: Simulator, tmp_path: Path) -> None:
    async with running_app(simulator, tmp_path) as app:
        upsert, batches = app.store.stocks.upsert, 0

        async def cut_off(*args: Any) -> Any:
            nonlocal batches
            batches += 1
            count = await upsert(*args)
            await app.service.cancel(Actor())
            await asyncio.sleep(0.5)
            return count

        app.store.stocks.upsert = cut_off  # type: ignore[method-assign]
        broken = await sync(app)
        assert (broken.status, 0 < broken.inserted <= SMALL) == (SyncStatus.FAILED, True)
        app.store.stocks.upsert = upsert  # type: ignore[method-assign]
        again = await sync(app)
        assert again.status is SyncStatus.SUCCESS
        assert await app.store.runs.changes(again.run_id or "") == []


# --- the log


async def test_a_log_is_read_on_from_where_one_stopped(app: App, http: httpx.AsyncClient) -> None:
    run = await sync(app)
    path = f"{RUNS}/{run.run_id}/log"
    whole = await read(http, path, LogEnvelope)
    places = [record["seq"] for record in whole["records"]]
    assert places == list(range(len(places)))
    assert (whole["final"], whole["next_after"]) == (True, places[-1])
    assert whole["records"][-1]["event"] == "run_finished"
    assert whole["records"][0]["at"].endswith("+08:00")

    after, parts = -1, []
    while True:
        part = await read(http, path, LogEnvelope, after=after, limit=3)
        after = part["next_after"]
        parts += part["records"]
        if part["final"]:
            break
    assert parts == whole["records"]
    end = await read(http, path, LogEnvelope, after=after)
    assert (end["records"], end["next_after"], end["final"]) == ([], after, True)
    assert (await read(http, path, LogEnvelope, level="warning"))["records"] == []
    for wrong in ({"after": -2}, {"limit": 0}, {"limit": 1001}, {"level": "debug"}, {"max_seconds": 0}):
        assert await refused(http, path, 422, **wrong) == "invalid_request"


async def test_a_log_is_read_by_its_gravity(app: App, http: httpx.AsyncClient, simulator: Simulator) -> None:
    simulator.faults.set("tushare.stock_basic", "http403")
    run = await sync(app)
    path = f"{RUNS}/{run.run_id}/log"
    levels = {
        level: [record["level"] for record in (await read(http, path, LogEnvelope, level=level))["records"]]
        for level in ("info", "warning", "error")
    }
    assert set(levels["info"]) == {"info", "warning", "error"}
    assert set(levels["warning"]) == {"warning", "error"}
    assert levels["error"] == ["error"]


@dataclass(frozen=True)
class Event:
    name: str
    number: str | None
    data: Json


def events_of(text: str) -> Iterator[Event]:
    for block in text.split("\n\n"):
        lines = [line for line in block.splitlines() if line and not line.startswith(":")]
        fields = dict(line.split(": ", 1) for line in lines)
        if "event" in fields:
            yield Event(fields["event"], fields.get("id"), json.loads(fields["data"]))


async def test_a_run_that_has_ended_is_streamed_from_any_line_to_its_end(
    app: App, http: httpx.AsyncClient
) -> None:
    run = await sync(app)
    path = f"{RUNS}/{run.run_id}/log"
    whole = (await read(http, path, LogEnvelope))["records"]

    async def streamed(headers: dict[str, str] | None = None, **params: Any) -> Sequence[Event]:
        answer = await http.get(path, params=params, headers=headers)
        assert answer.headers["content-type"].startswith("text/event-stream")
        return list(events_of(answer.text))

    *lines, end = await streamed(follow=True)
    assert [line.data for line in lines] == whole
    assert [line.number for line in lines] == [str(record["seq"]) for record in whole]
    assert {line.name for line in lines} == {"log"}
    assert (end.name, end.data["run_id"], end.data["status"]) == ("end", run.run_id, "success")
    *rest, _ = await streamed({"Accept": "text/event-stream"}, after=2)
    assert [line.data for line in rest] == whole[3:]
    *rest, _ = await streamed({"Last-Event-ID": "4"}, follow=True, after=2)
    assert [line.data for line in rest] == whole[5:]
    *rest, _ = await streamed({"Last-Event-ID": "nonsense"}, follow=True, after=2)
    assert [line.data for line in rest] == whole[3:]
    assert [event.name for event in await streamed({"Last-Event-ID": "2147483647"}, follow=True)] == ["end"]


@asynccontextmanager
async def serving(*args: Any) -> AsyncIterator[httpx.AsyncClient]:
    manager = server(*args)
    running = await asyncio.to_thread(manager.__enter__)
    try:
        async with httpx.AsyncClient(base_url=running.url, timeout=30) as client:
            yield client
    finally:
        await asyncio.to_thread(manager.__exit__, None, None, None)


async def follow(client: httpx.AsyncClient, path: str, **headers: str) -> AsyncIterator[Event]:
    """What a stream sends, event by event."""
    async with client.stream("GET", path, params={"follow": "true"}, headers=headers) as answer:
        assert answer.status_code == 200
        text = ""
        async for piece in answer.aiter_text():
            *whole, text = (text + piece).split("\n\n")
            for block in whole:
                for event in events_of(block):
                    yield event


@pytest.mark.parametrize("kind", sorted(KINDS))
async def test_a_run_is_followed_live_from_its_own_and_from_another_process(
    simulator: Simulator, tmp_path: Path, mongo: MongoServers, kind: str
) -> None:
    """A client that is cut off in the middle goes on, at whichever process, without a gap."""
    url = KINDS[kind].new_url(tmp_path, mongo)
    simulator.faults.set("tushare.daily_basic", "hang")
    async with serving(url, simulator.settings) as here, serving(url, simulator.settings) as there:
        started = (await here.post(RUN)).json()["data"]
        path = f"{RUNS}/{started['run_id']}/log"
        seen: list[Event] = []
        async for event in follow(here, path):
            seen.append(event)
            if event.data.get("data", {}).get("dataset") == "stock_list":
                break  # the run goes on: it waits for its daily data
        assert seen[0].data["seq"] == 0
        assert (await read(there, path, LogEnvelope))["final"] is False

        async def to_the_end() -> list[Event]:
            return [event async for event in follow(there, path, **{"Last-Event-ID": seen[-1].number or ""})]

        async with asyncio.timeout(20):
            rest = asyncio.create_task(to_the_end())
            await asyncio.sleep(1)
            await here.post("/api/sync/stock_basics/cancel")
            *lines, end = await rest
        assert (end.name, end.data["status"], end.data["reason"]) == ("end", "failed", "cancelled")
        whole = (await read(here, path, LogEnvelope))["records"]
        assert [event.data for event in (*seen, *lines)] == whole
        assert whole[-1]["event"] == "run_finished"


async def test_a_stream_lasts_no_longer_than_was_asked(simulator: Simulator, tmp_path: Path) -> None:
    simulator.faults.set("tushare.*", "hang")
    async with serving(tmp_path / "stocks.db", simulator.settings) as http:
        started = (await http.post(RUN)).json()["data"]
        path = f"{RUNS}/{started['run_id']}/log"
        async with asyncio.timeout(10):
            answer = await http.get(path, params={"follow": True, "max_seconds": 1})
        assert answer.status_code == 200
        events = list(events_of(answer.text))
        assert events
        assert all(event.name == "log" for event in events), "the run goes on"
