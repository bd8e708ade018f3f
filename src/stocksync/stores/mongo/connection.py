"""One MongoDB database, reached through PyMongo: the client, its promises, and its errors made ours.

Every write is acknowledged by a majority of the members and their journals (on a standalone: by its
journal), and every read sees only what a majority has, so that nothing that was acknowledged or shown is
ever taken back by a failover.
"""

from collections.abc import Awaitable, Callable, Iterator
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
    DocumentTooLarge,
    InvalidOperation,
    OperationFailure,
    PyMongoError,
)

from stocksync.errors import StoreError, StoreInvalid, StoreUnavailable, StoreUrlInvalid
from stocksync.stores.retry import Retry

Result = TypeVar("Result")

DEFAULT_DATABASE: Final = "stocksync"

OPERATION_SECONDS: Final = 20.0
"""For one operation, server selection and PyMongo's own retries included: longer than an election takes."""

CONTROL_SECONDS: Final = 5.0
"""For what a person or a heartbeat waits for: the slot, a step, how a job stands."""

_CONNECT_SECONDS: Final = 3.0
_OLDEST_WIRE: Final = 8
"""MongoDB 4.2: the first with pipelines in updates and $$NOW, on which the lease rests."""

# https://github.com/mongodb/specifications: retryable errors, and those of "not primary" and shutdown;
# then failed write concerns and time limits. For all of them the outcome is unknown or nothing happened.
_TRANSIENT_CODES: Final = frozenset(
    {
        *(6, 7, 50, 64, 79, 89, 91, 100, 112, 134, 189, 262, 317, 358, 384, 402),
        *(9001, 10107, 11600, 11602, 13435, 13436),
    }
)
_DENIED_CODES: Final = frozenset({13, 18, 8000})
_TRANSIENT_LABELS: Final = ("RetryableWriteError", "TransientTransactionError")

BAD_DOCUMENT: Final = (BSONError, DocumentTooLarge, OverflowError, UnicodeError)
"""What a document that cannot be sent raises; none of it but DocumentTooLarge is a PyMongoError."""


@dataclass(frozen=True, slots=True)
class Connection:
    """An open database. `shared` tells a replica set or a sharded cluster from a standalone."""

    client: AsyncMongoClient[dict[str, Any]]
    database: AsyncDatabase[dict[str, Any]]
    shared: bool
    retry: Retry

    @classmethod
    async def open(cls, url: str) -> Self:
        """Connect and look what kind of server it is. Raises StoreError."""
        client = new_client(url)
        try:
            with reaching(CONTROL_SECONDS):
                hello = await client.admin.command("hello")
        except BaseException:
            await client.close()
            raise
        if hello["maxWireVersion"] < _OLDEST_WIRE:
            await client.close()
            raise StoreInvalid("MongoDB 版本过旧，至少需要 4.2")
        database = client.get_default_database(DEFAULT_DATABASE)
        shared = "setName" in hello or hello.get("msg") == "isdbgrid"
        return cls(client, database, shared, Retry(transient=is_transient))

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
            with pymongo.timeout(OPERATION_SECONDS):
                return await attempt()

        return await self.retry(within_deadline)

    async def aclose(self) -> None:
        """Close every connection. Idempotent."""
        with suppress(InvalidOperation):  # a change stream that was cut off, and the client closed already
            await self.client.close()


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
            connectTimeoutMS=round(_CONNECT_SECONDS * 1000),
            socketTimeoutMS=round(OPERATION_SECONDS * 1000),  # for the change stream; all else has a deadline
        )
    except (PyMongoError, ValueError) as exc:
        raise StoreUrlInvalid(f"MongoDB 的地址无效，格式是 mongodb://主机/数据库：{exc}") from None


@contextmanager
def reaching(seconds: float = OPERATION_SECONDS) -> Iterator[None]:
    """Let PyMongo work for at most so long, its own retries included. Raises StoreError."""
    with translating(), pymongo.timeout(seconds):
        yield


@contextmanager
def translating() -> Iterator[None]:
    """Make PyMongo's errors ours: here and nowhere else. Raises StoreError."""
    try:
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
        details = exc.details or {}
        codes = {error.get("code") for error in details.get("writeErrors", [])}
        return bool(details.get("writeConcernErrors")) or bool(codes & _TRANSIENT_CODES)
    if isinstance(exc, ConnectionFailure) or exc.timeout:
        return True
    if any(exc.has_error_label(label) for label in _TRANSIENT_LABELS):
        return True
    return isinstance(exc, OperationFailure) and exc.code in _TRANSIENT_CODES


def translated(exc: PyMongoError) -> StoreError:
    """Turn PyMongo's error into ours."""
    if isinstance(exc, InvalidOperation):
        return StoreUnavailable("数据库已关闭")
    if isinstance(exc, ConfigurationError):
        return StoreUrlInvalid(f"MongoDB 的连接参数无效：{exc}")
    if isinstance(exc, OperationFailure) and exc.code in _DENIED_CODES:
        return StoreInvalid(f"MongoDB 拒绝访问（用户名、密码或权限）：{exc.code}")
    if is_transient(exc):
        return StoreUnavailable(f"MongoDB 暂时不可用：{_first_line(exc)}")
    if isinstance(exc, DocumentTooLarge):
        return StoreInvalid(f"数据库无法保存该值：{_first_line(exc)}")
    return StoreUnavailable(f"MongoDB 操作失败：{_first_line(exc)}")


def _first_line(exc: PyMongoError) -> str:
    """What happened, without the description of the whole topology that PyMongo appends."""
    return str(exc).partition(", Timeout: ")[0].partition(", full error:")[0][:300]
