"""A server over a simulator, and a real browser in front of it."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, async_playwright

from e2e.site import Site, open_site
from stocksync.api.page import BUILT
from stocksync.simulator import SimulatorOptions, open_simulator
from support import SMALL

QUIET = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run")
"""A browser that asks for nothing but what it is told to."""


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium on this machine (on Debian: apt install chromium fonts-noto-cjk)")
    if not (BUILT / "index.html").is_file():
        pytest.skip("the page is not built: make page")
    async with async_playwright() as driver:
        running = await driver.chromium.launch(executable_path=program, args=list(QUIET))
        yield running
        await running.close()


@pytest.fixture
async def site(tmp_path: Path, browser: Browser) -> AsyncIterator[Site]:
    """A small market whose upstreams take their time, so that there is something to see."""
    async with (
        open_simulator(SimulatorOptions(size=SMALL, pace="realistic")) as simulator,
        open_site(tmp_path / "stocks.db", simulator, browser) as opened,
    ):
        yield opened
