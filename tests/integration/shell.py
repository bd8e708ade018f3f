"""The command line as a process, for tests."""

import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SECRET = "a-token-that-must-stay-secret"  # noqa: S105 - the simulator's, good for nothing else
WAIT_SECONDS = 20


@dataclass(frozen=True)
class Shell:
    """Runs the command with the settings of a simulator and a store of its own."""

    environment: Mapping[str, str]
    store: Path

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self._command(arguments),
            env={**self.environment, **variables},
            check=False,
            capture_output=True,
            text=True,
            timeout=WAIT_SECONDS,
        )
        assert SECRET not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    @contextmanager
    def running(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        process = subprocess.Popen(
            self._command(arguments),
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with process:
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.kill()

    @staticmethod
    def end_of(process: subprocess.Popen[str]) -> tuple[dict[str, Any], str]:
        """Wait for the end of a process that prints a status; give that, and what it said besides."""
        out, err = process.communicate(timeout=WAIT_SECONDS)
        assert SECRET not in out + err
        return json.loads(out), err

    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = json.loads(self.run("status", "--json").stdout)
        return status

    @staticmethod
    def _command(arguments: tuple[str, ...]) -> list[str]:
        return [sys.executable, "-m", "stocksync", *arguments]


def wait_for_phase(shell: Shell, phase: str) -> None:
    """Wait until the store tells that the run is there."""
    deadline = time.monotonic() + WAIT_SECONDS
    query = "SELECT json_extract(document, '$.phase') FROM sync_status"
    while time.monotonic() < deadline:
        if shell.store.exists():
            connection = sqlite3.connect(shell.store)
            try:
                phases = connection.execute(query).fetchall()
            except sqlite3.OperationalError:  # the tables are still being made
                phases = []
            finally:
                connection.close()
            if (phase,) in phases:
                return
        time.sleep(0.05)
    raise AssertionError(f"no run came to {phase}")
