"""A look at the database that a URL names, and its repair: nothing is made or migrated by looking."""

from stocksync.audit import Actor
from stocksync.errors import StoreUrlInvalid
from stocksync.stores.report import RepairReport, Report


async def examine(url: str) -> Report:
    """Look at everything and write nothing. Raises StoreError."""
    if _is_mongo(url):
        # Who uses SQLite does not pay for PyMongo.
        from stocksync.stores.mongo.connection import Connection  # noqa: PLC0415
        from stocksync.stores.mongo.doctor import examine as examine_mongo  # noqa: PLC0415

        connection = await Connection.open(url)
        try:
            return await examine_mongo(connection)
        finally:
            await connection.aclose()
    from stocksync.stores.sqlite.doctor import examine as examine_sqlite  # noqa: PLC0415

    return await examine_sqlite(url)


async def repair(url: str, *, apply: bool, units: bool, actor: Actor) -> RepairReport:
    """Do, or without `apply` only plan, what can be mended. Raises StoreError, RunInProgress.

    `units`: also convert figures that are in the wrong unit, which rests on a judgement.
    """
    if _is_mongo(url):
        from stocksync.stores.mongo.connection import Connection  # noqa: PLC0415
        from stocksync.stores.mongo.doctor import repair as repair_mongo  # noqa: PLC0415

        connection = await Connection.open(url)
        try:
            return await repair_mongo(connection, apply=apply, units=units, actor=actor)
        finally:
            await connection.aclose()
    return RepairReport(applied=apply, steps=(), left=await examine(url))


def _is_mongo(url: str) -> bool:
    scheme = url.partition("://")[0]
    if scheme not in {"sqlite", "mongodb", "mongodb+srv"}:
        raise StoreUrlInvalid(
            f"STOCKSYNC_STORE 的类型 {scheme!r} 不受支持，可用：sqlite://、mongodb://、mongodb+srv://"
        )
    return scheme != "sqlite"
