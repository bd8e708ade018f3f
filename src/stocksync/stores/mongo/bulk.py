"""One unordered bulk write, carried through: retried where the fault passes, bisected where it is refused."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from pymongo import UpdateOne
from pymongo.errors import BulkWriteError, OperationFailure

from stocksync.domain.status import Reject
from stocksync.domain.stock import StockBasic
from stocksync.ports import Fence
from stocksync.stores.mongo.connection import BAD_DOCUMENT, Connection, is_transient
from stocksync.stores.mongo.lease import Lease
from stocksync.stores.mongo.schema import STOCKS

_DUPLICATE_KEY: Final = 11000
_REFUSED_CODES: Final = frozenset({2, 9, 22, 10334, 17280, 17419, 17420})
"""BadValue, FailedToParse, InvalidBSON, too large, key too long: one operation of the command is to blame."""


@dataclass(frozen=True, slots=True)
class Operation:
    """What is to be done for one row, idempotent; `new` where the row was not stored before."""

    row: StockBasic
    update: UpdateOne
    new: bool


@dataclass(frozen=True, slots=True)
class Refusal:
    """An operation that the database refuses for good, and why."""

    operation: Operation
    reason: str

    @property
    def reject(self) -> Reject:
        """The same, as a run reports it."""
        row = self.operation.row
        return Reject(
            code=row.code, field="*", value=repr(row)[:100], reason=f"数据库拒绝该行：{self.reason}"
        )


async def write_unordered(
    connection: Connection, operations: Sequence[Operation], lease: Lease, fence: Fence
) -> Sequence[Refusal]:
    """Write until every operation is acknowledged, and name the rows that the database refuses for good.

    Raises LeaseLost where a later token has been at one of the rows, PyMongoError where no retry helped.
    """
    if not operations:
        return []

    async def attempt() -> Sequence[Refusal]:
        try:
            await connection[STOCKS].bulk_write([each.update for each in operations], ordered=False)
        except BulkWriteError as exc:
            if is_transient(exc):
                raise
            return await _refusals(exc, operations, lease, fence)
        return []

    try:
        return await connection.insist(attempt)
    except (*BAD_DOCUMENT, OperationFailure) as exc:
        if not _refused(exc):
            raise
        if len(operations) == 1:
            return [Refusal(operations[0], str(exc)[:200])]
        middle = len(operations) // 2
        first = await write_unordered(connection, operations[:middle], lease, fence)
        return [*first, *await write_unordered(connection, operations[middle:], lease, fence)]


def _refused(exc: BaseException) -> bool:
    """Whether one operation spoils the whole command."""
    return not isinstance(exc, OperationFailure) or exc.code in _REFUSED_CODES


async def _refusals(
    exc: BulkWriteError, operations: Sequence[Operation], lease: Lease, fence: Fence
) -> Sequence[Refusal]:
    """Name the rows that were refused one by one; all others of the command have landed."""
    errors = (exc.details or {}).get("writeErrors", [])
    if any(error["code"] == _DUPLICATE_KEY for error in errors):
        # The row exists and the filter did not match it: a later token has been there, we are fenced off.
        await lease.check(fence)
    return [Refusal(operations[error["index"]], _reason(error)) for error in errors]


def _reason(error: dict[str, Any]) -> str:
    if error["code"] == _DUPLICATE_KEY:
        return f"与数据库中的唯一索引冲突：{'、'.join(error.get('keyPattern', {}))}"
    return str(error.get("errmsg", error["code"]))[:200]
