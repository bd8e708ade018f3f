"""What a server and its database are made of: topology, collections, indexes. Reads only."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from stocksync.domain.stock import FIGURES
from stocksync.stores.mongo.connection import Connection, reaching
from stocksync.stores.mongo.schema import (
    CALENDAR,
    CHANGES,
    EVENTS,
    HEALTH,
    IDEMPOTENCY,
    INDEXES,
    LEASE,
    LOGS,
    REJECTS,
    RUNS,
    STATUS,
    STOCKS,
    UNIQUE_STOCK,
    Index,
    existing_indexes,
)
from stocksync.stores.report import EXAMPLES, Finding, Server, Severity

_COLLECTIONS: Final = (
    STOCKS,
    STATUS,
    RUNS,
    EVENTS,
    REJECTS,
    CHANGES,
    LOGS,
    LEASE,
    CALENDAR,
    HEALTH,
    IDEMPOTENCY,
)

_OURS: Final = frozenset(
    {"code", "symbol", "full_symbol", "name", "area", "industry", "market", "list_date", "sse", "category",
     "sec", "source", "trade_date", "updated_at", "_sync", *FIGURES}
)  # fmt: skip
"""The fields that our rows have, or may have."""

_SAME_KEYS_ONCE: Final = 5
"""Before MongoDB 5.0 there can be one index only with the same keys, unique or not."""

_PROMISES: Final = {
    "副本集": "写入由多数成员确认，故障转移不会丢失；多台主机可以共用；变化通过变更流立即得知",
    "单成员副本集": "写入经日志确认，断电不会丢失；没有故障转移；变化通过变更流立即得知",
    "分片集群": "写入由多数成员确认，故障转移不会丢失；尚未在分片集群上测试",
    "单机": "写入经日志确认，断电不会丢失；没有故障转移；变化每 0.2 秒查看一次",
}


@dataclass(frozen=True, slots=True)
class Layout:
    """The collections with their options, and the indexes of each."""

    server: Server
    major: int
    collections: Mapping[str, Mapping[str, Any]]
    indexes: Mapping[str, Sequence[Mapping[str, Any]]]

    @property
    def to_create(self) -> tuple[str, ...]:
        """What the first start makes."""
        return (
            *(f"集合 {name}" for name in _COLLECTIONS if name not in self.collections),
            *(f"索引 {index.collection}.{index.name}" for index in self._missing()),
        )

    def _missing(self) -> list[Index]:
        return [index for index in INDEXES if not self._served_by(index)]

    def _served_by(self, index: Index) -> Mapping[str, Any] | None:
        existing = self.indexes.get(index.collection, ())
        return next((other for other in existing if index.served_by(other)), None)

    def obstacles(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """The indexes that our rows cannot live with, each with the code of its finding."""
        for existing in self.indexes.get(STOCKS, ()):
            if _forbids_our_rows(existing):
                yield "foreign_unique_index", existing
            elif self._served_by(UNIQUE_STOCK) is None and self._takes_the_place(existing):
                yield "index_in_the_way", existing

    def _takes_the_place(self, existing: Mapping[str, Any]) -> bool:
        same_keys = tuple(dict(existing["key"]).items()) == UNIQUE_STOCK.keys
        return bool(existing["name"] == UNIQUE_STOCK.name or (same_keys and self.major < _SAME_KEYS_ONCE))

    def findings(self) -> Iterator[Finding]:
        """What stands in the way, and what is accepted."""
        yield from self._collection_findings()
        for code, existing in self.obstacles():
            yield Finding(
                code=code,
                severity=Severity.BLOCKING,
                message=f"索引 {shown(existing)} {_WHY[code]}",
                examples=(shown(existing),),
                repair="删除该索引；需要的索引在下次启动时建立",
            )
        yield from self._index_findings()

    def _index_findings(self) -> Iterator[Finding]:
        others = [
            f"{index.collection}.{found['name']}（即 {index.name}）"
            for index in INDEXES
            if (found := self._served_by(index)) is not None and found["name"] != index.name
        ]
        if others:
            yield _info("index_other_name", "有索引用了别的名字，照样使用", others)
        missing = [f"{index.collection}.{index.name}" for index in self._missing()]
        if missing:
            yield _info("index_missing", "缺少索引，启动时在后台建立", missing)
        unique = [shown(each) for each in self.indexes.get(STATUS, ()) if each.get("unique")]
        if unique:
            yield _info(
                "status_unique_index",
                "sync_status 带有唯一索引：其中保存最近运行的任务，历史在 sync_runs",
                unique,
            )

    def _collection_findings(self) -> Iterator[Finding]:
        found = self.collections.get(STOCKS)
        if found is None:
            return
        options = found.get("options", {})
        if found.get("type") != "collection" or options.get("capped"):
            yield Finding(
                code="not_a_plain_collection",
                severity=Severity.BLOCKING,
                message="stock_basic_info 是视图、时间序列或固定大小的集合，无法逐行更新",
            )
        if options.get("validator") and options.get("validationAction", "error") == "error":
            yield Finding(
                code="validator",
                severity=Severity.WARNING,
                message="stock_basic_info 带有校验规则，可能拒绝同步写入的行",
                examples=(str(options["validator"])[:200],),
            )


_WHY: Final = {
    "foreign_unique_index": "不允许同一只股票来自多个数据源，写入会被拒绝",
    "index_in_the_way": f"占用了 {UNIQUE_STOCK.name} 的位置，无法建立唯一索引",
}


async def lay_out(connection: Connection) -> Layout:
    """Look at the server and its collections. Raises StoreError."""
    with reaching():
        hello = await connection.client.admin.command("hello")
        build = await connection.client.admin.command("buildInfo")
        found = {each["name"]: each async for each in await connection.database.list_collections()}
        indexes = {
            name: await existing_indexes(connection[name])
            for name in _COLLECTIONS
            if found.get(name, {}).get("type") == "collection"
        }
    topology = _topology(hello)
    server = Server(kind="MongoDB", version=build["version"], topology=topology, promises=_PROMISES[topology])
    return Layout(server, build["versionArray"][0], found, indexes)


def shown(index: Mapping[str, Any]) -> str:
    """An index for people."""
    return f"{index['name']}（{'、'.join(index['key'])}）"


def _topology(hello: Mapping[str, Any]) -> str:
    if hello.get("msg") == "isdbgrid":
        return "分片集群"
    if "setName" not in hello:
        return "单机"
    return "副本集" if len(hello.get("hosts", ())) > 1 else "单成员副本集"


def _forbids_our_rows(index: Mapping[str, Any]) -> bool:
    """Whether a unique index refuses rows that differ in (code, source) only."""
    keys = {name.partition(".")[0] for name in index["key"]}
    if not index.get("unique") or ("source" in keys and keys & {"code", "symbol", "full_symbol"}):
        return False
    partial = index.get("partialFilterExpression")
    if partial is not None:  # rows that the filter does not match are not in the index
        return bool({name.partition(".")[0] for name in partial} & _OURS) or any(
            "$" in name for name in partial
        )
    return not index.get("sparse") or bool(keys & _OURS)


def _info(code: str, message: str, names: Sequence[str]) -> Finding:
    return Finding(
        code=code,
        severity=Severity.INFO,
        message=f"{message}：{len(names)} 个",
        count=len(names),
        examples=tuple(names[:EXAMPLES]),
    )
