"""How far a run is: a live bar where stderr is a terminal, plain lines elsewhere."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from stocksync.cli import words
from stocksync.cli.output import note
from stocksync.domain.status import PHASES, Outcome, Phase, SyncStats

Show = Callable[[SyncStats], None]

_LINE_SECONDS: Final = 5.0
"""A plain line at least this often."""


@contextmanager
def progress_view() -> Iterator[Show]:
    """Give a function that shows how a run stands now."""
    if not sys.stderr.isatty() or os.environ.get("TERM") in {None, "dumb"}:
        yield _PlainView()
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[figures]}", markup=False),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield _LiveView(progress)


class _Failures:
    """Says once what each source did not give."""

    def __init__(self) -> None:
        self._seen = 0

    def say(self, stats: SyncStats) -> None:
        for attempt in stats.attempts[self._seen :]:
            if attempt.outcome is not Outcome.OK:
                note(words.failure(attempt))
        self._seen = len(stats.attempts)


class _LiveView:
    """One bar; it swings until rows are being written."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._failures = _Failures()
        self._task = progress.add_task(words.PHASES[Phase.STARTING], total=None, figures="")

    def __call__(self, stats: SyncStats) -> None:
        self._failures.say(stats)
        writing = stats.phase is not None and PHASES.index(stats.phase) >= PHASES.index(Phase.WRITE)
        self._progress.update(
            self._task,
            description=words.phase(stats),
            total=stats.total if writing else None,
            completed=stats.processed,
            figures=words.figures(stats),
        )


class _PlainView:
    """A line for each phase, and now and then one in between."""

    def __init__(self) -> None:
        self._failures = _Failures()
        self._phase: Phase | None = None
        self._said_at = 0.0

    def __call__(self, stats: SyncStats) -> None:
        self._failures.say(stats)
        now = time.monotonic()
        if stats.phase is self._phase and now - self._said_at < _LINE_SECONDS:
            return
        self._phase, self._said_at = stats.phase, now
        note(f"[{words.elapsed(stats)}] {words.phase(stats)}  {words.figures(stats)}".rstrip())
