"""What a server weighs, and how many files it holds open, over many syncs of a small market.

python benchmarks/bench_leaks.py [SYNCS]
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import httpx

from harness import free_port, memory_mib, process

SYNCS = 200
LOOKS = 5


def open_files(pid: int) -> int:
    children = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False)
    return sum(len(list(Path(f"/proc/{each}/fd").iterdir())) for each in (pid, *children.stdout.split()))


def main(syncs: int) -> None:
    upstream, port = free_port(), free_port()
    with (
        tempfile.TemporaryDirectory(prefix="stocksync-bench-") as folder,
        process(["-m", "stocksync", "simulate", "--port", str(upstream)], upstream),
        process(
            ["-m", "stocksync", "serve", "--port", str(port)],
            port,
            {
                "STOCKSYNC_STORE": f"sqlite:///{folder}/s.db",
                "STOCKSYNC_SOURCES": "tushare",
                "STOCKSYNC_TUSHARE_URL": f"http://127.0.0.1:{upstream}",
                "STOCKSYNC_TUSHARE_TOKEN": "simulated-token",
            },
        ) as pid,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as http,
    ):
        for number in range(1, syncs + 1):
            ended = http.post("/api/sync/stock_basics/run", params={"wait": 50}).json()["data"]
            assert ended["status"] == "success", ended["message"]
            if number == 1 or number % max(1, syncs // LOOKS) == 0:
                print(f"after {number:5} syncs: {memory_mib(pid):4.0f} MiB, {open_files(pid)} open files")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else SYNCS)
