"""Takes the pictures of docs/screenshots: a server over a made-up market, with a run of every kind behind it.

Needs a Chromium, and the page built: make page. The stage is the one of the browser tests.
"""

import asyncio
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from stocksync.api.page import BUILT
from stocksync.simulator import Simulator, SimulatorOptions, open_simulator

ROOT: Final = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "tests"))

from e2e.site import Site, find_chromium, open_browser, open_site  # noqa: E402 - found in the folder just added
from e2e.story import begin, faults, make_story  # noqa: E402 - likewise

if TYPE_CHECKING:
    from playwright.async_api import ViewportSize

FOLDER: Final = ROOT / "docs/screenshots"

_SEED: Final = 7
_SETTLED_MS: Final = 1200
_SIZES: Final["dict[str, ViewportSize]"] = {
    "wide": {"width": 1440, "height": 1000},
    "phone": {"width": 390, "height": 844},
}
_LOCALES: Final = {"zh": "zh-CN", "en": "en-US"}


@dataclass(frozen=True, slots=True)
class Shot:
    """One picture: what of, and as whom."""

    page: str
    path: str
    theme: str
    language: str
    size: str

    @property
    def file(self) -> Path:
        """Where it goes."""
        return FOLDER / f"{self.page}-{self.theme}-{self.language}-{self.size}.png"


async def main() -> None:
    """Take them all."""
    program = find_chromium()
    if program is None or not (BUILT / "index.html").is_file():
        sys.exit("needs a Chromium (on Debian: apt install chromium fonts-noto-cjk) and the page: make page")
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="stocksync-screenshots-") as folder:
        async with (
            open_browser(program) as browser,
            open_simulator(SimulatorOptions(seed=_SEED)) as simulator,
            open_site(Path(folder) / "stocks.db", _with_all_sources(simulator), browser) as site,
        ):
            await _take_all(site)


def _with_all_sources(simulator: Simulator) -> Simulator:
    """Let the server use what the tests do without."""
    settings = {**simulator.settings, "STOCKSYNC_SOURCES": "tushare,akshare,baostock"}
    return replace(simulator, settings=settings)


async def _take_all(site: Site) -> None:
    story = await make_story(site)
    failed = f"/history/{story.failed['run_id']}"
    changed = f"/history/{story.changed['run_id']}"
    await site.sync()
    for shot in (
        Shot("sync", "/", "light", "zh", "wide"),
        Shot("sync", "/", "light", "en", "wide"),
        Shot("sync", "/", "dark", "en", "phone"),
        Shot("history", "/history?trend=1", "light", "zh", "wide"),
        Shot("history", "/history", "dark", "en", "phone"),
        Shot("run", changed, "light", "en", "wide"),
        Shot("run", failed, "dark", "zh", "wide"),
        Shot("logs", "/logs", "light", "en", "wide"),
        Shot("logs", "/logs", "dark", "zh", "phone"),
    ):
        await _take(site, shot)
    async with faults(site, {"tushare.daily_basic": "drip"}):
        await begin(site)
        await _take(site, Shot("running", "/", "dark", "zh", "wide"))
        await site.request("POST", "/api/sync/stock_basics/cancel")


async def _take(site: Site, shot: Shot) -> None:
    page = await site.window(
        shot.path, color_scheme=shot.theme, locale=_LOCALES[shot.language], viewport=_SIZES[shot.size]
    )
    await page.wait_for_timeout(_SETTLED_MS)
    await page.screenshot(path=shot.file)
    await page.context.close()
    print(f"{shot.file.relative_to(ROOT)}  {shot.file.stat().st_size // 1024} KB")


if __name__ == "__main__":
    asyncio.run(main())
