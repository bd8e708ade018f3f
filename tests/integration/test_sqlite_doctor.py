"""A look at a SQLite file: it tells what is wrong, and leaves not so much as the file behind."""

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from builders import measured
from contract.stores import acquire
from plausible import made_up, scaled
from stocksync.audit import Actor
from stocksync.domain.magnitudes import Row
from stocksync.errors import StoreInvalid, StoreUrlInvalid
from stocksync.stores import open_store
from stocksync.stores.doctor import examine, repair
from stocksync.stores.report import Report

MARKET = made_up(each=480)
PAGE = 4096


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "a folder" / "stocks.db"


def look(file: Path) -> Report:
    return asyncio.run(examine(f"sqlite:///{file}"))


def codes(report: Report) -> list[str]:
    return [finding.code for finding in report.findings]


def fill(file: Path, rows: Sequence[Row]) -> None:
    async def write() -> None:
        store = await open_store(f"sqlite:///{file}")
        try:
            fence, _ = await acquire(store)
            await store.stocks.upsert([measured(each.code, **each.figures) for each in rows], fence)
        finally:
            await store.aclose()

    asyncio.run(write())


def test_a_file_in_order(file: Path) -> None:
    fill(file, MARKET)
    report = look(file)
    assert (report.server.kind, report.findings, report.blocked) == ("SQLite", (), False)
    (source,) = report.sources
    assert (source.source, source.rows, source.foreign) == ("tushare", len(MARKET), 0)


def test_nothing_is_ever_repaired(file: Path) -> None:
    fill(file, scaled(MARKET, {"total_mv": 4, "circ_mv": 4}))
    done = asyncio.run(repair(f"sqlite:///{file}", apply=True, units=True, actor=Actor()))
    assert (done.steps, codes(done.left)) == ((), ["unit_off"])
    (finding,) = done.left.findings
    assert (finding.repair, finding.needs_units) == (None, False)


def test_the_file_is_not_made(file: Path) -> None:
    assert codes(look(file)) == ["missing_file"]
    assert not file.parent.exists()


def test_an_older_file_is_not_migrated(file: Path) -> None:
    fill(file, MARKET[:1])
    with closing(sqlite3.connect(file)) as db:
        db.execute("PRAGMA user_version = 1")
    before = file.read_bytes()
    assert codes(look(file)) == ["older_version"]
    assert file.read_bytes() == before


def test_another_programs_file_is_refused(file: Path) -> None:
    file.parent.mkdir()
    with closing(sqlite3.connect(file)) as db:
        db.execute("CREATE TABLE diary (day TEXT, entry TEXT)")
    before = file.read_bytes()
    with pytest.raises(StoreInvalid, match="其他程序"):
        look(file)
    assert file.read_bytes() == before


def test_a_newer_versions_file_is_refused(file: Path) -> None:
    fill(file, MARKET[:1])
    with closing(sqlite3.connect(file)) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreInvalid, match="99"):
        look(file)


def test_what_is_no_database_is_refused(file: Path) -> None:
    file.parent.mkdir()
    file.write_text("this is no database, but long enough to be taken for one " * 20)
    with pytest.raises(StoreInvalid):
        look(file)


def test_damage_blocks(file: Path) -> None:
    fill(file, MARKET)
    with closing(sqlite3.connect(file)) as db:
        (root,) = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'pe_index'").fetchone()
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = bytearray(file.read_bytes())
    content[(root - 1) * PAGE + 100 : root * PAGE] = bytes(PAGE - 100)
    file.write_bytes(content)
    report = look(file)
    assert report.blocked
    assert codes(report) == ["integrity"]


@pytest.mark.parametrize("url", ["paper://drawer", "sqlite://drawer", "sqlite:///"])
def test_a_url_that_names_no_store(url: str) -> None:
    with pytest.raises(StoreUrlInvalid):
        asyncio.run(examine(url))
