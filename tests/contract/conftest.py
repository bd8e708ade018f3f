"""Every kind of store, opened over a database of a test's own."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from contract.stores import KINDS, Open, Witness, closed_at_the_end
from mongod import MongoServers
from stocksync.ports import Store


@pytest.fixture(params=sorted(KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def store_url(kind: str, tmp_path: Path, mongo: MongoServers) -> str:
    """A database that nobody has opened yet."""
    return KINDS[kind].new_url(tmp_path, mongo)


@pytest.fixture
async def open_again(store_url: str) -> AsyncIterator[Open]:
    """Opens the same database once more, as another process would."""
    async with AsyncExitStack() as stack:

        async def open_one() -> Store:
            return await stack.enter_async_context(closed_at_the_end(store_url))

        yield open_one


@pytest.fixture
async def store(open_again: Open) -> Store:
    return await open_again()


@pytest.fixture
def witness(kind: str, store_url: str, store: Store) -> Iterator[Witness]:
    assert store
    watching = KINDS[kind].witness(store_url)
    yield watching
    watching.close()
