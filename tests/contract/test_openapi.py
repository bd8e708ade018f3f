"""The whole OpenAPI document against a real server, with every check that the fuzzer has."""

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from integration.servers import server
from stocksync.simulator import SimulatorOptions, open_simulator

FUZZ: Final = Path(__file__).parents[1] / "fuzz"
EXAMPLES: Final = 6
"""Per operation in a normal run; `make fuzz` takes hundreds."""


def fuzz(url: str, examples: int, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [
        str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(FUZZ / "schemathesis.toml"),
        "run", f"{url}/openapi.json", "--checks", "all", "--max-examples", str(examples),
        "--phases", "examples,coverage,fuzzing", "--continue-on-failure", "--generation-deterministic",
        "--request-timeout", "20", "--no-color",
    ]  # fmt: skip
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "fuzz.hooks", "PYTHONPATH": str(FUZZ.parent)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=folder)


@pytest.mark.chaos
async def test_nothing_that_a_client_can_send_breaks_a_promise_of_the_document(
    tmp_path: Path, rounds: int | None
) -> None:
    async with open_simulator(SimulatorOptions(size=300)) as simulator:
        with server(tmp_path / "stocks.db", simulator.settings) as running:
            told = await asyncio.to_thread(fuzz, running.url, rounds or EXAMPLES, tmp_path)
            assert running.process.poll() is None, "the server died"
    cases = re.search(r"(\d+) generated", told.stdout)
    played = cases[1] if cases else 0
    print(f"no promise of the document broken: {played} rounds, {told.returncode} violations")
    assert told.returncode == 0, told.stdout[-20_000:] + told.stderr[-2_000:]
