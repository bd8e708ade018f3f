"""The verb `config`: the settings in force, and the variable that sets each."""

from datetime import date
from typing import Any

from stocksync.cli.outcome import ExitCode
from stocksync.cli.output import print_json
from stocksync.cli.session import prepare
from stocksync.cli.tables import add_row, console, table
from stocksync.cli.words import NONE


def config(*, as_json: bool) -> int:
    """Show them all; secrets are masked."""
    settings = prepare()
    rows = [
        {
            "variable": f"STOCKSYNC_{name.upper()}",
            "value": _plain(value),
            "set": name in settings.model_fields_set,
        }
        for name, value in settings.masked().items()
    ]
    if as_json:
        print_json(rows)
        return ExitCode.SUCCESS
    shown = table("环境变量", "值", "来自")
    for row in rows:
        add_row(shown, row["variable"], _text(row["value"]), "环境" if row["set"] else "默认")
    console().print(shown)
    return ExitCode.SUCCESS


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return value.isoformat() if isinstance(value, date) else value


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(value) or NONE
    return NONE if value is None else str(value)
