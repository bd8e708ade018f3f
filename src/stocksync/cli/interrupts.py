"""What Ctrl-C and SIGTERM mean to a verb that takes a while."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from stocksync.cli.outcome import ExitCode

_ECHO_SECONDS: Final = 0.3
"""`timeout` and some launchers deliver one request twice: to the process and to its group."""

_SHOW_CURSOR: Final = "\x1b[?25h"


@contextmanager
def interruptible() -> Iterator[asyncio.Event]:
    """Give an event that SIGINT or SIGTERM sets: a request to end well. A second Ctrl-C leaves at once."""
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    first: list[float] = []

    def ask() -> None:
        if not asked.is_set():
            asked.set()
            first.append(time.monotonic())
            loop.remove_signal_handler(signal.SIGINT)
            # Not through the loop: a loop that is held up must not hold this up.
            signal.signal(signal.SIGINT, lambda *_: _leave(first[0]))

    loop.add_signal_handler(signal.SIGINT, ask)
    loop.add_signal_handler(signal.SIGTERM, ask)
    try:
        yield asked
    finally:
        if not asked.is_set():
            loop.remove_signal_handler(signal.SIGINT)
        loop.remove_signal_handler(signal.SIGTERM)


def _leave(first: float) -> None:
    """Leave without closing anything; the run, if there is one, is closed by a rescue."""
    if time.monotonic() - first < _ECHO_SECONDS:
        return
    if sys.stderr.isatty():
        sys.stderr.write(_SHOW_CURSOR)
        sys.stderr.flush()
    os._exit(ExitCode.CANCELLED)
