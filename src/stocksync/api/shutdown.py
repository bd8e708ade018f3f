"""Ending open streams as soon as the server is told to stop.

granian waits for open responses before it ends the application's lifespan, so a long poll would hold the
shutdown up. Its workers register their handlers on the event loop; ours runs first and then calls theirs.
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
            loop.add_signal_handler(number, _in_turn, act, theirs)
    yield


def _in_turn(act: Callable[[], None], theirs: asyncio.Handle) -> None:
    act()
    theirs._run()  # noqa: SLF001 - see above: the handle is all that the loop keeps
