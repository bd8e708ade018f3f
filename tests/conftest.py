"""Fixtures and options of all tests."""

import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest

from mongod import MongoServers, ReplicaSet, mongo_servers, replica_set
from mongod_process import Mongod
from stocksync.app import App
from stocksync.simulator import Simulator, SimulatorOptions, open_simulator
from support import SMALL, running_app


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rounds", type=int, default=None, help="rounds of every kill and race loop")


@pytest.fixture
def rounds(request: pytest.FixtureRequest) -> int | None:
    """How many rounds a loop was asked to do; None for the few of a normal test run."""
    value: int | None = request.config.getoption("--rounds")
    return value


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the settings of whoever runs it."""
    for name in list(os.environ):
        if (
            name.startswith("STOCKSYNC_") and not name.startswith("STOCKSYNC_TEST_")
        ) or name == "TUSHARE_TOKEN":
            monkeypatch.delenv(name)


@pytest.fixture
def dumps() -> Path:
    """The folder of real dumps, which are not part of the project."""
    default = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("STOCKSYNC_TEST_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no real dumps at {folder}; set STOCKSYNC_TEST_DATA")
    return folder


@pytest.fixture(scope="session")
def shared_mongo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MongoServers]:
    with mongo_servers(tmp_path_factory.mktemp("mongo")) as servers:
        yield servers


@pytest.fixture
def mongo(shared_mongo: MongoServers) -> Iterator[MongoServers]:
    """Names new databases on servers that all tests share; they are dropped at the end of the test."""
    yield shared_mongo
    shared_mongo.drop_databases()


@pytest.fixture(scope="session")
def mongod_rs(shared_mongo: MongoServers) -> ReplicaSet:
    return shared_mongo.own_set


@pytest.fixture(scope="session")
def mongod_standalone(shared_mongo: MongoServers) -> Mongod:
    return shared_mongo.own_standalone


@pytest.fixture
def new_replica_set(tmp_path: Path) -> Iterator[Callable[..., ReplicaSet]]:
    """Makes replica sets of a test's own, which it may break: takes what `mongod.replica_set` takes."""
    with ExitStack() as stack:
        folders = (tmp_path / f"set{n}" for n in count())
        yield lambda *args, **options: stack.enter_context(replica_set(next(folders), *args, **options))


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with open_simulator(SimulatorOptions(size=SMALL)) as running:
        yield running


@pytest.fixture
async def app(simulator: Simulator, tmp_path: Path) -> AsyncIterator[App]:
    async with running_app(simulator, tmp_path) as opened:
        yield opened
