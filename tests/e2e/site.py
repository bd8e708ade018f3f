"""What the browser tests look at: a server process that can be killed and come back, and windows onto it."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Error, Page, async_playwright

from integration.servers import ServerProcess, free_port, server
from stocksync.simulator import Simulator

AXE = Path(__file__).parents[2] / "web/node_modules/axe-core/axe.min.js"

_PATIENCE_MS = 15_000

_QUIET = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run")
"""A browser that asks for nothing but what it is told to."""


class Site:
    """The page of one server, in any number of windows; `complaints` keeps what goes wrong in one of them."""

    def __init__(self, store: Path, simulator: Simulator, browser: Browser) -> None:
        self.simulator = simulator
        self.complaints: list[str] = []
        self._browser = browser
        self._store = store
        self._port = free_port()
        self._manager: AbstractContextManager[ServerProcess] | None = None
        self._contexts: list[BrowserContext] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def start(self) -> None:
        """Start the server, or start it again on the same port and store."""
        self._manager = server(self._store, self.simulator.settings, port=self._port)
        await asyncio.to_thread(self._manager.__enter__)

    async def kill(self) -> None:
        """Kill the server without a word."""
        manager, self._manager = self._manager, None
        if manager is not None:
            await asyncio.to_thread(manager.__exit__, None, None, None)

    async def close(self) -> None:
        for context in self._contexts:
            await context.close()
        await self.kill()

    async def window(self, path: str = "/", **options: Any) -> Page:
        """Open a window of a reader's own, Chinese and wide unless told otherwise, and go to a path."""
        defaults = {"locale": "zh-CN", "color_scheme": "light", "viewport": {"width": 1440, "height": 900}}
        context = await self._browser.new_context(**{**defaults, **options})
        self._contexts.append(context)
        return await self.tab(context, path)

    async def tab(self, context: BrowserContext, path: str = "/") -> Page:
        """Open another tab of the same reader."""
        page = await context.new_page()
        page.set_default_timeout(_PATIENCE_MS)
        page.on("pageerror", self._failed)
        page.on("console", self._said)
        await page.goto(self.url + path)
        return page

    async def request(self, method: str, path: str, **options: Any) -> Any:
        """Ask the server beside the browser; gives the data of the envelope."""
        async with httpx.AsyncClient(base_url=self.url, timeout=30, trust_env=False) as http:
            answer = await http.request(method, path, **options)
            return answer.raise_for_status().json()["data"]

    async def sync(self, **query: str) -> Mapping[str, Any]:
        """Carry a whole sync out beside the browser."""
        stats: Mapping[str, Any] = await self.request(
            "POST", "/api/sync/stock_basics/run", params={"wait": "25", **query}
        )
        return stats

    def _failed(self, error: Error) -> None:
        self.complaints.append(str(error))

    def _said(self, message: ConsoleMessage) -> None:
        if "Content Security Policy" in message.text or "[Vue" in message.text:
            self.complaints.append(message.text)


def find_chromium() -> str | None:
    """Find the browser that the system brings."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((found for found in map(shutil.which, names) if found), None)


@asynccontextmanager
async def open_browser(program: str) -> AsyncIterator[Browser]:
    """Run a browser until the context ends."""
    async with async_playwright() as driver:
        running = await driver.chromium.launch(executable_path=program, args=list(_QUIET))
        yield running
        await running.close()


@asynccontextmanager
async def open_site(store: Path, simulator: Simulator, browser: Browser) -> AsyncIterator[Site]:
    """Serve until the context ends; fails where a window met with an error nobody asked about."""
    site = Site(store, simulator, browser)
    await site.start()
    try:
        yield site
    finally:
        await site.close()
    assert site.complaints == []


async def axe_findings(page: Page) -> list[str]:
    """What axe-core finds serious or critical in the page as it stands."""
    await page.evaluate(AXE.read_text())
    found = await page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{violation['id']}: {node['target']} {node['failureSummary']}"
        for violation in found["violations"]
        if violation["impact"] in {"serious", "critical"}
        for node in violation["nodes"]
    ]
