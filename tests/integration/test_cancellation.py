"""Whoever is told to end while he waits for the database ends."""

import asyncio
import random
from pathlib import Path
from typing import Final

import pytest

from contract.stores import KINDS
from mongod import MongoServers
from stocksync.domain.status import Job
from stocksync.ports import Store
from stocksync.stores import open_store

ROUNDS: Final = 100
PATIENCE: Final = 2.0


@pytest.mark.chaos
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # PyMongo drops sockets then
@pytest.mark.parametrize("kind", sorted(KINDS))
async def test_no_cancellation_is_lost(
    kind: str, tmp_path: Path, mongo: MongoServers, rounds: int | None
) -> None:
    """PyMongo awaits with asyncio.wait_for, which on Python 3.11 may prefer a result to a cancellation."""
    played, lost, dice = rounds or ROUNDS, 0, random.Random(kind)
    store = await open_store(KINDS[kind].new_url(tmp_path, mongo))
    for _ in range(played):
        reader = asyncio.create_task(read_for_ever(store))
        await asyncio.sleep(dice.uniform(0, 0.01))
        reader.cancel()
        _, living = await asyncio.wait({reader}, timeout=PATIENCE if not lost else 0.1)
        lost += len(living)
    await store.aclose()
    print(f"no cancellation lost, {kind}: {played} rounds, {lost} violations")
    assert lost == 0


async def read_for_ever(store: Store) -> None:
    while True:
        await store.runs.latest(Job.MULTI)
