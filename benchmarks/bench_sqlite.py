"""A sync's writes into SQLite against raw executemany into the same table with the same indexes."""

import asyncio
import sqlite3
import statistics
import tempfile
import time
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from stocksync.domain.status import Job, Trigger, begin
from stocksync.domain.stock import FIGURES, StockBasic
from stocksync.ports import Fence
from stocksync.stores import open_store
from stocksync.stores.sqlite.schema import migrate
from stocksync.stores.sqlite.stocks import _UPSERT, _encode
from stocksync.sync.engine import BATCH

ROWS, ROUNDS = 5_500, 5


PREFIXES = ("000", "002", "300", "600", "603", "688")


def market(factor: float) -> list[StockBasic]:
    """Stocks with every figure known, scaled so that a second market differs in each of them."""
    return [
        StockBasic(
            code=f"{PREFIXES[n // 1000]}{n % 1000:03}",
            source="tushare",
            name=f"虚构{n}",
            area="深圳",
            industry="银行",
            market="主板",
            list_date="20100101",
            trade_date="20261123",
            figures={name: round((n + k + 1) * factor, 4) for k, name in enumerate(FIGURES)},
            field_sources=dict.fromkeys(FIGURES, "tushare:20261123"),
        )
        for n in range(ROWS)
    ]


def raw(path: Path, rows: list[StockBasic]) -> float:
    """One executemany in one transaction: the least that SQLite can do."""
    fence = Fence(token=1, owner="x", run_id="raw")
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        if not db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
            migrate(db)
        parameters = [_encode(row, fence) for row in rows]
        began = time.perf_counter()
        db.execute("BEGIN IMMEDIATE")
        db.executemany(_UPSERT, parameters)
        db.execute("COMMIT")
        return time.perf_counter() - began


async def ours(path: Path, batches: list[list[StockBasic]]) -> list[float]:
    """Each list through the store as a sync does it: in batches, compared, fenced, committed."""
    store = await open_store(f"sqlite:///{path}")
    now = datetime.now(UTC)
    run = begin(job=Job.MULTI, run_id="bench", trigger=Trigger.CLI, started_at=now)
    fence = await store.runs.acquire(run, owner="bench", ttl=timedelta(minutes=5), force=False)
    times = []
    for rows in batches:
        began = time.perf_counter()
        for start in range(0, ROWS, BATCH):
            await store.stocks.upsert(rows[start : start + BATCH], fence)
        times.append(time.perf_counter() - began)
    await store.aclose()
    return times


def main() -> None:
    first, changed = market(1.0), market(1.1)
    again = [replace(row) for row in changed]
    table: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            table.setdefault("raw first", []).append(raw(Path(folder) / "raw.db", first))
            table.setdefault("raw changed", []).append(raw(Path(folder) / "raw.db", changed))
            times = asyncio.run(ours(Path(folder) / "ours.db", [first, changed, again]))
            for name, value in zip(("first", "changed", "unchanged"), times, strict=True):
                table.setdefault(name, []).append(value)
    middle = {name: statistics.median(values) for name, values in table.items()}
    for name, base in (("first", "raw first"), ("changed", "raw changed"), ("unchanged", "raw first")):
        print(
            f"{ROWS} rows, {name:<10} {middle[name] * 1000:6.0f} ms   {base} {middle[base] * 1000:6.0f} ms"
            f"   ratio {middle[name] / middle[base]:.2f}"
        )


if __name__ == "__main__":
    main()
