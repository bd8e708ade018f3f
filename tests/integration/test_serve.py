"""Starting: what refuses to start, and the demo from its first to its last line."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from integration.servers import free_port


def stocksync(*arguments: str, timeout: float = 30) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stocksync", *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7"])  # noqa: S104 - that is the point
def test_any_address_beyond_this_machine_must_be_meant(host: str, tmp_path: Path) -> None:
    store = tmp_path / "never.db"
    refused = stocksync("serve", "--host", host, "--port", str(free_port()), "--store", f"sqlite:///{store}")
    assert refused.returncode == 2
    assert "--allow-open" in refused.stderr
    assert not store.exists()


def test_a_name_that_nobody_knows_is_said(tmp_path: Path) -> None:
    refused = stocksync("serve", "--host", "no-such-host.invalid", "--store", f"sqlite:///{tmp_path}/a.db")
    assert refused.returncode == 2
    assert "no-such-host.invalid" in refused.stderr


def test_a_taken_port_is_said(tmp_path: Path) -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        refused = stocksync("serve", "--port", port, "--store", f"sqlite:///{tmp_path}/a.db")
    assert refused.returncode == 2
    assert port in refused.stderr


def test_a_store_that_is_none_is_said(tmp_path: Path) -> None:
    file = tmp_path / "text.db"
    file.write_text("no database at all, only some text that is long enough to be read as a header" * 20)
    refused = stocksync("serve", "--port", str(free_port()), "--store", f"sqlite:///{file}")
    assert refused.returncode == 5
    assert "Traceback" not in refused.stderr
    unknown = stocksync("serve", "--port", str(free_port()), "--store", "oracle://x")
    assert unknown.returncode in {2, 5}
    assert "sqlite" in unknown.stderr


def test_the_demo_runs_the_main_job_and_stops_cleanly(tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    demo = subprocess.Popen(
        [sys.executable, "-m", "stocksync", "demo", "--port", str(port)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    try:
        status = first_end(url, demo)
        assert (status["status"], status["total"]) == ("success", 5450)
        time.sleep(1)
        demo.send_signal(signal.SIGINT)
        output, _ = demo.communicate(timeout=20)
    finally:
        if demo.poll() is None:
            demo.kill()
            demo.communicate()
    assert demo.returncode == 0, output
    assert "Traceback" not in output
    for said in (url, "success", "虚构", "/docs", "Ctrl-C"):
        assert said in output
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"
    with closing(socket.socket()) as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0, "the server has stopped"


def first_end(url: str, demo: subprocess.Popen[str]) -> dict[str, object]:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert demo.poll() is None, demo.communicate()[0]
        try:
            status: dict[str, object] = httpx.get(f"{url}/api/sync/status", timeout=5).json()["data"]
            if status["finished_at"]:
                return status
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError("the demo's sync never ended")
