"""Following something for as long as nobody asks to stop."""

import asyncio
from collections.abc import AsyncGenerator
from typing import TypeVar

Item = TypeVar("Item")


async def until(stop: asyncio.Event, items: AsyncGenerator[Item, None]) -> AsyncGenerator[Item, None]:
    """Yield items until there are no more, or `stop` is set: then the next one is not waited for."""
    stopped = asyncio.create_task(stop.wait())
    upcoming: asyncio.Future[Item] | None = None
    try:
        while not stop.is_set():
            upcoming = asyncio.ensure_future(anext(items))
            await asyncio.wait({upcoming, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if not upcoming.done():
                return
            yield upcoming.result()
    except StopAsyncIteration:
        return
    finally:
        stopped.cancel()
        if upcoming is not None and upcoming.cancel():
            await asyncio.wait({upcoming})
        await items.aclose()
