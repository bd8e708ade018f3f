"""A look at a SQLite file that writes nothing: not even the file is made."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final
from urllib.parse import quote

from stocksync.domain.magnitudes import Row
from stocksync.domain.stock import FIGURES
from stocksync.errors import StoreUnavailable, StoreUrlInvalid
from stocksync.stores.report import EXAMPLES, Finding, Report, Server, Severity, SourceRows, by_severity
from stocksync.stores.sqlite.database import BUSY_SECONDS, translated
from stocksync.stores.sqlite.schema import MIGRATIONS, require_ours
from stocksync.stores.units import unit_findings

_PREFIX: Final = "sqlite:///"
_PROMISES: Final = "提交后断电不会丢失；同一台主机上的所有进程可以共用；文件必须在本地磁盘上"
_SERVER: Final = Server(
    kind="SQLite", version=sqlite3.sqlite_version, topology="单个文件", promises=_PROMISES
)


async def examine(url: str) -> Report:
    """Look at the whole file. Raises StoreError, also for a file of another program or a newer version."""
    if not url.startswith(_PREFIX) or url == _PREFIX:
        raise StoreUrlInvalid("SQLite 的地址格式是 sqlite:///路径/文件.db")
    return await asyncio.to_thread(_examine, url.removeprefix(_PREFIX))


def _examine(name: str) -> Report:
    path = Path(name).expanduser()
    if not path.exists():
        missing = Finding(code="missing_file", severity=Severity.INFO, message="文件还不存在，首次启动时建立")
        return Report(server=_SERVER, findings=(missing,), to_create=(f"文件 {path}",))
    try:
        address = f"file:{quote(str(path.absolute()))}?mode=ro"
        with closing(sqlite3.connect(address, uri=True, timeout=BUSY_SECONDS, isolation_level=None)) as db:
            require_ours(db)
            return _report(db)
    except sqlite3.Error as exc:
        raise translated(exc) from exc
    except OSError as exc:
        raise StoreUnavailable(f"无法打开数据库 {path}：{exc}") from exc


def _report(db: sqlite3.Connection) -> Report:
    damage = [str(line) for (line,) in db.execute("PRAGMA integrity_check")]
    findings = [] if damage == ["ok"] else [_damaged(damage)]
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version < len(MIGRATIONS):
        findings.append(_old(version))
    if not version:
        return Report(server=_SERVER, findings=tuple(findings))
    counts = db.execute(
        "SELECT source, count(*) FROM stock_basic_info GROUP BY source ORDER BY source"
    ).fetchall()
    for source, _ in counts:
        findings += unit_findings(source, list(_rows(db, source)), mendable=False)
    sources = tuple(SourceRows(source=source, rows=rows, foreign=0) for source, rows in counts)
    return Report(server=_SERVER, sources=sources, findings=by_severity(findings))


def _rows(db: sqlite3.Connection, source: str) -> Iterator[Row]:
    found = db.execute(f"SELECT code, {', '.join(FIGURES)} FROM stock_basic_info WHERE source = ?", (source,))
    for code, *figures in found:
        known = {name: value for name, value in zip(FIGURES, figures, strict=True) if value is not None}
        yield Row(code, known)


def _damaged(damage: list[str]) -> Finding:
    return Finding(
        code="integrity",
        severity=Severity.BLOCKING,
        message="文件已损坏，请从备份恢复，或用 sqlite3 的 .recover 抢救",
        count=len(damage),
        examples=tuple(line[:200] for line in damage[:EXAMPLES]),
    )


def _old(version: int) -> Finding:
    return Finding(
        code="older_version",
        severity=Severity.INFO,
        message=f"数据库结构版本 {version}，下次启动时升级到 {len(MIGRATIONS)}",
    )
