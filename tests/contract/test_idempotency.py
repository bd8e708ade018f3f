"""Idempotency keys, and runs that are started at most once for each: one body for every store."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from contract.stores import KINDS
from mongod import MongoServers
from stocksync.app import App
from stocksync.audit import Actor
from stocksync.domain.status import SyncStatus, Trigger
from stocksync.errors import IdempotencyInProgress, IdempotencyKeyReused, UnknownSource
from stocksync.ports import KeyUse
from stocksync.simulator import Simulator
from stocksync.sync.once import ABANDONED, KEEP
from stocksync.sync.requests import RunRequest
from support import running_app

NOW = datetime(2026, 4, 15, 9, 30, tzinfo=UTC)
USE = KeyUse(fingerprint="f", run_id="run-1", claimed_at=NOW)
YESTERDAY = NOW - timedelta(days=1)
REQUEST = RunRequest(trigger=Trigger.API, actor=Actor())


@pytest.fixture(params=sorted(KINDS))
async def app(
    request: pytest.FixtureRequest, simulator: Simulator, tmp_path: Path, mongo: MongoServers
) -> AsyncIterator[App]:
    url = KINDS[request.param].new_url(tmp_path, mongo)
    async with running_app(simulator, tmp_path, store=url) as opened:
        yield opened


async def test_a_key_is_claimed_once_until_it_expires(app: App) -> None:
    keys = app.store.keys
    assert await keys.claim("k", USE, expired=YESTERDAY) is None
    later = replace(USE, run_id="run-2", claimed_at=NOW + timedelta(hours=23))
    assert await keys.claim("k", later, expired=YESTERDAY) == USE
    assert await keys.claim("other", later, expired=YESTERDAY) is None
    much_later = replace(USE, run_id="run-3", claimed_at=NOW + timedelta(hours=25))
    assert await keys.claim("k", much_later, expired=NOW + timedelta(hours=1)) is None


async def test_a_claim_is_replaced_by_whoever_knows_it(app: App) -> None:
    keys = app.store.keys
    await keys.claim("k", USE, expired=YESTERDAY)
    other = replace(USE, run_id="run-2", claimed_at=NOW + timedelta(minutes=1))
    assert not await keys.replace("k", other, USE)
    assert await keys.replace("k", USE, other)
    assert await keys.claim("k", USE, expired=YESTERDAY) == other
    assert not await keys.replace("k", USE, None)
    assert await keys.replace("k", other, None)
    assert await keys.claim("k", USE, expired=YESTERDAY) is None


async def test_of_many_that_claim_one_key_together_one_gets_it(app: App) -> None:
    uses = [replace(USE, run_id=f"run-{n}") for n in range(20)]
    held = await asyncio.gather(*(app.store.keys.claim("k", use, expired=YESTERDAY) for use in uses))
    (winner,) = [use for use, found in zip(uses, held, strict=True) if found is None]
    assert all(found in {None, winner} for found in held)


async def test_requests_that_come_together_with_one_key_start_one_run(app: App) -> None:
    answers = await asyncio.gather(
        *(app.once.start("k", "f", replace(REQUEST, force=True)) for _ in range(10))
    )
    assert len({answer.stats.run_id for answer in answers}) == 1
    assert sorted(answer.replayed for answer in answers) == [False] + [True] * 9
    ended = await app.service.wait(answers[0].stats, seconds=30)
    assert ended.status is SyncStatus.SUCCESS
    again = await app.once.start("k", "f", REQUEST)
    assert (again.stats, again.replayed) == (ended, True)
    with pytest.raises(IdempotencyKeyReused):
        await app.once.start("k", "another request", REQUEST)
    fresh = await app.once.start("k2", "f", REQUEST)
    assert fresh.stats.run_id != ended.run_id
    assert not fresh.replayed


async def test_who_was_told_of_another_run_is_told_of_it_again(app: App) -> None:
    first = await app.service.start(REQUEST)
    told = await app.once.start("k", "f", REQUEST)
    assert (told.accepted, told.stats.run_id) == (False, first.stats.run_id)
    await app.service.wait(first.stats, seconds=30)
    again = await app.once.start("k", "f", REQUEST)
    assert (again.replayed, again.accepted) == (True, False)
    assert (again.stats.run_id, again.stats.final) == (first.stats.run_id, True)


async def test_a_request_that_was_refused_leaves_its_key_free(app: App) -> None:
    with pytest.raises(UnknownSource):
        await app.once.start("k", "f", replace(REQUEST, preferred_sources=("wind",)))
    assert (await app.once.start("k", "f", REQUEST)).accepted


async def test_a_claim_whose_process_died_before_the_run_began_is_taken_over(app: App) -> None:
    lately = replace(USE, claimed_at=datetime.now(UTC))
    await app.store.keys.claim("fresh", lately, expired=YESTERDAY)
    with pytest.raises(IdempotencyInProgress):
        await app.once.start("fresh", "f", REQUEST)
    long_ago = replace(USE, claimed_at=datetime.now(UTC) - ABANDONED - timedelta(seconds=1))
    await app.store.keys.claim("abandoned", long_ago, expired=datetime.now(UTC) - KEEP)
    assert (await app.once.start("abandoned", "f", REQUEST)).accepted
