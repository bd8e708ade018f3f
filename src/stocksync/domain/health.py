"""How the sources do: what is remembered of each, what a test found, what to recommend."""

from dataclasses import dataclass
from datetime import datetime

from stocksync.domain.stock import Dataset


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceHealth:
    """How a source does for one dataset. `failures` are in a row; it is left alone until `open_until`.

    `latency_ms` and `rows` are those of the last good answer: how long it took in all, what was usable.
    """

    source: str
    dataset: Dataset
    failures: int = 0
    open_until: datetime | None = None
    last_error: str | None = None
    last_error_at: datetime | None = None
    last_success_at: datetime | None = None
    latency_ms: int | None = None
    rows: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceReport:
    """One source as it was found: `message` says what a real call met with. Larger `priority` goes first.

    `token_source` says where its token comes from, None where it has none. `checked_at` and `check_ms` are
    None where it was not called, because it cools down.
    """

    name: str
    priority: int
    available: bool
    description: str
    message: str
    provides: tuple[Dataset, ...]
    token_required: bool
    token_source: str | None = None
    checked_at: datetime | None = None
    check_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceStanding:
    """A source as it was found, and what is remembered of each dataset that it was asked for."""

    report: SourceReport
    datasets: tuple[SourceHealth, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendations:
    """Which source to use and why, which after it, by name; what to do, and what stands in the way.

    There is no `primary`, and no reason for it, where none can be used.
    """

    primary: str | None
    reason: str | None
    fallbacks: tuple[str, ...]
    suggestions: tuple[str, ...]
    warnings: tuple[str, ...]
