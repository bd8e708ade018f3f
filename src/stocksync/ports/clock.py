"""Time."""

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """Time, so that a test can own it."""

    def now(self) -> datetime:
        """Tell the wall clock's time, aware."""
        ...

    def monotonic(self) -> float:
        """Tell seconds that never go back, for measuring durations."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Let others run for that long."""
        ...
