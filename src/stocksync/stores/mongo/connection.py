"""One MongoDB database, reached through PyMongo: the client, its promises, and its errors made ours.

Every write is acknowledged by a majority of the members and their journals (on a standalone: by its
journal), and every read sees only what a majority has, so that nothing that was acknowledged or shown is
ever taken back by a failover.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final, Self, TypeVar

import pymongo
from bson.errors import BSONError
from pymongo import AsyncMongoClient
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import (
    BulkWriteError,
    ConfigurationError,
    ConnectionFailure,
    ExecutionTimeout,
    InvalidName,
    InvalidOperation,
    NetworkTimeout,
    OperationFailure,
    PyMongoError,
    WriteConcernError,
)

from stocksync.aio import heeding_cancellation
from stocksync.errors import SearchTimedOut, StoreError, StoreInvalid, StoreUnavailable, StoreUrlInvalid
from stocksync.stores.retry import Retry

Result = TypeVar("Result")

DEFAULT_DATABASE: Final = "stocksync"

OPERATION_SECONDS: Final = 20.0
"""For one operation, server selection and PyMongo's own retries included: longer than an election takes."""

SEARCH_SECONDS: Final = 5.0
"""For a look through many documents; one that takes longer is broken off."""

CONTROL_SECONDS: Final = 5.0
"""For what a person or a heartbeat waits for: the slot, a step, how a job stands."""

FAREWELL_SECONDS: Final = 1.0
"""For telling the server that a cursor or a session is not needed any more; it finds out by itself too."""

BACKOFF_SECONDS: Final = 2.0
"""Before the first retry; before the next ones its square and its cube."""

_CONNECT_SECONDS: Final = 3.0
_SILENCE_SECONDS: Final = 20.0
"""For an answer to what has no deadline of its own: the look for a change, the making of an index."""

_LOOK_SECONDS: Final = 1.0
"""How often each member is asked how it is; by itself it tells when that changes, unless it fell silent.

PyMongo's own 10 s is how long a member that said it shuts down, and did not, would be left alone.
"""

_OLDEST_WIRE: Final = 8
"""MongoDB 4.2: the first with pipelines in updates and $$NOW, on which the lease rests."""

# From error_codes.yml of MongoDB. After each of them either nothing happened or the outcome is unknown.
_TRANSIENT_CODES: Final = frozenset(
    {
        *(6, 7, 89, 133, 202, 407, 9001),  # one server does not reach another
        *(91, 189, 216, 10107, 11600, 11602, 13435, 13436),  # not primary, being elected, shutting down
        *(50, 64, 262),  # a time limit: of the operation, of the write concern, of the server
        *(24, 46, 112, 117, 365, 402, 433),  # locks, conflicts, a server that has too much to do
        *(43, 134, 175, 11601),  # a cursor of a server that is not there any more, a read that was broken off
    }
)
_DENIED_CODES: Final = frozenset({13, 18, 8000})
_TRANSIENT_LABELS: Final = ("RetryableWriteError", "RetryableError", "TransientTransactionError")

BAD_DOCUMENT: Final = (BSONError, OverflowError, UnicodeError)
"""What a document that cannot be sent raises: no PyMongoError."""


@dataclass(frozen=True, slots=True)
class Connection:
    """An open database. `shared` tells a replica set or a sharded cluster from a standalone."""

    client: AsyncMongoClient[dict[str, Any]]
    database: AsyncDatabase[dict[str, Any]]
    shared: bool
    retry: Retry

    @classmethod
    async def open(cls, url: str, *, backoff: float = BACKOFF_SECONDS) -> Self:
        """Connect and look what kind of server it is. Raises StoreError."""
        client = new_client(url)
        try:
            with reaching(CONTROL_SECONDS):
                database = client.get_default_database(DEFAULT_DATABASE)
                hello = await client.admin.command("hello")
            shared = _is_shared(hello)
        except BaseException:
            await _close(client)
            raise
        return cls(client, database, shared, Retry(transient=is_transient, base=backoff))

    def __getitem__(self, name: str) -> AsyncCollection[dict[str, Any]]:
        """Name a collection."""
        return self.database[name]

    async def persistently(self, attempt: Callable[[], Awaitable[Result]]) -> Result:
        """Carry out something that may be repeated, through passing faults. Raises StoreError."""
        with translating():
            return await self.insist(attempt)

    async def insist(self, attempt: Callable[[], Awaitable[Result]]) -> Result:
        """Do the same and leave the errors PyMongo's. Each try has a deadline of its own."""

        async def within_deadline() -> Result:
            with heeding_cancellation(), pymongo.timeout(OPERATION_SECONDS):
                return await attempt()

        return await self.retry(within_deadline)

    async def aclose(self) -> None:
        """Close every connection. Idempotent."""
        await _close(self.client)


def new_client(url: str) -> AsyncMongoClient[dict[str, Any]]:
    """Make a client that keeps this module's promises, whatever the URL says. Raises StoreUrlInvalid."""
    try:
        return AsyncMongoClient(
            url,
            appname="stocksync",
            tz_aware=True,
            w="majority",
            journal=True,
            readConcernLevel="majority",
            readPreference="primary",
            retryWrites=True,
            retryReads=True,
            heartbeatFrequencyMS=round(_LOOK_SECONDS * 1000),
            connectTimeoutMS=round(_CONNECT_SECONDS * 1000),
            socketTimeoutMS=round(_SILENCE_SECONDS * 1000),
        )
    except (PyMongoError, ValueError) as exc:
        # What PyMongo quotes may be a piece of a password that was not escaped.
        why = "用户名和密码中的特殊字符必须转义（RFC 3986）" if "@" in url else str(exc)
        raise StoreUrlInvalid(f"MongoDB 的地址无效，格式是 mongodb://主机/数据库：{why}") from None


def _is_shared(hello: Mapping[str, Any]) -> bool:
    """Tell a replica set or a sharded cluster from a standalone. Raises StoreInvalid, StoreUnavailable."""
    if hello["maxWireVersion"] < _OLDEST_WIRE:
        raise StoreInvalid("MongoDB 版本过旧，至少需要 4.2")
    if not hello.get("isWritablePrimary"):  # only with directConnection
        raise StoreUnavailable("该 MongoDB 成员不是主节点，无法写入")
    return "setName" in hello or hello.get("msg") == "isdbgrid"


async def _close(client: AsyncMongoClient[dict[str, Any]]) -> None:
    """Close a client, and do not wait long for a server that does not answer."""
    # InvalidOperation: a change stream that was cut off, and the client closed already.
    with suppress(InvalidOperation), pymongo.timeout(FAREWELL_SECONDS):
        await client.close()


@contextmanager
def reaching(seconds: float = OPERATION_SECONDS) -> Iterator[None]:
    """Let PyMongo work for at most so long, its own retries included. Raises StoreError."""
    with translating(), pymongo.timeout(seconds):
        yield


@contextmanager
def searching() -> Iterator[None]:
    """Let the server look through many documents. Raises SearchTimedOut, StoreError."""
    try:
        with reaching(SEARCH_SECONDS):
            yield
    except StoreUnavailable as exc:
        # Server and client have the same limit, and either may be the first to notice.
        if isinstance(exc.__cause__, ExecutionTimeout | NetworkTimeout):
            raise SearchTimedOut from exc
        raise


@contextmanager
def translating() -> Iterator[None]:
    """Make PyMongo's errors ours: here and nowhere else. Raises StoreError."""
    try:
        with heeding_cancellation():
            yield
    except PyMongoError as exc:
        raise translated(exc) from exc
    except BAD_DOCUMENT as exc:
        raise StoreInvalid(f"数据库无法保存该值：{exc}") from exc


def is_transient(exc: BaseException) -> bool:
    """Whether the same operation may succeed in a moment; its outcome may be unknown."""
    if not isinstance(exc, PyMongoError):
        return False
    if isinstance(exc, BulkWriteError):
        codes = {error.get("code") for error in exc.details.get("writeErrors", [])}
        return bool(exc.details.get("writeConcernErrors")) or bool(codes & _TRANSIENT_CODES)
    if isinstance(exc, ConnectionFailure | WriteConcernError) or exc.timeout:
        return True
    if any(exc.has_error_label(label) for label in _TRANSIENT_LABELS):
        return True
    return isinstance(exc, OperationFailure) and exc.code in _TRANSIENT_CODES


def translated(exc: PyMongoError) -> StoreError:
    """Turn PyMongo's error into ours."""
    if isinstance(exc, InvalidOperation):
        return StoreUnavailable("数据库已关闭")
    if isinstance(exc, ConfigurationError | InvalidName):
        return StoreUrlInvalid(f"MongoDB 的连接参数无效：{exc}")
    if isinstance(exc, OperationFailure) and exc.code in _DENIED_CODES:
        return StoreInvalid(f"MongoDB 拒绝访问（用户名、密码或权限）：{_first_line(exc)}")
    if is_transient(exc):
        return StoreUnavailable(f"MongoDB 暂时不可用：{_first_line(exc)}")
    return StoreUnavailable(f"MongoDB 操作失败：{_first_line(exc)}")


def _first_line(exc: PyMongoError) -> str:
    """What happened, without the server's whole answer and the whole topology that PyMongo appends."""
    text = str(exc)
    if isinstance(exc, BulkWriteError):
        errors = [*exc.details.get("writeErrors", []), *exc.details.get("writeConcernErrors", [])]
        text = next((str(error.get("errmsg")) for error in errors), text)
    return text.partition(", Timeout: ")[0].partition(", full error:")[0][:300]
