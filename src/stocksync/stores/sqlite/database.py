"""One SQLite file, used from an event loop: whole transactions run on threads of their own.

Three connections: one writes, one reads and one searches, so that readers wait neither behind a batch nor
behind a look through everything. A transaction is one plain function on the thread of its connection; nothing
is awaited while it holds the write lock.
"""

import asyncio
import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self, TypeVar

from stocksync.errors import SearchTimedOut, StoreError, StoreInvalid, StoreUnavailable

Result = TypeVar("Result")
Work = Callable[[sqlite3.Connection], Result]

BUSY_SECONDS: Final = 10
"""How long a transaction waits for another process's; a batch takes milliseconds."""

_TURN_SECONDS: Final = 0.5
"""A writer waits in turns of this length: between two of them it notices that the store is being closed."""

SEARCH_SECONDS: Final = 5.0
"""A search that takes longer is broken off."""

_STEPS_PER_LOOK: Final = 10_000
"""Of SQLite's virtual machine, between two looks at the clock: about a tenth of a millisecond."""

NOW: Final = "((julianday('now') - 2440587.5) * 86400.0)"
"""SQL for the database's clock in seconds since 1970, with milliseconds (unixepoch('subsec') needs 3.42)."""


@dataclass(slots=True)
class _Lane:
    """A connection with the one thread that may use it."""

    connection: sqlite3.Connection
    thread: ThreadPoolExecutor

    async def run(self, call: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self.thread, call)

    async def aclose(self) -> None:
        await self.run(self.connection.close)
        self.thread.shutdown(wait=False)


@dataclass(slots=True)
class Database:
    """An open file. Close it with `aclose`."""

    path: Path
    _writer: _Lane
    _reader: _Lane
    _searcher: _Lane
    _closing: threading.Event = field(default_factory=threading.Event)

    @classmethod
    async def open(cls, path: Path, *, inspect: Work[None], prepare: Work[None]) -> Self:
        """Open or make the file. `inspect` may refuse it unchanged, `prepare` brings its schema up to date.

        Raises StoreError.
        """
        writer = await _open_lane(path, inspect, prepare)
        try:
            await writer.run(lambda: _wait_at_most(writer.connection, _TURN_SECONDS))
            reader = await _open_lane(path, inspect, prepare)
            try:
                searcher = await _open_lane(path, inspect, prepare)
            except BaseException:
                await reader.aclose()
                raise
        except BaseException:
            await writer.aclose()
            raise
        return cls(path, writer, reader, searcher)

    async def write(self, work: Work[Result]) -> Result:
        """Run a function in one write transaction: all of it is committed, or nothing.

        If the caller is cancelled meanwhile the transaction still ends by itself, either way.
        """
        self._check_open()
        return await self._writer.run(lambda: _transact(self._writer.connection, self._begin_writing, work))

    async def read(self, work: Work[Result]) -> Result:
        """Run a function on one consistent state of the database."""
        self._check_open()
        return await self._reader.run(lambda: _transact(self._reader.connection, _begin_reading, work))

    async def search(self, work: Work[Result]) -> Result:
        """Read like `read`, where that may take a while: others are not held up. Raises SearchTimedOut."""
        self._check_open()
        return await self._searcher.run(lambda: _in_time(self._searcher.connection, work))

    async def data_version(self) -> int:
        """Tell a number that changes whenever another connection, of any process, has committed."""
        self._check_open()
        return await self._reader.run(lambda: _data_version(self._reader.connection))

    async def aclose(self) -> None:
        """Let running transactions end, then close; whoever still waits for another process gives up.

        Idempotent.
        """
        if self._closing.is_set():
            return
        self._closing.set()
        for lane in (self._searcher, self._reader, self._writer):
            await lane.aclose()

    def _check_open(self) -> None:
        if self._closing.is_set():
            raise StoreUnavailable("数据库已关闭")

    def _begin_writing(self, connection: sqlite3.Connection) -> None:
        _insistently(connection, "BEGIN IMMEDIATE", give_up=self._closing.is_set)


async def _open_lane(path: Path, inspect: Work[None], prepare: Work[None]) -> _Lane:
    thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="stocksync-sqlite")
    try:
        connection = await asyncio.get_running_loop().run_in_executor(
            thread, _connect, path, inspect, prepare
        )
    except BaseException:
        thread.shutdown(wait=False)
        raise
    return _Lane(connection, thread)


def _connect(path: Path, inspect: Work[None], prepare: Work[None]) -> sqlite3.Connection:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
    except (OSError, sqlite3.Error) as exc:
        raise StoreUnavailable(f"无法打开数据库 {path}：{exc}") from exc
    try:
        _transact(connection, _begin_reading, inspect)
        # Processes that make the file together collide here, where no busy timeout applies.
        _insistently(connection, "PRAGMA journal_mode = WAL", pause=0.01)
        connection.execute("PRAGMA synchronous = FULL")  # a commit that was acknowledged survives a power cut
        connection.execute("PRAGMA foreign_keys = ON")
        _transact(connection, lambda db: db.execute("BEGIN IMMEDIATE"), prepare)
    except BaseException as exc:
        connection.close()
        if isinstance(exc, sqlite3.Error):
            raise translated(exc) from exc
        raise
    return connection


def _insistently(
    connection: sqlite3.Connection,
    statement: str,
    *,
    pause: float = 0,
    give_up: Callable[[], bool] = lambda: False,
) -> None:
    """Execute a statement that another process may hold up, again and again for BUSY_SECONDS."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute(statement)
        except sqlite3.OperationalError as exc:
            is_busy = exc.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not is_busy or give_up() or time.monotonic() > deadline:
                raise
            time.sleep(pause)
        else:
            return


def _wait_at_most(connection: sqlite3.Connection, seconds: float) -> None:
    connection.execute(f"PRAGMA busy_timeout = {seconds * 1000:.0f}")


def _begin_reading(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN")


def _transact(connection: sqlite3.Connection, begin: Work[object], work: Work[Result]) -> Result:
    try:
        begin(connection)
        try:
            result = work(connection)
            connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):  # a full disk may have rolled back already
                connection.execute("ROLLBACK")
            raise
    except sqlite3.Error as exc:
        raise translated(exc) from exc
    except (UnicodeError, OverflowError) as exc:
        raise StoreInvalid(f"数据库无法保存该值：{exc}") from exc
    return result


def _in_time(connection: sqlite3.Connection, work: Work[Result]) -> Result:
    deadline = time.monotonic() + SEARCH_SECONDS
    connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS_PER_LOOK)
    try:
        return _transact(connection, _begin_reading, work)
    finally:
        connection.set_progress_handler(None, 0)


def _data_version(connection: sqlite3.Connection) -> int:
    try:
        version: int = connection.execute("PRAGMA data_version").fetchone()[0]
    except sqlite3.Error as exc:
        raise translated(exc) from exc
    return version


_PASSING: Final = {
    sqlite3.SQLITE_BUSY: "数据库被其他进程长时间占用",
    sqlite3.SQLITE_LOCKED: "数据库被锁定",
    sqlite3.SQLITE_FULL: "磁盘已满",
    sqlite3.SQLITE_IOERR: "磁盘读写失败",
    sqlite3.SQLITE_CANTOPEN: "无法打开数据库文件",
    sqlite3.SQLITE_READONLY: "数据库文件不可写",
    sqlite3.SQLITE_NOMEM: "内存不足",
}
_BROKEN: Final = {
    sqlite3.SQLITE_CORRUPT: "数据库文件已损坏",
    sqlite3.SQLITE_NOTADB: "文件不是 SQLite 数据库",
}


def translated(exc: sqlite3.Error) -> StoreError:
    """Turn SQLite's error into ours, by its primary result code (sqlite.org/rescode.html)."""
    code = getattr(exc, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_INTERRUPT:
        return SearchTimedOut()
    if code in _BROKEN:
        return StoreInvalid(f"{_BROKEN[code]}：{exc}")
    return StoreUnavailable(f"{_PASSING.get(code, '数据库操作失败')}：{exc}")
