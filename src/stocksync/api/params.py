"""Parameters that several routes take. Their patterns are exact: what the document allows is accepted."""

from datetime import date, datetime, time, timedelta
from typing import Annotated, Final

from fastapi import Path, Query

from stocksync.domain.wire import MARKET_ZONE, moment

MOST_PAGES: Final = 100_000

RUN_ID: Final = r"^[0-9A-Za-z][0-9A-Za-z_-]{0,63}$"

RunId = Annotated[
    str,
    Path(
        description="运行编号",
        pattern=RUN_ID,
        max_length=64,
        examples=["20261123-183000-1f0c9a2b"],
    ),
]

PageNumber = Annotated[int, Query(ge=1, le=MOST_PAGES, description="页码，从 1 开始")]

_DAY: Final = (
    r"20[0-9]{2}-((0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31)"
    r"|20([02468][048]|[13579][26])-02-29"
)
_TIME: Final = (
    r"([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,6})?)?(Z|[+-](0[0-9]|1[0-4]):[0-5][0-9])?"
)

MomentText = Annotated[
    str | None,
    Query(
        description="日期（YYYY-MM-DD，市场时区，含当日）或 ISO 8601 时刻（不带时区的视为市场时间）",
        pattern=rf"^({_DAY})(T{_TIME})?$",
        max_length=32,
        examples=["2026-11-23", "2026-11-23T18:30:00+08:00"],
    ),
]

_TICK: Final = timedelta(microseconds=1)


def first_moment(text: str | None) -> datetime | None:
    """The moment with which a period begins."""
    if text is None or "T" in text:
        return moment(text)
    return datetime.combine(date.fromisoformat(text), time.min, MARKET_ZONE)


def moment_after(text: str | None) -> datetime | None:
    """The moment before which a period ends: what is named belongs to it, a whole day or a microsecond."""
    begin = first_moment(text)
    if begin is None or text is None:
        return None
    return begin + (_TICK if "T" in text else timedelta(days=1))


Cursor = Annotated[
    str | None,
    Query(
        description="上一页的 next_cursor：紧接其后继续，不受期间新增运行的影响；此时忽略 page",
        pattern=r"^r[0-9a-f]{1,15}$",
        max_length=16,
    ),
]


def cursor_of(revision: int) -> str:
    """What a client gives back to go on after the run with this revision."""
    return f"r{revision:x}"


def revision_of(cursor: str | None) -> int | None:
    """Read a cursor."""
    return None if cursor is None else int(cursor[1:], 16)
