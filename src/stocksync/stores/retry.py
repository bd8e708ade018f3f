"""Trying again what failed in passing: which waits, how often, and that nothing else is tried again."""

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """At most `retries` more tries, `base`^n seconds apart (n = 1, 2, 3) with a quarter of jitter each way.

    `transient` tells which errors may be gone the next time (apscheduler and procrastinate keep such a list
    too): everything else goes straight to the caller.
    """

    transient: Callable[[BaseException], bool]
    retries: int = 3
    base: float = 2.0
    within: float = math.inf
    """No try begins later than so many seconds after the first one."""

    async def __call__(self, attempt: Callable[[], Awaitable[Result]]) -> Result:
        """Give the first result. Raises what the last try raised."""
        began = time.monotonic()
        for n in range(1, self.retries + 1):
            wait = self.base**n * random.uniform(0.75, 1.25)  # noqa: S311 - spreads load, no secret
            try:
                return await attempt()
            except BaseException as exc:
                if not self.transient(exc) or time.monotonic() - began + wait > self.within:
                    raise
            await asyncio.sleep(wait)
        return await attempt()
