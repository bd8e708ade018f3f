"""The verbs at a server: the same output and the same exit codes as at a store."""

import json
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from integration.servers import ServerProcess, free_port, server
from integration.shell import WAIT_SECONDS, Shell, wait_for_phase
from stocksync.cli.outcome import ExitCode
from stocksync.simulator import Simulator
from support import SMALL


@pytest.fixture
def running(shell: Shell) -> Iterator[ServerProcess]:
    with server(shell.store, shell.environment) as process:
        yield process


@pytest.fixture
def remote(shell: Shell, running: ServerProcess, tmp_path: Path) -> Shell:
    """A shell on another machine: it knows the server, and its own store is none."""
    nowhere = tmp_path / "missing" / "no.db"
    mine = {"STOCKSYNC_SERVER": running.url, "STOCKSYNC_STORE": f"sqlite:///{nowhere}"}
    return replace(shell, environment={**shell.environment, **mine, "STOCKSYNC_TUSHARE_TOKEN": ""})


@pytest.fixture
def hanging(remote: Shell, shared_simulator: Simulator) -> Iterator[subprocess.Popen[str]]:
    """A sync at the server that hangs in its daily data."""
    shared_simulator.faults.set("tushare.daily_basic", "hang")
    with remote.running("sync", "--json") as process:
        wait_for_phase(remote, "daily_data")
        yield process


def same(shell: Shell, remote: Shell, *arguments: str) -> str:
    """What a verb says at the server, which is what it says at the store."""
    at_store, at_server = shell.run(*arguments), remote.run(*arguments)
    assert (at_server.stdout, at_server.returncode) == (at_store.stdout, at_store.returncode)
    return at_server.stdout


def test_a_sync_and_what_is_told_of_it(shell: Shell, remote: Shell, running: ServerProcess) -> None:
    assert remote.run("history").stdout == ""
    first = remote.run("sync", "--json")
    assert first.returncode == ExitCode.SUCCESS, first.stderr
    stats = json.loads(first.stdout)
    assert (stats["status"], stats["total"], stats["trigger"]) == ("success", SMALL, "api")
    assert "写入" in first.stderr

    named = shell.run("sync", "--mode", "single", "--server", running.url)
    assert named.returncode == ExitCode.SUCCESS
    assert f"新增 0，更新 {SMALL}（其中无变化 {SMALL}）" in named.stdout
    assert "单数据源" in named.stdout

    assert json.loads(same(shell, remote, "status", "--job", "stock_basics_multi_source", "--json")) == stats
    assert len(json.loads(same(shell, remote, "history", "--limit", "1", "--json"))) == 1
    for verb in (["status"], ["sources"], ["sources", "--json"], ["sources", "--test", "--json"]):
        assert same(shell, remote, *verb)

    with closing(sqlite3.connect(shell.store)) as connection:
        agents = {row[0] for row in connection.execute("SELECT user_agent FROM operation_logs")}
    assert all(agent.startswith("stocksync-cli/") for agent in agents)


def test_how_a_sync_ends_is_its_exit_code(remote: Shell, shared_simulator: Simulator) -> None:
    shared_simulator.faults.set("tushare.stock_basic", "poison")
    poisoned = remote.run("sync")
    assert poisoned.returncode == ExitCode.SUCCESS_WITH_ERRORS
    assert "出错的股票" in poisoned.stdout
    shared_simulator.faults.clear()
    shared_simulator.faults.set("tushare.*", "http403")
    failed = remote.run("sync", "--json")
    assert failed.returncode == ExitCode.FAILED
    assert json.loads(failed.stdout)["reason"] == "all_sources_failed"
    assert remote.run("sources", "--test").returncode == ExitCode.FAILED
    assert remote.run("cancel").returncode == ExitCode.FAILED


def test_one_run_at_a_time_and_a_cancel_from_elsewhere(remote: Shell, hanging: subprocess.Popen[str]) -> None:
    busy = remote.run("sync")
    assert busy.returncode == ExitCode.ALREADY_RUNNING
    assert f"同步任务正在运行中：{remote.status()['run_id']}" in busy.stderr
    assert busy.stdout == ""
    cancelled = remote.run("cancel")
    assert (cancelled.returncode, cancelled.stdout) == (ExitCode.SUCCESS, "")
    assert "已请求取消同步任务" in cancelled.stderr
    stats, err = remote.end_of(hanging)
    assert hanging.returncode == ExitCode.CANCELLED
    assert stats["reason"] == "cancelled"
    assert "失败（已取消）" in err


def test_force_takes_over(remote: Shell, shared_simulator: Simulator, hanging: subprocess.Popen[str]) -> None:
    shared_simulator.faults.clear()
    assert remote.run("sync", "--force").returncode == ExitCode.SUCCESS
    stats, _ = remote.end_of(hanging)
    assert hanging.returncode == ExitCode.FAILED
    assert stats["reason"] == "superseded"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_cancels_the_run_at_the_server(
    remote: Shell, hanging: subprocess.Popen[str], number: signal.Signals
) -> None:
    hanging.send_signal(number)
    shown, err = remote.end_of(hanging)
    assert hanging.returncode == ExitCode.CANCELLED
    assert (shown["status"], shown["reason"]) == ("failed", "cancelled")
    assert "正在取消同步任务" in err
    assert remote.status() == shown


def test_watching_shows_every_change_until_ctrl_c(remote: Shell) -> None:
    with remote.running("status", "--watch", "--json") as watcher:
        assert watcher.stdout is not None
        assert json.loads(watcher.stdout.readline())["status"] == "never_run"
        assert remote.run("sync").returncode == ExitCode.SUCCESS
        seen = [json.loads(watcher.stdout.readline())]
        while seen[-1]["status"] == "running":
            seen.append(json.loads(watcher.stdout.readline()))
        watcher.send_signal(signal.SIGINT)
        assert watcher.wait(WAIT_SECONDS) == ExitCode.SUCCESS
        assert watcher.stdout.read() == ""
    assert seen[-1]["status"] == "success"
    revisions = [stats["revision"] for stats in seen]
    assert revisions == sorted(set(revisions))


def test_what_is_wrong_with_the_call_is_said_in_a_line(remote: Shell, running: ServerProcess) -> None:
    unknown = remote.run("sync", "--sources", "nope")
    assert unknown.returncode == ExitCode.USAGE
    assert "tushare" in unknown.stderr
    assert len(unknown.stderr.splitlines()) == 1
    both = remote.run("status", "--server", running.url, "--store", "sqlite:///x.db")
    assert both.returncode == ExitCode.USAGE
    assert "--server" in both.stderr
    assert remote.run("status", "--server", "nonsense").returncode == ExitCode.USAGE
    other_service = remote.run("status", "--server", f"{running.url}/docs")
    assert other_service.returncode == ExitCode.FAILED
    assert len(other_service.stderr.splitlines()) == 1


def test_a_store_that_is_named_goes_before_the_server_of_the_environment(
    shell: Shell, remote: Shell, tmp_path: Path
) -> None:
    assert remote.run("sync").returncode == ExitCode.SUCCESS
    own = json.loads(remote.run("status", "--json", "--store", f"sqlite:///{tmp_path / 'own.db'}").stdout)
    assert own["status"] == "never_run"
    assert shell.status()["status"] == "success"


@pytest.mark.parametrize(
    "verb", [["sync"], ["status"], ["status", "--watch"], ["history"], ["cancel"], ["sources"]]
)
def test_a_server_that_is_not_there(shell: Shell, verb: list[str]) -> None:
    done = shell.run(*verb, "--server", f"http://ada:secret@127.0.0.1:{free_port()}")
    assert (done.returncode, done.stdout) == (ExitCode.STORE, "")
    assert "无法访问服务器" in done.stderr
    assert "secret" not in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not shell.store.exists()
