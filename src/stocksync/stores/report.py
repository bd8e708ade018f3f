"""What a look at a database found and what a repair did: the same shapes for every store."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

EXAMPLES: Final = 5
"""How many examples a finding carries at most."""


class Severity(StrEnum):
    """How much a finding matters. Blocking: no sync can succeed before it is mended."""

    INFO = "info"
    WARNING = "warning"
    BLOCKING = "blocking"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is not as the schema has it. `code` is stable; `message` and `repair` are for people.

    `repair` says what a repair would do, None where nothing is done about it. `needs_units`: it is done only
    where that was asked for by name, because it rests on a judgement.
    """

    code: str
    severity: Severity
    message: str
    count: int = 1
    examples: tuple[str, ...] = ()
    repair: str | None = None
    needs_units: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """What the database runs on, and what that means for the promises."""

    kind: str
    version: str
    topology: str
    promises: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRows:
    """The rows of one source; `foreign` of them were never written by stocksync."""

    source: str | None
    rows: int
    foreign: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How a database stands. What is `to_create` appears with the first start, by itself."""

    server: Server
    sources: tuple[SourceRows, ...] = ()
    findings: tuple[Finding, ...] = ()
    to_create: tuple[str, ...] = ()

    @property
    def blocked(self) -> bool:
        """Whether something must be mended before the first sync."""
        return any(finding.severity is Severity.BLOCKING for finding in self.findings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One repair. `done` counts what it changed; None where it was not carried out."""

    code: str
    repair: str
    count: int
    needs_units: bool
    done: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairReport:
    """What a repair did, or would do. `left` is how the database stands afterwards."""

    applied: bool
    steps: tuple[Step, ...]
    left: Report


def by_severity(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """The findings that matter most first."""
    order = list(reversed(Severity))
    return tuple(sorted(findings, key=lambda finding: order.index(finding.severity)))
