"""What the sites' answers must look like, because the akshare library does not look.

It names the columns of three of the four JSON answers by their position, and drops the totals that the
servers declare. Both are checked here against the first answer of each call.
"""

import json
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

from stocksync.errors import SourceIncomplete, SourceNonsense

_CALLBACK: Final = re.compile(r"\w*\((.*)\)\s*;?\s*\Z", re.DOTALL)
_MOST_MISSING: Final = (2, 0.01)
"""Rows, or share of the declared ones: a page repeated or cut short costs more, a row that moved less."""

_OK_CODES: Final = (None, 0, 9201)
"""Codes of Eastmoney's data centre: absent, well, well but without rows."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Where one site's JSON has what we check."""

    total: tuple[str | int, ...]
    """Path to the number of rows that the server has."""
    rows: tuple[str | int, ...]
    places: Mapping[str, int] = field(default_factory=dict)
    """Where the library expects the keys that we use, among the keys of a row."""


SPOT: Final = Shape(
    total=("data", "total"),
    rows=("data", "diff"),
    places={"f2": 1, "f8": 7, "f9": 8, "f10": 9, "f12": 11, "f14": 13, "f20": 18, "f21": 19, "f23": 21},
)
REPORT: Final = Shape(
    total=("result", "count"),
    rows=("result", "data"),
    places={"SECURITY_CODE": 0, "WEIGHTAVG_ROE": 12, "PUBLISHNAME": 22},
)
SSE: Final = Shape(total=("pageHelp", "total"), rows=("result",))  # the library names these columns by key
BSE: Final = Shape(
    total=(0, "totalElements"),
    rows=(0, "content"),
    places={"fxssrq": 0, "xxfxsgb": 11, "xxhyzl": 17, "xxssdq": 29, "xxzgb": 36, "xxzqdm": 38, "xxzqjc": 40},
)


def declares_nothing(shape: Shape | None, body: bytes | None) -> bool:
    """Whether an answer is well-formed and says that there are no rows."""
    document = _document(body)
    if shape is None or document is None:
        return False
    if isinstance(document, dict) and document.get("code") not in _OK_CODES:
        return False
    return not _dig(document, shape.rows)


def check_places(what: str, shape: Shape, body: bytes | None) -> None:
    """Refuse an answer whose columns are not where the library takes them from. Raises SourceNonsense."""
    rows = _dig(_document(body), shape.rows)
    keys = list(rows[0]) if isinstance(rows, list) and rows and isinstance(rows[0], dict) else []
    moved = [name for name, place in shape.places.items() if keys[place : place + 1] != [name]]
    if moved:
        raise SourceNonsense(f"{what}的列发生变化：{'、'.join(moved)} 不在原来的位置")


def check_whole(what: str, shape: Shape, body: bytes | None, codes: Collection[object]) -> None:
    """Refuse fewer different codes than the server declares. Raises SourceIncomplete."""
    total = _dig(_document(body), shape.total)
    if not isinstance(total, int) or isinstance(total, bool):
        return
    found = len({str(code) for code in codes})
    rows, share = _MOST_MISSING
    if total - found > max(rows, total * share):
        raise SourceIncomplete(f"{what}声明有 {total} 行，实际只得到 {found} 只不同的股票（分页缺失或重复）")


def records(frame: Any, columns: Mapping[str, str]) -> list[dict[str, Any]]:
    """Take columns of a frame by name, as plain rows under our names. Raises KeyError for a missing one."""
    picked = frame[list(columns)]
    rows = zip(*(picked[column].tolist() for column in columns), strict=True)
    names: Sequence[str] = list(columns.values())
    return [dict(zip(names, map(plain, row), strict=True)) for row in rows]


def plain(value: Any) -> Any:
    """Make a value of a frame fit for JSON: dates as "YYYYMMDD", NaN and NaT as None."""
    if isinstance(value, str):
        return value
    if value is None or value != value:  # noqa: PLR0124 - NaN and NaT alone differ from themselves
        return None
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, date):  # a datetime is one, too
        return value.strftime("%Y%m%d")
    return value if isinstance(value, int) else [repr(value)[:100]]  # shown, and never taken for a text


def _document(body: bytes | None) -> Any:
    """Read a body as JSON, with or without a callback around it; None for anything else."""
    text = (body or b"").decode("utf-8", "replace")
    wrapped = _CALLBACK.match(text)
    try:
        return json.loads(wrapped[1] if wrapped else text)
    except (ValueError, RecursionError):
        return None


def _dig(document: Any, path: Sequence[str | int]) -> Any:
    for step in path:
        try:
            document = document[step]
        except (KeyError, IndexError, TypeError):
            return None
    return document
