"""Markets for the doctor's tests: a made-up one, and the real one where the dumps are."""

import csv
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from stocksync.domain.codes import full_symbol, locate
from stocksync.domain.magnitudes import SIZES, Row

BOARDS = {"600": 12.0, "000": 12.0, "300": 23.0, "688": 42.0, "920": 18.0}
"""A prefix of each board, and its usual price."""

SHARES = {"600": 70_000, "000": 70_000, "300": 28_000, "688": 18_000, "920": 10_400}


@dataclass(frozen=True)
class Listed:
    """One stock of the real market."""

    row: Row
    industry: str


def made_up(prefixes: Sequence[str] = tuple(BOARDS), each: int = 1000, seed: int = 1) -> list[Row]:
    """Stocks with prices on the grid of 0.01 and everything that follows from them."""
    chance = random.Random(seed)
    return [
        Row(f"{prefix}{number:0{6 - len(prefix)}d}", _figures(chance, prefix))
        for prefix in prefixes
        for number in range(each)
    ]


def _figures(chance: random.Random, prefix: str) -> dict[str, float]:
    price = round(max(1.0, chance.lognormvariate(0, 0.9) * BOARDS[prefix]), 2)
    total = round(max(4_000.0, chance.lognormvariate(0, 1.1) * SHARES[prefix]), 4)
    floating = round(total * (1 if chance.random() < 0.4 else chance.uniform(0.2, 1)), 4)
    pe, pb = round(chance.lognormvariate(3.8, 0.9), 4), round(chance.lognormvariate(1.1, 0.7), 4)
    return {
        "total_mv": round(price * total / 1e4, 8),
        "circ_mv": round(price * floating / 1e4, 8),
        "total_share": total,
        "float_share": floating,
        "turnover_rate": round(chance.lognormvariate(0.7, 0.9) + 0.05, 4),
        "pe": pe,
        "pb": pb,
        "roe": round(100 * pb / pe * chance.uniform(0.2, 1.1), 4),
    }


@lru_cache
def real(dumps: Path) -> list[Listed]:
    """The market of 2026-04-15 in the mission's units; roe is not in the dump: as pb / pe_ttm imply it."""
    with (dumps / "henrylin99_daily_basic_20260415.csv").open(encoding="utf-8-sig") as file:
        return [Listed(_real_row(line), line["industry"]) for line in csv.DictReader(file)]


def _real_row(line: Mapping[str, str]) -> Row:
    names = (*SIZES, "turnover_rate", "volume_ratio", "pe", "pe_ttm", "pb", "ps", "ps_ttm")
    figures = {name: value for name in names if (value := float(line[name] or 0))}
    for name in ("total_mv", "circ_mv"):
        if name in figures:
            figures[name] = round(figures[name] / 1e4, 8)
    if {"pb", "pe_ttm"} <= figures.keys():
        figures["roe"] = round(100 * figures["pb"] / figures["pe_ttm"], 4)
    return Row(line["ts_code"][:6], figures)


def scaled(rows: Sequence[Row], powers: Mapping[str, int], share: float = 1.0) -> list[Row]:
    """Put the figures, or those of a share of the rows, into another unit."""
    chance = random.Random(7)
    return [
        Row(row.code, {name: value * 10.0 ** powers.get(name, 0) for name, value in row.figures.items()})
        if chance.random() < share
        else row
        for row in rows
    ]


def documents(rows: Sequence[Row], source: str = "tushare") -> list[dict[str, Any]]:
    """The rows as an older service stores them."""
    return [
        {
            "code": row.code,
            "symbol": row.code,
            "full_symbol": full_symbol(row.code),
            "name": f"股票{row.code}",
            "market": locate(row.code).board,
            "sse": locate(row.code).exchange.full_name,
            "category": "stock_cn",
            "sec": "stock_cn",
            "source": source,
            "list_date": "20010827",
            "trade_date": "20260415",
            "updated_at": datetime(2026, 4, 15, 10, tzinfo=UTC),
            **row.figures,
        }
        for row in rows
    ]
