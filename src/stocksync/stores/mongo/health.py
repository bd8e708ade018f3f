"""The collection source_health."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from stocksync.domain.health import SourceHealth
from stocksync.domain.stock import Dataset
from stocksync.stores.mongo.connection import Connection, reaching
from stocksync.stores.mongo.documents import storable_tree
from stocksync.stores.mongo.schema import HEALTH


class MongoHealthStore:
    """Implements ports.HealthStore."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._health = connection[HEALTH]

    async def get(self, source: str, dataset: Dataset) -> SourceHealth:
        with reaching():
            document = await self._health.find_one({"_id": _id(source, dataset)})
        return SourceHealth(source=source, dataset=dataset) if document is None else _read(document)

    async def put(self, health: SourceHealth) -> None:
        which = {"_id": _id(health.source, health.dataset)}
        document = storable_tree(asdict(health))
        await self._connection.persistently(lambda: self._health.replace_one(which, document, upsert=True))

    async def all(self) -> Sequence[SourceHealth]:
        with reaching():
            found = await self._health.find(sort=[("source", 1), ("dataset", 1)]).to_list()
        return [_read(document) for document in found]


def _id(source: str, dataset: Dataset) -> str:
    return f"{source}/{dataset.value}"


def _read(document: Mapping[str, Any]) -> SourceHealth:
    known = {each.name: document[each.name] for each in fields(SourceHealth) if each.name in document}
    return SourceHealth(**{**known, "dataset": Dataset(document["dataset"])})
