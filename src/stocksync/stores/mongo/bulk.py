"""One unordered bulk write, carried through: retried where the fault passes, bisected where it is refused."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from pymongo import UpdateOne
from pymongo.errors import BulkWriteError, OperationFailure

from stocksync.domain.changes import Change
from stocksync.domain.status import Reject
from stocksync.domain.stock import StockBasic
from stocksync.ports import Fence
from stocksync.stores.mongo.connection import BAD_DOCUMENT, Connection, is_transient
from stocksync.stores.mongo.lease import Lease
from stocksync.stores.mongo.schema import STOCKS

_DUPLICATE_KEY: Final = 11000
_ROW_CODES: Final = frozenset(
    {
        *(2, 9, 14, 15, 22, 28, 40, 52, 55, 56, 57, 66),  # malformed, or does not fit what is stored
        *(121, 171, 10334, 11000, 16755, 17261, 17262, 17280, 17419, 17420),  # a validator, an index, size
    }
)
"""Of one operation: its row is to blame. With any other code it is the database, which no row may pay for."""

_COMMAND_CODES: Final = frozenset({15, 22, 10334})
"""Of a whole command: too deep, InvalidBSON, too large. One of its operations is to blame."""


@dataclass(frozen=True, slots=True)
class Operation:
    """What is to be done for one row, idempotent; `new` where the row was not stored before."""

    row: StockBasic
    update: UpdateOne
    new: bool
    changes: tuple[Change, ...] = ()
    """What it says about the market, once it is done."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An operation that the database refuses for good, and why."""

    operation: Operation
    reason: str
    duplicate: bool = False

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
        refusals = await _written(connection, operations)
        if not any(each.duplicate for each in refusals):
            return refusals
        # Either a later token has been at the row, or it was inserted while we looked for it.
        await lease.check(fence)
        return await _written(connection, operations)

    try:
        return await connection.insist(attempt)
    except (*BAD_DOCUMENT, OperationFailure) as exc:
        if not _spoiled(exc):
            raise
        if len(operations) == 1:
            return [Refusal(operations[0], str(exc)[:200])]
        middle = len(operations) // 2
        first = await write_unordered(connection, operations[:middle], lease, fence)
        return [*first, *await write_unordered(connection, operations[middle:], lease, fence)]


def _spoiled(exc: BaseException) -> bool:
    """Whether one operation spoiled the whole command, also for all others."""
    return not isinstance(exc, OperationFailure) or exc.code in _COMMAND_CODES


async def _written(connection: Connection, operations: Sequence[Operation]) -> Sequence[Refusal]:
    """Send one command, and name the rows that were refused one by one; all others have landed."""
    try:
        await connection[STOCKS].bulk_write([each.update for each in operations], ordered=False)
    except BulkWriteError as exc:
        errors = exc.details.get("writeErrors", [])
        if is_transient(exc) or not {error["code"] for error in errors} <= _ROW_CODES:
            raise
        return [
            Refusal(operations[error["index"]], _reason(error), duplicate=error["code"] == _DUPLICATE_KEY)
            for error in errors
        ]
    return []


def _reason(error: dict[str, Any]) -> str:
    if error["code"] == _DUPLICATE_KEY:
        return f"与数据库中的唯一索引冲突：{'、'.join(error.get('keyPattern', {}))}"
    return str(error.get("errmsg", error["code"]))[:200]
