"""Ending open streams as soon as the server is told to stop.

granian waits for open responses before it ends the application's lifespan, so a long poll or an event stream
would hold the shutdown up. Its workers register their handlers on the event loop; ours runs first and then
calls theirs.

The event loop learns of signals through the same small pipe that wakes it for everything else. With thousands
of streams that pipe can be full, and then a signal is lost. So ours is the interpreter's own handler besides,
which needs no pipe.
"""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def on_stop_signal(act: Callable[[], None]) -> Iterator[None]:
    """Call `act` on SIGINT and SIGTERM, before the handler that the server has put on this loop."""
    loop = asyncio.get_running_loop()
    # There is no public way to ask a loop for its handlers; without them there is nothing to go before.
    handlers: dict[int, Any] = getattr(loop, "_signal_handlers", {})
    for number in (signal.SIGINT, signal.SIGTERM):
        theirs = handlers.get(number)
        if isinstance(theirs, asyncio.Handle):
            in_turn = _InTurn(act, theirs)
            loop.add_signal_handler(number, in_turn)
            signal.signal(number, lambda *_, stop=in_turn: loop.call_soon_threadsafe(stop))
            signal.set_wakeup_fd(signal.set_wakeup_fd(-1), warn_on_full_buffer=False)
    yield


class _InTurn:
    """Ours, then theirs, once: a signal that comes both ways is one signal."""

    def __init__(self, act: Callable[[], None], theirs: asyncio.Handle) -> None:
        self._act = act
        self._theirs = theirs
        self._done = False

    def __call__(self) -> None:
        if not self._done:
            self._done = True
            self._act()
            self._theirs._run()  # noqa: SLF001 - see above: the handle is all that the loop keeps
