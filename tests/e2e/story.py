"""A small history with a run of every kind, made with the simulator's faults and events."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from e2e.site import Site

Run = Mapping[str, Any]

_POISONED = {"tushare.stock_basic": "poison"}
_NEVER_LISTED = {"tushare.stock_basic": "drip"}
_NO_LIST = {"tushare.stock_basic": "bad_token", "akshare.*": "http404", "baostock.*": "close"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """The runs that stand for something, as they ended."""

    first: Run
    changed: Run
    rejecting: Run
    cancelled: Run
    superseded: Run
    failed: Run


async def make_story(site: Site) -> Story:
    """Let a run of each kind happen, ten in all, the failed one last."""
    first = await site.sync()
    await site.sync()
    _let_things_happen(site)
    changed = await site.sync()
    async with faults(site, _POISONED):
        rejecting = await site.sync()
    await site.sync(mode="single")
    async with faults(site, _NEVER_LISTED):
        victim = await begin(site)
        await begin(site, force="true")
        superseded = await ended(site, victim)
        last = await site.request("POST", "/api/sync/stock_basics/cancel")
        cancelled = await ended(site, last)
    await site.sync()
    async with faults(site, _NO_LIST):
        failed = await site.sync()
    return Story(
        first=first, changed=changed, rejecting=rejecting, cancelled=cancelled, superseded=superseded,
        failed=failed,
    )  # fmt: skip


@asynccontextmanager
async def faults(site: Site, chosen: Mapping[str, str]) -> AsyncIterator[None]:
    """Let upstreams fail meanwhile."""
    site.simulator.faults.update(chosen)
    try:
        yield
    finally:
        site.simulator.faults.clear()


async def begin(site: Site, **query: str) -> Run:
    """Start a run, and give it time to have asked for its list."""
    started: Run = await site.request("POST", "/api/sync/stock_basics/run", params=query)
    await asyncio.sleep(0.6)
    return started


async def ended(site: Site, run: Run) -> Run:
    """Wait for the end of a run."""
    async with asyncio.timeout(20):
        while True:
            now: Run = await site.request("GET", f"/api/sync/runs/{run['run_id']}")
            if now["finished_at"]:
                return now
            await asyncio.sleep(0.1)


def _let_things_happen(site: Site) -> None:
    """Rename two stocks, take one away, move one, and list a new one."""
    one, other, gone, moved, *_ = (stock.symbol for stock in site.simulator.market.stocks)
    site.simulator.market.happen(
        {
            one: "rename:虚拟银行", other: "rename:*ST虚构", gone: "delist", moved: "move:创业板",
            "688999": "list:编造新材",
        }
    )  # fmt: skip
