"""The two streams: results go to stdout, everything that is said about them to stderr."""

import json
import sys
from typing import Any


def one_line(text: object) -> str:
    """Text of any origin on one line, without anything that a terminal would obey."""
    return "".join(char if char.isprintable() else " " for char in str(text))


def print_line(text: str) -> None:
    """Write a line of the result."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def print_json(value: Any, *, compact: bool = False) -> None:
    """Write a result for machines; `compact` keeps it on one line."""
    print_line(json.dumps(value, ensure_ascii=False, indent=None if compact else 2))


def note(text: object) -> None:
    """Say something to a person. `sys.stderr` is looked up anew: a live view replaces it."""
    sys.stderr.write(f"{one_line(text)}\n")
    sys.stderr.flush()
