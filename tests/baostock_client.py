"""The real BaoStock client in a process of its own: its socket is global, and it may never come back."""

import asyncio
import importlib.util
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

needs_baostock = pytest.mark.skipif(
    importlib.util.find_spec("baostock") is None, reason="baostock is not installed: pip install baostock"
)

_PROGRAM = """
import json, sys
import baostock as bs

host, port = sys.argv[1].split(":")
bs.common.contants.BAOSTOCK_SERVER_IP, bs.common.contants.BAOSTOCK_SERVER_PORT = host, int(port)

def summary(answer, rows=()):
    told = {"code": answer.error_code, "text": answer.error_msg}
    return told | {"fields": answer.fields, "rows": list(rows), "user": answer.user_id}

def read(answer):
    rows = []
    while answer.error_code == "0" and answer.next():
        rows.append(answer.get_row_data())
    return summary(answer, rows)

for line in sys.stdin:
    name, *arguments = json.loads(line)
    try:
        answer = getattr(bs, name)(*arguments)
        told = summary(answer) if name in ("login", "logout") else read(answer)
    except Exception as exc:
        told = {"raised": type(exc).__name__}
    print("@" + json.dumps(told), flush=True)
"""


@dataclass
class Client:
    """A process that runs the library's functions one by one."""

    process: asyncio.subprocess.Process

    async def __call__(self, name: str, *arguments: str) -> dict[str, Any]:
        """Call a function and read its answer to the end, as users do."""
        self.start(name, *arguments)
        assert self.process.stdout is not None
        while not (line := await self.process.stdout.readline()).startswith(b"@"):
            assert line, "the client died"  # other lines are what the library prints
        answer: dict[str, Any] = json.loads(line[1:])
        return answer

    def start(self, name: str, *arguments: str) -> None:
        """Call a function without waiting."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([name, *arguments]).encode() + b"\n")

    def cpu_seconds(self) -> float:
        """Processor time used so far (Linux)."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@asynccontextmanager
async def running_client(address: str) -> AsyncIterator[Client]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _PROGRAM, address,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=64 * 1024 * 1024,
    )  # fmt: skip
    try:
        yield Client(process)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.communicate()
