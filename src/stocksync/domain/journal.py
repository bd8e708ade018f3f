"""What a run says of itself, line by line."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEvent:
    """One line of a run's log, in the past tense: `event` for machines, `message` for people."""

    at: datetime
    event: str
    message: str
    level: str = "info"
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """A line of a run's log as it is stored. `seq` grows from line to line, maybe with gaps."""

    seq: int
    event: RunEvent
