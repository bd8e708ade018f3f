"""Parameters that several routes take. Their patterns are exact: what the document allows is accepted."""

from typing import Annotated, Final

from fastapi import Path, Query

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
