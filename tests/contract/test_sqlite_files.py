"""What only a store in a file can be given: files of others, damaged ones, folders without permission."""

import contextlib
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from stocksync.errors import StoreInvalid, StoreUnavailable
from stocksync.stores import open_store


def foreign_database(path: Path, *, version: int) -> bytes:
    """Make a SQLite file of some other program, and give its bytes."""
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE diary (day TEXT, entry TEXT)")
        db.execute("INSERT INTO diary VALUES ('2026-04-15', 'not yours')")
        db.execute(f"PRAGMA user_version = {version}")
        db.commit()
    return path.read_bytes()


async def refused(path: Path, error: type[Exception]) -> str:
    with pytest.raises(error) as caught:
        await open_store(f"sqlite:///{path}")
    return str(caught.value)


async def test_a_sqlite_file_of_a_newer_version_is_refused_and_untouched(tmp_path: Path) -> None:
    path = tmp_path / "stocks.db"
    await (await open_store(f"sqlite:///{path}")).aclose()
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = path.read_bytes()
    assert "99" in await refused(path, StoreInvalid)
    assert path.read_bytes() == before


@pytest.mark.parametrize("version", [0, 1, 7])
async def test_a_sqlite_file_of_another_program_is_refused_and_untouched(
    tmp_path: Path, version: int
) -> None:
    path = tmp_path / "diary.db"
    before = foreign_database(path, version=version)
    await refused(path, StoreInvalid)
    assert path.read_bytes() == before
    assert files_in(tmp_path) == ["diary.db"]


async def test_a_file_that_is_no_database_is_refused_and_untouched(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("dear diary\n" * 100)
    await refused(path, StoreInvalid)
    assert path.read_text() == "dear diary\n" * 100


async def test_a_damaged_sqlite_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "stocks.db"
    await (await open_store(f"sqlite:///{path}")).aclose()
    damaged = bytearray(path.read_bytes())
    damaged[100:4096] = b"\xff" * 3996
    path.write_bytes(damaged)
    await refused(path, StoreInvalid)


@contextlib.contextmanager
def unprivileged() -> Iterator[None]:
    """Root may write anywhere; nobody may not."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


@contextlib.contextmanager
def read_only_folder(*files: Path) -> Iterator[Path]:
    """A folder with copies of some files; everybody may look into it, nobody may write."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file in files:
            Path(shutil.copy(file, folder)).chmod(0o444)
        folder.chmod(0o555)
        yield folder
        folder.chmod(0o755)


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("below", ["stocks.db", "deeper/stocks.db"])
async def test_an_unwritable_folder_makes_the_store_unavailable(below: str) -> None:
    with read_only_folder() as folder:
        with unprivileged():
            assert await refused(folder / below, StoreUnavailable)
        assert files_in(folder) == []


def empty_file(path: Path) -> Path:
    path.touch()
    return path


async def test_a_folder_that_is_a_file_makes_the_store_unavailable(tmp_path: Path) -> None:
    await refused(empty_file(tmp_path / "file") / "stocks.db", StoreUnavailable)


async def test_a_path_that_is_a_folder_makes_the_store_unavailable(tmp_path: Path) -> None:
    await refused(tmp_path, StoreUnavailable)


async def test_an_unwritable_file_makes_the_store_unavailable(tmp_path: Path) -> None:
    await (await open_store(f"sqlite:///{tmp_path / 'stocks.db'}")).aclose()
    with read_only_folder(tmp_path / "stocks.db") as folder, unprivileged():
        await refused(folder / "stocks.db", StoreUnavailable)
