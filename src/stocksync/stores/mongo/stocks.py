"""The collection stock_basic_info."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from stocksync.aio import cooperative
from stocksync.domain.changes import Change, compare
from stocksync.domain.codes import Exchange, locate
from stocksync.domain.merge import StockRef
from stocksync.domain.status import Reject
from stocksync.domain.stock import StockBasic, overlay
from stocksync.errors import BadRow, OutOfScope, RowError
from stocksync.ports import Fence, UpsertCount
from stocksync.stores.batch import without_duplicates
from stocksync.stores.mongo.bulk import Operation, write_unordered
from stocksync.stores.mongo.connection import Connection, reaching, translating
from stocksync.stores.mongo.documents import StoredStock, decode, encode, fence_filter, is_stray, key
from stocksync.stores.mongo.lease import Lease
from stocksync.stores.mongo.schema import STOCKS, ensure_unique_stocks

CHUNK: Final = 1000
"""Operations a command: as one wire command a chunk is either answered or not, never in part."""

_SEAL_SECONDS: Final = 0.2

_LISTED: Final[Mapping[str, Any]] = {"_sync.gone_run": None}


@dataclass(slots=True)
class _Plan:
    """What a chunk needs: the operations, and what each of them will have done."""

    operations: list[Operation] = field(default_factory=list)
    unchanged: int = 0
    rejects: list[Reject] = field(default_factory=list)


class MongoStockStore:
    """Implements ports.StockStore."""

    def __init__(self, connection: Connection, lease: Lease) -> None:
        self._connection = connection
        self._stocks = connection[STOCKS]
        self._lease = lease

    async def ensure_writable(self) -> None:
        await ensure_unique_stocks(self._connection)

    async def upsert(self, rows: Sequence[StockBasic], fence: Fence) -> UpsertCount:
        sealed = await self._connection.persistently(lambda: self._lease.check(fence))
        rows, duplicates = without_duplicates(rows)
        total = UpsertCount(rejects=tuple(duplicates))
        for start in range(0, len(rows), CHUNK):
            total = _sum(total, await self._upsert_chunk(rows[start : start + CHUNK], fence, sealed))
        return total

    async def _upsert_chunk(self, rows: Sequence[StockBasic], fence: Fence, sealed: int) -> UpsertCount:
        """Decide from what is stored what each row needs, once; then write until that is acknowledged.

        That makes the counts exact: a try whose answer was lost is repeated, not added.
        """
        stored = await self._connection.persistently(lambda: self._stored(rows, sealed))
        plan = await _plan(rows, stored, fence)
        with translating():
            refused = await write_unordered(self._connection, plan.operations, self._lease, fence)
        in_vain = {key(each.operation.row) for each in refused}
        written = [each for each in plan.operations if key(each.row) not in in_vain]
        inserted = sum(each.new for each in written)
        return UpsertCount(
            inserted=inserted,
            changed=len(written) - inserted,
            unchanged=plan.unchanged,
            rejects=(*plan.rejects, *(each.reject for each in refused)),
            changes=tuple(change for each in written for change in each.changes),
        )

    async def _stored(self, rows: Sequence[StockBasic], sealed: int) -> Mapping[tuple[str, str], StoredStock]:
        found: dict[tuple[str, str], StoredStock] = {}
        for source in {row.source for row in rows}:
            codes = [row.code for row in rows if row.source == source]
            documents = await self._stocks.find(
                {"code": {"$in": codes}, "source": source}, batch_size=CHUNK + 1
            ).to_list()
            async for document in cooperative(documents):
                if not is_stray(document, sealed):
                    found[document["code"], document["source"]] = decode(document)
        return found

    async def absent(
        self, source: str, exchanges: frozenset[Exchange], listed: frozenset[str]
    ) -> Sequence[StockRef]:
        mine = {"source": source, **_LISTED}
        fields = dict.fromkeys(("code", "source", "name", "list_date"), 1)
        found = await self._connection.persistently(
            lambda: self._stocks.find(mine, fields, sort=[("code", 1)]).to_list()
        )
        gone = [
            decode(each).stock
            async for each in cooperative(found)
            if _exchange(each.get("code")) in exchanges and each["code"] not in listed
        ]
        return [StockRef(code=each.code, name=each.name, list_date=each.list_date) for each in gone]

    async def retire(
        self, source: str, *, gone: Sequence[str], renumbered: Sequence[str], fence: Fence
    ) -> None:
        mine = {"source": source, **fence_filter(fence.token)}
        mark = {"$set": {"_sync.gone_run": fence.run_id, "_sync.fence": fence.token}}

        async def attempt() -> None:
            await self._lease.check(fence)
            await self._stocks.update_many({**mine, "code": {"$in": list(gone)}}, mark)
            await self._stocks.delete_many({**mine, "code": {"$in": list(renumbered)}})

        await self._connection.persistently(attempt)

    async def get(self, code: str, source: str) -> StockBasic | None:
        with reaching():
            document = await self._stocks.find_one({"code": code, "source": source})
        return None if document is None else decode(document).stock

    async def listed_counts(self, source: str) -> Mapping[Exchange, int]:
        mine = {"source": source, **_LISTED}
        found = await self._connection.persistently(lambda: self._stocks.find(mine, {"code": 1}).to_list())
        exchanges = (_exchange(document.get("code")) for document in found)
        return Counter(exchange for exchange in exchanges if exchange is not None)

    async def count(self, source: str | None = None) -> int:
        with reaching():
            return await self._stocks.count_documents(
                {**_LISTED, **({} if source is None else {"source": source})}
            )

    async def marks(self, run_id: str) -> Mapping[str, tuple[int, int]]:
        created = {"$cond": [{"$eq": ["$_sync.created_run", run_id]}, 1, 0]}

        async def attempt() -> list[dict[str, Any]]:
            rightful = {"_sync.changed_run": run_id, "_sync.fence": {"$gte": await self._lease.sealed()}}
            pipeline: list[Mapping[str, Any]] = [
                {"$match": rightful},
                {"$group": {"_id": "$source", "rows": {"$sum": 1}, "created": {"$sum": created}}},
            ]
            return await (await self._stocks.aggregate(pipeline)).to_list()

        found = await self._connection.persistently(attempt)
        return {each["_id"]: (each["created"], each["rows"] - each["created"]) for each in found}

    async def seal(self, token: int) -> None:
        """Put every row out of reach of all earlier tokens, also those that need no write of their own.

        A row with an earlier fence that appears afterwards is a stray: it was inserted by an owner that had
        been displaced, counts as absent, and is deleted by him (`retract`) or overwritten.
        """
        ours_or_bare = [{"_sync": {"$exists": False}}, {"_sync": {"$type": "object"}}]
        older = {"_sync.fence": {"$not": {"$gte": token}}, "$or": ours_or_bare}

        async def attempt() -> None:
            if await self._lease.sealed() < token:
                await self._stocks.update_many(older, {"$set": {"_sync.fence": token}})
                await self._lease.note_sealed(token)

        await self._connection.persistently(attempt)

    async def retract(self, fence: Fence) -> None:
        strays = {"_sync.fence": fence.token, "_sync.created_run": fence.run_id}
        with reaching():
            # Until the rows are sealed these may be rightful. Whoever displaced us is about to do it.
            while await self._lease.is_unclosed(fence.run_id):  # noqa: ASYNC110
                await asyncio.sleep(_SEAL_SECONDS)
            if await self._lease.sealed() > fence.token:
                await self._stocks.delete_many(strays)


async def _plan(
    rows: Sequence[StockBasic], stored: Mapping[tuple[str, str], StoredStock], fence: Fence
) -> _Plan:
    plan, now = _Plan(), datetime.now(UTC)
    async for row in cooperative(rows):
        old = stored.get(key(row))
        wanted = row if old is None or row == old.stock else overlay(old.stock, row)
        if old is not None and old.clean and wanted == old.stock:
            plan.unchanged += 1
            continue
        try:
            update = encode(wanted, fence, now, new=old is None)
            plan.operations.append(Operation(row, update, new=old is None, changes=_changes(old, wanted)))
        except BadRow as exc:
            plan.rejects.append(Reject(code=row.code, field=exc.field, value=exc.value, reason=exc.reason))
        except OutOfScope as exc:
            plan.rejects.append(Reject(code=row.code, field="code", value=row.code, reason=str(exc)))
    return plan


def _changes(old: StoredStock | None, wanted: StockBasic) -> tuple[Change, ...]:
    return compare(None, wanted) if old is None else compare(old.stock, wanted, was_gone=old.gone)


def _exchange(code: object) -> Exchange | None:
    """Tell where a stored code is listed; None for what an older service stored and is no A share."""
    try:
        return locate(code).exchange
    except RowError:
        return None


def _sum(one: UpsertCount, other: UpsertCount) -> UpsertCount:
    return UpsertCount(
        inserted=one.inserted + other.inserted,
        changed=one.changed + other.changed,
        unchanged=one.unchanged + other.unchanged,
        rejects=(*one.rejects, *other.rejects),
        changes=(*one.changes, *other.changes),
    )
