"""The command `stocksync`: the same verbs as the API, and the second edge of the house.

commands.py    what can be typed: verbs, options, help texts; imports nothing heavy, so that --help is quick
outcome.py     exit codes, and the one place that turns errors into a line and a code
session.py     settings, log lines and the actor of a verb
desk.py        where verbs do their work: local.py at a store, remote.py at a server
interrupts.py  what Ctrl-C and SIGTERM mean
output.py      the two streams; tables.py, progress.py and words.py: how things look and read in Chinese
everything else is one verb a file, loaded when it is carried out
"""

import sys
from io import TextIOWrapper


def main() -> None:
    """Carry out the command line, and exit with its code."""
    from stocksync.cli.commands import app  # noqa: PLC0415 - server processes import this package without Typer

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a terminal without Chinese gets escapes, not a crash
            stream.reconfigure(errors="backslashreplace")
    app(prog_name="stocksync")
