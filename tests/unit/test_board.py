"""The snapshot that everyone reads."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

from stocksync.domain.status import Job, SyncStatus, Trigger, begin
from stocksync.sync.board import StatusBoard

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
RUN = replace(begin(job=Job.MULTI, run_id="a", trigger=Trigger.API, started_at=NOW), revision=1_000_001)


def test_only_newer_snapshots_are_shown() -> None:
    board = StatusBoard()
    board.publish(RUN)
    board.publish(replace(RUN, revision=1_000_000, total=5))
    assert board.get(Job.MULTI) is RUN
    assert board.get() is RUN
    assert board.get(Job.SINGLE).status is SyncStatus.IDLE


def test_stale_is_said_of_every_job_and_taken_back_of_every_job() -> None:
    board = StatusBoard()
    board.publish(RUN)
    board.mark_stale(NOW)
    assert {board.get(job).stale_since for job in (None, *Job)} == {NOW}
    board.publish(replace(RUN, revision=1_000_002))  # the owner's own step comes before the follower's look
    board.mark_stale(None)
    assert {board.get(job).stale_since for job in (None, *Job)} == {None}
    assert board.get().revision == 1_000_002


def test_nothing_new_is_the_same_object() -> None:
    board = StatusBoard()
    board.publish(RUN)
    shown = board.get()
    board.mark_stale(None)
    board.publish(RUN)
    assert board.get() is shown


async def test_waiting_ends_with_the_change() -> None:
    board = StatusBoard()
    waiting = asyncio.create_task(board.wait_for(lambda: board.get().revision > 0))
    await asyncio.sleep(0)
    assert not waiting.done()
    board.publish(RUN)
    async with asyncio.timeout(1):
        await waiting
