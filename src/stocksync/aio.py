"""Small manners of an event loop that many share."""

import asyncio
from collections.abc import AsyncIterator, Collection, Coroutine, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, TypeVar

Item = TypeVar("Item")

BREATH: Final = 100
"""Rows handled before the others get a turn: some milliseconds of work."""


async def cooperative(items: Iterable[Item]) -> AsyncIterator[Item]:
    """Iterate over many rows without holding up everybody else on the loop."""
    for n, item in enumerate(items, start=1):
        yield item
        if n % BREATH == 0:
            await asyncio.sleep(0)


async def uninterrupted(work: Coroutine[Any, Any, Item]) -> tuple[Item, asyncio.CancelledError | None]:
    """Let `work` end even if the caller is cancelled meanwhile; give its result and the cancellation.

    Where `work` fails after a cancellation, the cancellation is what is raised.

    A batch that is being committed cannot be called back, so it must be counted before the caller leaves.
    """
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as exc:
            cancelled = exc
    if cancelled is not None and task.exception() is not None:
        raise cancelled from task.exception()
    return task.result(), cancelled


@contextmanager
def heeding_cancellation() -> Iterator[None]:
    """Raise CancelledError where the current task was cancelled within and what it awaited kept silent.

    asyncio.wait_for of Python 3.11, on which PyMongo rests, prefers a result that comes at the same time.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    try:
        yield
    finally:
        if task and task.cancelling() > before:
            raise asyncio.CancelledError


async def stop(tasks: Collection[asyncio.Task[Any]], *, within: float) -> bool:
    """Cancel tasks and await their ends, also of those that join meanwhile; tell whether all of them ended.

    `tasks` drops whatever is done. One that hangs on a database must not keep a process from stopping.
    """
    for task in tasks:
        task.cancel()
    with suppress(TimeoutError):
        async with asyncio.timeout(within):
            while tasks:
                await asyncio.wait(set(tasks))
    return not tasks
