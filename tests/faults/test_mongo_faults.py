"""Every way in which MongoDB can fail, one by one, and how each operation must end.

A fault is switched on at a real server, an operation is carried out, and it ends as the table says. Whatever
was unavailable is then asked for again without the fault: it must have taken place exactly once.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Final

import pytest
from bson.errors import InvalidBSON, InvalidDocument
from pymongo import MongoClient
from pymongo import errors as pymongo_errors

from builders import a_stock
from contract.stores import acquire
from mongo_bench import (
    ABSENT_MORE,
    ADVANCE,
    BATCH,
    CONTROL_SECONDS,
    FOLLOW,
    FORCE,
    FRESH,
    HEALTH,
    LOOK,
    LOOKS,
    OPERATION_SECONDS,
    OTHER_WRITES,
    PATIENCE,
    READS,
    RETIRES,
    STEPS,
    STORED,
    TRIES,
    UPSERT,
    UPSERT_READ,
    Bench,
    Database,
    Operation,
    bench_at,
    database_at,
    hurry,
    opened,
    upsert,
    upserted,
)
from mongod import ReplicaSet
from mongod_process import Mongod, free_port
from stocksync.domain.status import Reject
from stocksync.domain.stock import StockBasic
from stocksync.errors import (
    LeaseLost,
    StocksyncError,
    StoreError,
    StoreInvalid,
    StoreUnavailable,
    StoreUrlInvalid,
)
from stocksync.ports import Fence
from stocksync.stores.mongo import MongoStore, connection, open_mongo
from stocksync.stores.mongo.connection import is_transient, translated, translating

# PyMongo leaves the socket of a connection that is being made when its client is closed to the collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")


class Ends(Enum):
    """How an operation can end."""

    WELL = None
    UNAVAILABLE = StoreUnavailable
    INVALID = StoreInvalid
    LEASE_LOST = LeaseLost


# --- the servers


@pytest.fixture
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


@pytest.fixture(scope="module")
def on_set(mongod_rs: ReplicaSet) -> Iterator[Database]:
    """Our own server, whatever the environment says: it is made to misbehave."""
    with database_at(mongod_rs.url("faults")) as database:
        yield database


@pytest.fixture(scope="module")
def on_lone(mongod_standalone: Mongod) -> Iterator[Database]:
    with database_at(mongod_standalone.url("faults")) as database:
        yield database


@pytest.fixture
async def bench(_in_a_hurry: None, mongod_rs: ReplicaSet, on_set: Database) -> AsyncIterator[Bench]:
    """On a replica set."""
    async with bench_at(mongod_rs.primary(), on_set) as bench:
        yield bench


@pytest.fixture
async def lone_bench(_in_a_hurry: None, mongod_standalone: Mongod, on_lone: Database) -> AsyncIterator[Bench]:
    """On a standalone, where PyMongo does not try any write again."""
    async with bench_at(mongod_standalone, on_lone) as bench:
        yield bench


# --- the faults


@dataclass(frozen=True)
class Fault:
    """What is wrong with the server: `data` of the failpoint failCommand, and how often."""

    name: str
    data: Mapping[str, Any]
    mode: Any = field(default_factory=lambda: {"times": TRIES - 1})

    def __str__(self) -> str:
        return self.name

    @contextmanager
    def on(self, bench: Bench, *commands: str) -> Iterator[Callable[[], int]]:
        """Only these commands, and only of the service; the yield tells how often it struck, in the end."""
        struck = [0]
        data = {"failCommands": [*commands], "appName": "stocksync", **self.data}
        before = bench.server.command("configureFailPoint", "failCommand", mode=self.mode, data=data)
        try:
            yield lambda: struck[0]
        finally:
            after = bench.server.command("configureFailPoint", "failCommand", mode="off")
            struck[0] = after["count"] - before["count"]


def code(name: str, number: int, mode: Any = None) -> Fault:
    return Fault(f"{name}-{number}", {"errorCode": number}, mode or {"times": TRIES - 1})


def forever(fault: Fault) -> Fault:
    return replace(fault, name=f"{fault.name}-for-ever", mode="alwaysOn")


def once(fault: Fault) -> Fault:
    return replace(fault, name=f"{fault.name}-once", mode={"times": 1})


NOT_PRIMARY: Final = code("not-primary", 10107)
CLOSED: Final = once(Fault("connection-closed", {"closeConnection": True}))
SHUTDOWN: Final = (once(code("shutdown", 91)), once(code("interrupted-at-shutdown", 11600)))
"""After these PyMongo leaves the server alone until it is looked at again."""

DRIVER: Final = (
    code("host-unreachable", 6),
    code("host-not-found", 7),
    code("network-timeout", 89),
    code("stepped-down", 189),
    code("time-limit", 262),
    code("socket", 9001),
    NOT_PRIMARY,
    code("interrupted-by-state-change", 11602),
    code("no-secondary-ok", 13435),
    code("recovering", 13436),
)
"""PyMongo itself tries these again, as long as there is time; a write only on a replica set."""

CONFLICT: Final = code("write-conflict", 112)
PASSING: Final = (
    code("lock-timeout", 24),
    code("max-time", 50),
    CONFLICT,
    code("temporarily-unavailable", 365),
    code("resource-exhausted", 402),
    code("interrupted", 11601),
)
"""PyMongo raises these at once."""

CURSOR_GONE: Final = (code("cursor-not-found", 43), code("query-plan-killed", 175))

WTIMEOUT: Final = Fault(
    "wtimeout", {"writeConcernError": {"code": 64, "errmsg": "timed out", "errInfo": {"wtimeout": True}}}
)
TOO_FEW: Final = Fault("too-few-members", {"writeConcernError": {"code": 100, "errmsg": "too few members"}})
SHUTDOWN_WHILE_WAITING: Final = once(
    Fault("shutdown-while-waiting", {"writeConcernError": {"code": 91, "errmsg": "shutdown"}})
)
"""With these three it is done, but nobody knows whether it will last."""

SILENCE: Final = once(
    Fault("silence", {"blockConnection": True, "blockTimeMS": round(OPERATION_SECONDS * 1200)})
)
LONG_SILENCE: Final = Fault(
    "long-silence", {"blockConnection": True, "blockTimeMS": round(CONTROL_SECONDS * 1200)}
)
DENIED: Final = (code("unauthorized", 13, "alwaysOn"), code("authentication", 18, "alwaysOn"))
DISK_FULL: Final = code("disk-full", 14031, "alwaysOn")
BROKEN: Final = (
    code("internal", 1, "alwaysOn"),
    code("validation-of-the-command", 121, "alwaysOn"),
    code("bad-value", 2, "alwaysOn"),
)
"""Nothing will help now, and no row is to blame."""


@dataclass(frozen=True)
class Case:
    """A line of the table. `strikes`: how often the fault must have struck, where that is certain."""

    fault: Fault
    operation: Operation
    ends: Ends
    strikes: int | None

    def __str__(self) -> str:
        return f"{self.fault}-{self.operation}"


def cases(
    faults: Iterable[Fault], operations: Iterable[Operation], ends: Ends, strikes: int | None = None
) -> list[Case]:
    return [Case(fault, operation, ends, strikes) for fault in faults for operation in operations]


TABLE: Final = [
    *cases(DRIVER, (UPSERT, ADVANCE), Ends.WELL, 3),
    *cases([NOT_PRIMARY], (UPSERT_READ, FORCE, *OTHER_WRITES, *READS, *STEPS, *LOOKS, FOLLOW), Ends.WELL, 3),
    *cases(SHUTDOWN, [UPSERT], Ends.WELL, 1),
    *cases([SHUTDOWN[0]], [ADVANCE], Ends.WELL, 1),
    *cases([CLOSED], (UPSERT, UPSERT_READ, ADVANCE, FORCE, FOLLOW), Ends.WELL, 1),
    *cases(PASSING, (UPSERT, UPSERT_READ), Ends.WELL, 3),
    *cases([CONFLICT], (*OTHER_WRITES, *READS), Ends.WELL, 3),
    *cases([once(CONFLICT), once(WTIMEOUT)], [FORCE], Ends.WELL, 1),
    *cases([forever(CONFLICT), forever(WTIMEOUT)], [FORCE], Ends.UNAVAILABLE),
    *cases(CURSOR_GONE, [ABSENT_MORE], Ends.WELL, 3),
    *cases(map(once, PASSING), [ADVANCE], Ends.UNAVAILABLE, 1),
    *cases([once(CONFLICT)], (*STEPS, *LOOKS, FOLLOW), Ends.UNAVAILABLE, 1),
    *cases([forever(CONFLICT)], (UPSERT, UPSERT_READ, *RETIRES, ABSENT_MORE), Ends.UNAVAILABLE, TRIES),
    *cases([forever(NOT_PRIMARY)], (UPSERT, ADVANCE), Ends.UNAVAILABLE),
    *cases([WTIMEOUT], (UPSERT, *OTHER_WRITES), Ends.WELL),
    *cases([TOO_FEW, SHUTDOWN_WHILE_WAITING], [UPSERT], Ends.WELL),
    *cases([forever(WTIMEOUT)], (UPSERT, *RETIRES, HEALTH, ADVANCE, *STEPS), Ends.UNAVAILABLE),
    *cases([SILENCE], (UPSERT, UPSERT_READ, FORCE), Ends.WELL, 1),
    *cases([forever(SILENCE)], [UPSERT], Ends.UNAVAILABLE, TRIES),
    *cases([LONG_SILENCE], [ADVANCE], Ends.UNAVAILABLE),
    *cases(DENIED, (UPSERT, LOOK), Ends.INVALID, 1),
    *cases([DENIED[0]], (UPSERT_READ, FORCE, ADVANCE, *STEPS, FOLLOW), Ends.INVALID, 1),
    *cases(BROKEN, (UPSERT, ADVANCE), Ends.UNAVAILABLE, 1),
    *cases([DISK_FULL], (UPSERT, FORCE, ADVANCE, *STEPS), Ends.UNAVAILABLE, 1),
    *cases([code("stream-fatal", 280), code("history-lost", 286)], [FOLLOW], Ends.UNAVAILABLE, 1),
]

LONE_TABLE: Final = [
    *cases([CONFLICT], [UPSERT], Ends.WELL, 3),
    *cases([once(NOT_PRIMARY), SHUTDOWN[0], CLOSED], [UPSERT], Ends.WELL, 1),
    *cases([CLOSED], [ADVANCE], Ends.UNAVAILABLE, 1),
]


async def ends_as(ends: Ends, work: Awaitable[object]) -> None:
    """Carry out, and see that it ends like this and not like anything else, in time."""
    async with asyncio.timeout(PATIENCE):
        if ends.value is None:
            await work
            return
        with pytest.raises(StocksyncError) as caught:
            await work
    assert type(caught.value) is ends.value, repr(caught.value)
    assert str(caught.value)


async def try_out(bench: Bench, case: Case) -> None:
    with case.fault.on(bench, case.operation.command) as struck:
        await ends_as(case.ends, case.operation.do(bench))
    assert struck() == case.strikes or (case.strikes is None and struck() > 0)
    if case.ends is not Ends.WELL and case.operation is not FOLLOW:
        bench.again = True
        await ends_as(Ends.WELL, case.operation.do(bench))
    await case.operation.done(bench)


@pytest.mark.parametrize("case", TABLE, ids=str)
async def test_every_fault_ends_as_designed(bench: Bench, case: Case) -> None:
    await try_out(bench, case)


@pytest.mark.parametrize("case", LONE_TABLE, ids=str)
async def test_every_fault_of_a_standalone_ends_as_designed(lone_bench: Bench, case: Case) -> None:
    await try_out(lone_bench, case)


def test_there_are_enough_faults() -> None:
    assert len({str(case.fault) for case in TABLE}) >= 25


# --- rows that are to blame


MB: Final = 1024 * 1024


@dataclass(frozen=True)
class Poison:
    """Rows that cannot be stored, and what must be in the reason that is given for them."""

    name: str
    rows: tuple[StockBasic, ...]
    reason: str = ""

    def __str__(self) -> str:
        return self.name


def poisoned(code: str = "600900", **fields: Any) -> StockBasic:
    return a_stock(code, **fields)


NUL: Final = poisoned(field_sources={"p\0e": "tushare"})
HUGE_NUMBER: Final = poisoned("600901", figures={"pe": 2**70})
SURROGATE: Final = poisoned("600902", name="坏\ud800名")
OVER_16_MB: Final = poisoned("600903", name="a" * (16 * MB))
POISONS: Final = (
    Poison("nul-in-a-key", (NUL,), "NULL"),
    Poison("2**70", (HUGE_NUMBER,), "8-byte"),
    Poison("lone-surrogate", (SURROGATE,), "surrogates"),
    Poison("no-bson", (poisoned(field_sources={"pe": {1}}),), "encode"),
    Poison("16-mb", (OVER_16_MB,), "16777216"),
    Poison("50-mb", (poisoned(name="a" * (50 * MB)),), "too large"),
    Poison("all-at-once", (NUL, HUGE_NUMBER, SURROGATE, OVER_16_MB)),
    Poison("of-stored-rows", (replace(HUGE_NUMBER, code="600100"), replace(SURROGATE, code="600101"))),
)


@pytest.mark.parametrize("poison", POISONS, ids=str)
async def test_a_row_that_cannot_be_sent_is_rejected_by_name_and_the_others_land(
    bench: Bench, poison: Poison
) -> None:
    before = bench.stored
    counted = await bench.store.stocks.upsert([poison.rows[0], *BATCH, *poison.rows[1:]], bench.fence)
    assert sorted(reject.code for reject in counted.rejects) == sorted(row.code for row in poison.rows)
    assert all(poison.reason in reject.reason for reject in counted.rejects)
    assert all(len(reject.reason) < 300 and len(reject.value) <= 100 for reject in counted.rejects)
    assert (counted.inserted, counted.changed, counted.unchanged) == (10, 5, 5)
    assert all(bench.stored.get(row.code) == before.get(row.code) for row in poison.rows)
    assert all(bench.stored[row.code]["name"] == row.name for row in BATCH)


@contextmanager
def collection_changed(
    bench: Bench, change: Callable[[Any], Any], undo: Callable[[Any], Any]
) -> Iterator[None]:
    """What somebody else did to the collection, on purpose or not."""
    with MongoClient[dict[str, Any]](bench.url) as client:
        database = client.get_default_database()
        change(database)
        try:
            yield
        finally:
            undo(database)


def unique_names(bench: Bench) -> Any:
    return collection_changed(
        bench,
        lambda database: database.stock_basic_info.create_index([("name", 1)], unique=True, name="foreign"),
        lambda database: database.stock_basic_info.drop_index("foreign"),
    )


def validated_names(bench: Bench) -> Any:
    rule = {"name": {"$ne": "禁名"}}
    return collection_changed(
        bench,
        lambda database: database.command("collMod", "stock_basic_info", validator=rule),
        lambda database: database.command("collMod", "stock_basic_info", validator={}),
    )


TWIN: Final = replace(STORED[3], code="600900")
"""Another stock of the same name."""

NAMED: Final = [*FRESH, replace(STORED[5], name="新名")]


async def upsert_but(bench: Bench, *bad: StockBasic) -> Sequence[Reject]:
    """Store rows of which some are refused; all others must land."""
    middle = len(NAMED) // 2
    counted = await bench.store.stocks.upsert([*NAMED[:middle], *bad, *NAMED[middle:]], bench.fence)
    assert (counted.inserted, counted.changed) == (len(FRESH), 1)
    assert all(bench.stored[row.code]["name"] == row.name for row in NAMED)
    assert [reject.code for reject in counted.rejects] == [row.code for row in bad]
    return counted.rejects


async def test_a_duplicate_of_a_foreign_unique_index_is_rejected_by_name(bench: Bench) -> None:
    with unique_names(bench):
        changed = replace(STORED[6], name=STORED[7].name)
        first, second = await upsert_but(bench, TWIN, changed)
    assert "唯一索引" in first.reason
    assert "name" in second.reason
    assert bench.stored["600006"]["name"] == STORED[6].name


async def test_a_row_that_a_validator_refuses_is_rejected_by_name(bench: Bench) -> None:
    with validated_names(bench):
        (reject,) = await upsert_but(bench, poisoned(name="禁名"))
    assert "validation" in reject.reason


@pytest.mark.parametrize("fault", [WTIMEOUT, CONFLICT, NOT_PRIMARY, CLOSED], ids=str)
async def test_a_refused_row_stays_alone_where_the_command_fails_in_passing_too(
    bench: Bench, fault: Fault
) -> None:
    """With a failed write concern one answer carries both kinds of error."""
    with unique_names(bench), fault.on(bench, "update") as struck:
        await upsert_but(bench, TWIN)
    assert struck() > 0


@pytest.mark.parametrize(
    ("fault", "bad"),
    [
        (forever(WTIMEOUT), TWIN),
        (forever(CONFLICT), HUGE_NUMBER),
        (DISK_FULL, TWIN),
        (DISK_FULL, HUGE_NUMBER),
    ],
    ids=str,
)
async def test_no_row_is_rejected_for_what_the_database_does(
    bench: Bench, fault: Fault, bad: StockBasic
) -> None:
    with unique_names(bench), fault.on(bench, "update"):
        await ends_as(Ends.UNAVAILABLE, upsert_but(bench, bad))
    assert await bench.store.stocks.get(bad.code, "tushare") is None


async def test_a_database_that_refuses_row_by_row_is_no_matter_of_the_rows(bench: Bench) -> None:
    """The error comes as that of each single row: a full disk may look like this."""
    with bench.server.failpoint("failAllUpdates"):
        await ends_as(Ends.UNAVAILABLE, upsert(bench))
    await upsert(bench)
    await upserted(bench)


# --- an owner that is displaced


@asynccontextmanager
async def usurper(bench: Bench) -> AsyncIterator[tuple[MongoStore, Fence]]:
    async with opened(bench.url) as store:
        fence, _ = await acquire(store, "run-2", force=True, owner="other")
        yield store, fence


@pytest.mark.parametrize(
    ("fault", "operation"),
    [(CLOSED, UPSERT), *((NOT_PRIMARY, operation) for operation in (UPSERT, RETIRES[0], STEPS[3], ADVANCE))],
    ids=str,
)
async def test_a_displaced_owner_is_told_so_whatever_else_goes_wrong(
    bench: Bench, fault: Fault, operation: Operation
) -> None:
    async with usurper(bench):
        before = bench.witness.everything()
        with fault.on(bench, operation.command):
            await ends_as(Ends.LEASE_LOST, operation.do(bench))
        assert bench.witness.everything() == before


async def test_an_owner_displaced_while_he_writes_is_told_so_by_the_rows(bench: Bench) -> None:
    """His look at the lease was in time, his command was not."""
    pause = Fault("pause", {"blockConnection": True, "blockTimeMS": 600}, {"times": 1})
    with pause.on(bench, "update"):
        writing = asyncio.create_task(bench.store.stocks.upsert(BATCH, bench.fence))
        await asyncio.sleep(0.1)
        async with usurper(bench) as (store, fence):
            theirs = [replace(row, name="他名") for row in BATCH]
            await store.stocks.upsert(theirs, fence)
            await ends_as(Ends.LEASE_LOST, writing)
    assert {bench.stored[row.code]["name"] for row in BATCH} == {"他名"}


async def test_a_row_that_appears_while_it_is_being_inserted_is_written_all_the_same(bench: Bench) -> None:
    """A displaced owner inserted it in that moment: no reason to reject a good row."""
    row = FRESH[0]
    with MongoClient[dict[str, Any]](bench.url) as client:
        stocks = client.get_default_database()["stock_basic_info"]
        with bench.server.failpoint("hangBeforeUpsertPerformsInsert"):
            writing = asyncio.create_task(bench.store.stocks.upsert([row], bench.fence))
            await asyncio.sleep(0.2)
            stocks.insert_one({"code": row.code, "source": row.source, "name": "旧", "_sync": {"fence": 0}})
        counted = await writing
    assert (counted.inserted, counted.rejects) == (1, ())
    assert bench.stored[row.code]["name"] == row.name


# --- nothing foreign escapes


CANARY: Final = "s3kr1t-canary"


def every_pymongo_error() -> list[pymongo_errors.PyMongoError]:
    """One of each kind, with a server's answer where it has one."""
    kinds = [
        kind for kind in vars(pymongo_errors).values()
        if isinstance(kind, type) and issubclass(kind, pymongo_errors.PyMongoError)
    ]  # fmt: skip
    made = []
    for kind in kinds:
        if kind is pymongo_errors.BulkWriteError:
            made.append(kind({"writeErrors": [{"index": 0, "code": 1, "errmsg": "no"}]}))
        elif kind is pymongo_errors.EncryptionError:
            made.append(kind(ValueError("no")))
        elif issubclass(kind, pymongo_errors.EncryptedCollectionError):
            made.append(kind(ValueError("no"), {}))
        elif issubclass(kind, pymongo_errors.ClientBulkWriteException):
            made.append(kind({}, verbose=False))
        else:
            made.append(kind("no"))
    return made


@pytest.mark.parametrize("error", every_pymongo_error(), ids=lambda error: type(error).__name__)
async def test_every_error_of_pymongo_becomes_one_of_ours(error: pymongo_errors.PyMongoError) -> None:
    with pytest.raises(StoreError) as caught, translating():
        raise error
    assert caught.value.__cause__ is error
    if is_transient(error):
        assert type(caught.value) is StoreUnavailable


@pytest.mark.parametrize(
    "error",
    [InvalidDocument("no"), InvalidBSON("no"), pymongo_errors.DocumentTooLarge("no"), OverflowError("no"),
     UnicodeEncodeError("utf-8", "\ud800", 0, 1, "no")],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
async def test_every_error_of_bson_becomes_one_of_ours(error: Exception) -> None:
    with pytest.raises(StoreInvalid), translating():
        raise error
    assert not is_transient(error)


def refused_with(number: int) -> list[pymongo_errors.PyMongoError]:
    """A whole command, and one of its operations, refused with this code."""
    errors = [{"index": 0, "code": 11000, "errmsg": "no"}, {"index": 1, "code": number, "errmsg": "no"}]
    return [
        pymongo_errors.OperationFailure("no", number),
        pymongo_errors.BulkWriteError({"writeErrors": errors, "writeConcernErrors": []}),
    ]


LASTING: Final = (2, 9, 11, 13, 18, 20, 26, 59, 66, 72, 79, 85, 86, 121, 146, 166, 8000, 10334, 11000, 14031)


@pytest.mark.parametrize("number", LASTING)
def test_what_lasts_is_not_tried_again(number: int) -> None:
    assert not any(is_transient(error) for error in refused_with(number))


@pytest.mark.parametrize("number", [6, 50, 64, 91, 112, 189, 262, 365, 10107, 11600, 11601, 11602, 13436])
def test_what_passes_is_tried_again_whether_all_or_one_was_refused(number: int) -> None:
    assert all(is_transient(error) for error in refused_with(number))


async def test_a_closed_store_says_that_it_is_closed(bench: Bench) -> None:
    """That will not pass, so nothing is tried again."""
    await bench.store.aclose()
    began = asyncio.get_running_loop().time()
    for operation in (UPSERT, *OTHER_WRITES, *READS, ADVANCE, *STEPS, *LOOKS, FOLLOW):
        await ends_as(Ends.UNAVAILABLE, operation.do(bench))
    assert asyncio.get_running_loop().time() - began < 2


async def test_who_finds_no_free_connection_in_time_is_told_that_the_database_is_busy(
    bench: Bench, on_set: Database
) -> None:
    busy = {"blockConnection": True, "blockTimeMS": round(CONTROL_SECONDS * 800)}
    blocked = Fault("blocked", busy, "alwaysOn")
    store = await open_mongo(f"{bench.server.url(on_set.name)}&maxPoolSize=1")
    with blocked.on(bench, "find"):
        ends = await asyncio.gather(*(store.ping() for _ in range(4)), return_exceptions=True)
    refused = [each for each in ends if each is not None]
    assert {type(each) for each in refused} == {StoreUnavailable}
    causes = {type(each.__cause__) for each in refused}
    assert pymongo_errors.WaitQueueTimeoutError in causes
    await store.ping()
    await store.aclose()


# --- opening, and what is said


async def refused(url: str) -> StoreError:
    with pytest.raises(StoreError) as caught:
        await open_mongo(url)
    return caught.value


def everything_said(error: BaseException) -> str:
    """The message, and those behind it that a log with a traceback would show."""
    texts = []
    cause: BaseException | None = error
    while cause is not None:
        texts.append(repr(cause))
        cause = None if cause.__suppress_context__ and not cause.__cause__ else cause.__cause__
    return " ".join(texts)


@pytest.mark.parametrize(
    "url",
    [
        f"mongodb://me:{CANARY}/x@host/db",
        f"mongodb://me:x/{CANARY}@host/db",
        f"mongodb://me:x@{CANARY}@host/db",
        f"mongodb://me:x%{CANARY}@host/db",
        f"mongodb://me:x:{CANARY}@host/db",
        f"mongodb://me:{CANARY}[x@host:1:2/db",
        f"mongodb://me:x?{CANARY}@host/db",
        f"mongodb://me:x?y={CANARY}@host/db",
        f"mongodb://me:x#{CANARY}@host/db",
        f"mongodb://me:{CANARY}@host:port/db",
        f"mongodb://me:{CANARY}@host/d b$",
        f"mongodb://me:{CANARY}@host/db?authMechanism=x&tls=maybe&w=-1",
        f"mongodb+srv://me:{CANARY}@host:1/db",
        f"mongodb+srv://me:{CANARY}@a,b/db",
    ],
)
@pytest.mark.filterwarnings("ignore")
async def test_a_url_that_is_wrong_is_refused_without_its_password(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "CONTROL_SECONDS", 0.3)
    error = await refused(url)
    assert isinstance(error, StoreUrlInvalid | StoreUnavailable)
    assert CANARY not in everything_said(error)


async def test_a_wrong_password_is_told_at_once_and_not_repeated(bench: Bench) -> None:
    error = await refused(bench.url.replace("://", f"://me:{CANARY}@"))
    assert type(error) is StoreInvalid
    assert "密码" in str(error)
    assert CANARY not in everything_said(error)


@pytest.mark.parametrize("url", ["mongodb://host/a%20b", "mongodb://host:0x1/db", "mongodb://"])
async def test_a_url_without_a_password_is_refused_with_the_reason(url: str) -> None:
    error = await refused(url)
    assert type(error) is StoreUrlInvalid
    assert not str(error).endswith("：")


async def test_a_server_that_is_not_there_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "CONTROL_SECONDS", 0.3)
    error = await refused(f"mongodb://127.0.0.1:{free_port()}/db")
    assert type(error) is StoreUnavailable
    assert "Topology" not in str(error)


def test_the_answer_of_the_server_is_not_quoted_at_length() -> None:
    answer = {"errmsg": "no", "code": 14031, "ok": 0, "secret": CANARY}
    error = translated(pymongo_errors.OperationFailure("no space left", 14031, answer))
    assert "no space left" in str(error)
    assert CANARY not in str(error)
    failed = {"writeErrors": [{"index": 3, "code": 14031, "errmsg": "disk full", "op": {"q": CANARY}}]}
    error = translated(pymongo_errors.BulkWriteError(failed))
    assert "disk full" in str(error)
    assert CANARY not in str(error)
