"""The database did it, and the answer was lost: nothing is said twice, nothing is counted wrong."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from builders import log_of
from stocksync.app import App
from stocksync.domain.status import Reason, SyncStatus, broken_invariants
from stocksync.errors import StoreInvalid, StoreUnavailable
from stocksync.simulator import Simulator
from support import record, running_app

LOST = StoreUnavailable("应答丢失")


def lose_answers(target: Any, name: str, is_lost: Callable[[int], bool]) -> list[int]:
    """Let a method do its work, and then lose the answer of some of its calls; gives the numbers of those."""
    does_it, calls, lost = getattr(target, name), [0], list[int]()

    async def and_then_is_not_heard(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        number = calls[0]
        answer = await does_it(*args, **kwargs)
        if is_lost(number):
            lost.append(number)
            raise LOST
        return answer

    setattr(target, name, and_then_is_not_heard)
    return lost


def in_rows(folder: Path, run_id: str | None) -> int:
    with closing(sqlite3.connect(folder / "stocks.db")) as db:
        query = "SELECT count(*) FROM stock_basic_info WHERE changed_run = ?"
        count: int = db.execute(query, (run_id,)).fetchone()[0]
        return count


async def test_steps_whose_answer_is_lost_say_everything_once(simulator: Simulator, tmp_path: Path) -> None:
    """Every other one, the heartbeat's and those between two batches alike; and the run goes on."""
    simulator.faults.set("tushare.stock_basic", "poison")
    async with running_app(simulator, tmp_path) as app:
        undisturbed = await app.service.run_full_sync()
        expected = [event.event for event in await log_of(app.store, undisturbed.run_id or "")]
        lost = lose_answers(app.store.runs, "advance", lambda n: n % 2 == 1)
        recorder = record(app)
        ended = await app.service.run_full_sync()
        recorder.check()
        assert len(lost) >= 2
        assert ended.status is SyncStatus.SUCCESS_WITH_ERRORS
        events = await log_of(app.store, ended.run_id or "")
        assert sorted(event.event for event in events) == sorted(expected)
        rejects = await app.store.runs.rejects(ended.run_id or "")
        assert len(rejects) == len(set(rejects)) == ended.errors == 7


@pytest.mark.parametrize("batch", [1, 2])
async def test_a_batch_whose_answer_is_lost_is_counted_at_the_end(
    app: App, tmp_path: Path, batch: int
) -> None:
    lose_answers(app.store.stocks, "upsert", lambda n: n == batch)
    recorder = record(app)
    ended = await app.service.run_full_sync()
    recorder.check()
    assert (ended.status, ended.reason) == (SyncStatus.FAILED, Reason.STORE_UNAVAILABLE)
    assert ended.inserted == in_rows(tmp_path, ended.run_id) >= 500
    assert broken_invariants(ended) == []
    assert await app.store.runs.get(ended.run_id or "") == ended
    assert "应答丢失" in (ended.message or "")


async def test_an_end_whose_answer_is_lost_is_the_end_all_the_same(app: App) -> None:
    lose_answers(app.store.runs, "finish", lambda n: n == 1)
    ended = await app.service.run_full_sync()
    assert ended.status is SyncStatus.SUCCESS
    assert await app.store.runs.get(ended.run_id or "") == ended
    assert (await app.service.run_full_sync()).status is SyncStatus.SUCCESS, "the slot is free"


async def test_a_store_that_cannot_be_written_safely_is_said_before_anything_is_fetched(
    app: App, simulator: Simulator
) -> None:
    message = "存在重复的 (code, source)：600519/tushare，请运行 stocksync repair"

    async def refuse() -> None:
        raise StoreInvalid(message)

    app.store.stocks.ensure_writable = refuse  # type: ignore[method-assign]
    simulator.calls.reset()
    ended = await app.service.run_full_sync()
    assert (ended.status, ended.reason, ended.message) == (SyncStatus.FAILED, Reason.ERROR, message)
    assert simulator.calls.get() == {}
    (log,) = await app.store.logs.search(limit=1)
    assert log.error_message == message
