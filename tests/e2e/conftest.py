"""A server over a simulator, and a real browser in front of it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from e2e.site import Site, find_chromium, open_browser, open_site
from e2e.story import Story, make_story
from stocksync.api.page import BUILT
from stocksync.simulator import SimulatorOptions, open_simulator
from support import SMALL


@asynccontextmanager
async def _open_browser() -> AsyncIterator[Browser]:
    program = find_chromium()
    if program is None:
        pytest.skip("no Chromium on this machine (on Debian: apt install chromium fonts-noto-cjk)")
    if not (BUILT / "index.html").is_file():
        pytest.skip("the page is not built: make page")
    async with open_browser(program) as running:
        yield running


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with _open_browser() as running:
        yield running


@pytest.fixture
async def site(tmp_path: Path, browser: Browser) -> AsyncIterator[Site]:
    """A small market whose upstreams take their time, so that there is something to see."""
    async with (
        open_simulator(SimulatorOptions(size=SMALL, pace="realistic")) as simulator,
        open_site(tmp_path / "stocks.db", simulator, browser) as opened,
    ):
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def told_site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Site, Story]]:
    """A site with a run of every kind behind it, for all tests of a module: they only look."""
    folder = tmp_path_factory.mktemp("told")
    async with (
        _open_browser() as browser,
        open_simulator(SimulatorOptions(size=SMALL)) as simulator,
        open_site(folder / "stocks.db", simulator, browser) as opened,
    ):
        yield opened, await make_story(opened)
