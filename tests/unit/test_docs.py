"""The papers say what is there: settings, verbs, exit codes and links are held against the code."""

import re
from pathlib import Path

import pytest
from typer.main import get_command

from stocksync.api.application import create_api
from stocksync.cli.commands import app
from stocksync.settings import Settings

ROOT = Path(__file__).parents[2]
READMES = ("README.md", "README.zh-CN.md")


def test_every_setting_is_documented_with_its_default() -> None:
    rows = re.findall(
        r"^\| `(STOCKSYNC_\w+)` \| (.+?) \|", (ROOT / "docs/settings.md").read_text(), re.MULTILINE
    )
    documented = {name.removeprefix("STOCKSYNC_").lower(): default.strip("`") for name, default in rows}
    assert set(documented) == set(Settings.model_fields)
    defaults = Settings.model_construct()
    for name, text in documented.items():
        value = getattr(defaults, name)
        if name == "store":
            continue
        if value in {None, ()}:
            assert text == "none", name
        elif isinstance(value, tuple):
            assert text == ",".join(value), name
        elif isinstance(value, bool):
            assert text == str(value).lower(), name
        elif isinstance(value, int | float):
            assert float(text) == value, name
        else:
            assert text == value, name


@pytest.mark.parametrize("name", READMES)
def test_the_readme_names_every_verb_and_no_other(name: str) -> None:
    text = (ROOT / name).read_text()
    named = set(re.findall(r"\| `stocksync (\w+)", text))
    commands = get_command(app).commands  # type: ignore[attr-defined] # a group has commands
    assert named == set(commands)


@pytest.mark.parametrize("name", READMES)
def test_the_readme_names_every_route(name: str) -> None:
    named = set(re.findall(r"(/(?:api|livez|readyz|health)[\w/{}-]*)", (ROOT / name).read_text()))
    document = create_api(Settings()).application.openapi()  # type: ignore[union-attr] # it is FastAPI's
    assert set(document["paths"]) <= named


@pytest.mark.parametrize(
    "page",
    [
        *READMES,
        "docs/settings.md",
        *sorted(p.relative_to(ROOT).as_posix() for p in ROOT.glob("docs/**/*.md")),
    ],
)
def test_every_link_leads_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / page).read_text()):
        assert target.startswith("https://") or ((ROOT / page).parent / target).exists(), target


def test_both_readmes_have_the_same_commands() -> None:
    blocks = [
        re.findall(r"^(?:make|curl|export) .*?(?=\s*#|$)", (ROOT / name).read_text(), re.MULTILINE)
        for name in READMES
    ]
    assert blocks[0] == blocks[1] != []
