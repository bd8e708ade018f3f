"""The embedded store: one SQLite file in WAL mode, shared safely by every process of one host."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stocksync.errors import StoreUrlInvalid
from stocksync.ports import Store
from stocksync.stores.sqlite.calendar import SqliteCalendarStore
from stocksync.stores.sqlite.database import Database
from stocksync.stores.sqlite.health import SqliteHealthStore
from stocksync.stores.sqlite.keys import SqliteIdempotencyStore
from stocksync.stores.sqlite.logs import SqliteOperationLogStore
from stocksync.stores.sqlite.runs import SqliteRunStore
from stocksync.stores.sqlite.schema import migrate, require_ours
from stocksync.stores.sqlite.stocks import SqliteStockStore

_PREFIX: Final = "sqlite:///"


@dataclass(frozen=True, slots=True)
class SqliteStore:
    """One open database file and its tables."""

    database: Database
    stocks: SqliteStockStore
    runs: SqliteRunStore
    logs: SqliteOperationLogStore
    calendar: SqliteCalendarStore
    health: SqliteHealthStore
    keys: SqliteIdempotencyStore

    async def ping(self) -> None:
        """Prove that the file can be read. Raises StoreUnavailable."""
        await self.database.read(lambda db: db.execute("SELECT count(*) FROM lease").fetchone())

    async def aclose(self) -> None:
        """Finish what is under way and close the file."""
        await self.database.aclose()


def _path(url: str) -> Path:
    return Path(url.removeprefix(_PREFIX)).expanduser()


async def open_sqlite(url: str) -> Store:
    """Open sqlite:///relative.db or sqlite:////absolute.db, making folder, file and schema as needed."""
    if not url.startswith(_PREFIX) or url == _PREFIX:
        raise StoreUrlInvalid("SQLite 的地址格式是 sqlite:///路径/文件.db")
    path = _path(url)
    database = await Database.open(path, inspect=require_ours, prepare=migrate)
    return SqliteStore(
        database=database,
        stocks=SqliteStockStore(database),
        runs=SqliteRunStore(database),
        logs=SqliteOperationLogStore(database),
        calendar=SqliteCalendarStore(database),
        health=SqliteHealthStore(database),
        keys=SqliteIdempotencyStore(database),
    )
