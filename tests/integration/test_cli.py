"""The command, as people and scripts use it: real processes, exit codes, both streams."""

import json
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.shell import WAIT_SECONDS, Shell, wait_for_phase
from stocksync.cli import words
from stocksync.cli.outcome import ExitCode, code_of_error
from stocksync.domain.status import Job, Outcome, Phase, Reason, SyncStatus, Trigger
from stocksync.domain.stock import Dataset
from stocksync.errors import RowError, StocksyncError, StoreInvalid, StoreUnavailable, StoreUrlInvalid
from stocksync.simulator import Simulator
from support import SMALL

VERBS = (
    "sync", "status", "history", "sources", "config", "cancel", "doctor", "repair", "serve", "demo",
    "simulate",
)  # fmt: skip


@pytest.fixture
def hanging(shell: Shell, shared_simulator: Simulator) -> Iterator[subprocess.Popen[str]]:
    """A sync that hangs in its daily data."""
    shared_simulator.faults.set("tushare.daily_basic", "hang")
    with shell.running("sync", "--json") as process:
        wait_for_phase(shell, "daily_data")
        yield process


def test_a_first_sync_and_a_second_one(shell: Shell) -> None:
    assert shell.status()["status"] == "never_run"
    first = shell.run("sync", "--json")
    assert first.returncode == ExitCode.SUCCESS
    stats = json.loads(first.stdout)
    assert (stats["status"], stats["total"], stats["inserted"]) == ("success", SMALL, SMALL)
    assert stats["trigger"] == "cli"
    assert "写入" in first.stderr
    connection = sqlite3.connect(shell.store)
    ((user_agent,),) = connection.execute("SELECT user_agent FROM operation_logs").fetchall()
    connection.close()
    assert user_agent.startswith("stocksync-cli/")

    second = shell.run("sync")
    assert second.returncode == ExitCode.SUCCESS
    assert f"总数 {SMALL}，新增 0，更新 {SMALL}（其中无变化 {SMALL}），错误 0" in second.stdout
    assert shell.status()["unchanged"] == SMALL

    runs = json.loads(shell.run("history", "--json").stdout)
    assert [run["inserted"] for run in runs] == [0, SMALL]
    assert len(json.loads(shell.run("history", "--limit", "1", "--json").stdout)) == 1
    table = shell.run("history").stdout.splitlines()
    assert len(table) == 4
    assert all("多数据源" in line and "命令行" in line and "成功" in line for line in table[2:])

    human = shell.run("status").stdout
    for word in ("成功", "success", runs[0]["run_id"], "股票列表 tushare", runs[0]["last_trade_date"]):
        assert word in human


def test_a_single_source_run_is_the_other_job(shell: Shell) -> None:
    done = shell.run("sync", "--mode", "single", "--sources", "tushare", "--json")
    assert done.returncode == ExitCode.SUCCESS
    assert json.loads(done.stdout)["job"] == "stock_basics"
    other = json.loads(shell.run("status", "--job", "stock_basics_multi_source", "--json").stdout)
    assert other["status"] == "never_run"


def test_a_failing_upstream_fails_the_run(shell: Shell, shared_simulator: Simulator) -> None:
    shared_simulator.faults.set("tushare.*", "http403")
    done = shell.run("sync", "--json")
    assert done.returncode == ExitCode.FAILED
    assert json.loads(done.stdout)["reason"] == "all_sources_failed"
    assert "失败（所有数据源都失败）" in done.stderr
    human = shell.run("status").stdout
    assert "被封禁" in human or "失败" in human
    assert "股票列表" in human


def test_rows_that_could_not_be_stored_have_a_code_of_their_own(
    shell: Shell, shared_simulator: Simulator
) -> None:
    shared_simulator.faults.set("tushare.stock_basic", "poison")
    done = shell.run("sync")
    assert done.returncode == ExitCode.SUCCESS_WITH_ERRORS
    assert "完成但有错误" in done.stdout
    assert "出错的股票" in done.stdout


def test_a_refused_token(shell: Shell) -> None:
    done = shell.run("sync", STOCKSYNC_TUSHARE_TOKEN="wrong-token")
    assert done.returncode == ExitCode.FAILED
    assert "令牌无效" in done.stdout
    assert "wrong-token" not in done.stdout + done.stderr
    tested = shell.run("sources", "--test", STOCKSYNC_TUSHARE_TOKEN="wrong-token")
    assert tested.returncode == ExitCode.FAILED
    assert "不可用：" in tested.stdout


def test_what_is_wrong_with_the_call_is_said_in_a_line(shell: Shell) -> None:
    unknown = shell.run("sync", "--sources", "nope")
    assert unknown.returncode == ExitCode.USAGE
    assert "nope" in unknown.stderr
    assert "tushare" in unknown.stderr
    assert unknown.stdout == ""
    assert shell.run("sync", "--mode", "both").returncode == ExitCode.USAGE
    wrong = shell.run("status", STOCKSYNC_MIN_STOCKS="many")
    assert wrong.returncode == ExitCode.USAGE
    assert "STOCKSYNC_MIN_STOCKS" in wrong.stderr
    assert shell.run("status", "--store", "paper://drawer").returncode == ExitCode.USAGE
    assert shell.run("simulate", "--fault", "nonsense").returncode == ExitCode.USAGE
    assert shell.run("cancel").returncode == ExitCode.FAILED


def test_a_store_that_cannot_be_used(shell: Shell) -> None:
    shell.store.write_text("this is no database, but it is long enough to be taken for one" * 20)
    for verb in ("sync", "status", "history", "cancel"):
        done = shell.run(verb)
        assert done.returncode == ExitCode.STORE
        assert "SQLite" in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_one_run_at_a_time_and_a_cancel_from_elsewhere(shell: Shell, hanging: subprocess.Popen[str]) -> None:
    busy = shell.run("sync")
    run_id = shell.status()["run_id"]
    assert busy.returncode == ExitCode.ALREADY_RUNNING
    assert f"同步任务正在运行中：{run_id}" in busy.stderr
    assert busy.stdout == ""

    assert shell.run("cancel").returncode == ExitCode.SUCCESS
    stats, err = shell.end_of(hanging)
    assert hanging.returncode == ExitCode.CANCELLED
    assert stats["reason"] == "cancelled"
    assert "失败（已取消）" in err


def test_force_takes_over(shell: Shell, shared_simulator: Simulator, hanging: subprocess.Popen[str]) -> None:
    shared_simulator.faults.clear()
    assert shell.run("sync", "--force").returncode == ExitCode.SUCCESS
    stats, _ = shell.end_of(hanging)
    assert hanging.returncode == ExitCode.FAILED
    assert stats["reason"] == "superseded"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_cancels_the_run(
    shell: Shell, hanging: subprocess.Popen[str], number: signal.Signals
) -> None:
    began = time.monotonic()
    hanging.send_signal(number)
    shown, _ = shell.end_of(hanging)
    assert time.monotonic() - began < 2
    assert hanging.returncode == ExitCode.CANCELLED
    assert (shown["status"], shown["reason"]) == ("failed", "cancelled")
    assert shell.status() == shown


def test_a_second_ctrl_c_leaves_at_once(shell: Shell, hanging: subprocess.Popen[str]) -> None:
    blocker = sqlite3.connect(shell.store, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")  # nothing can be stored now, so the run cannot end
    try:
        hanging.send_signal(signal.SIGINT)
        assert hanging.stderr is not None
        while "正在取消" not in hanging.stderr.readline():
            pass
        hanging.send_signal(signal.SIGINT)  # the echo of a launcher, not somebody impatient
        time.sleep(0.5)
        assert hanging.poll() is None
        began = time.monotonic()
        hanging.send_signal(signal.SIGINT)
        hanging.wait(WAIT_SECONDS)
        assert time.monotonic() - began < 1
        assert hanging.returncode == ExitCode.CANCELLED
    finally:
        blocker.close()


def test_watching_shows_every_change_until_ctrl_c(shell: Shell) -> None:
    with shell.running("status", "--watch", "--json") as watcher:
        assert watcher.stdout is not None
        assert json.loads(watcher.stdout.readline())["status"] == "never_run"
        assert shell.run("sync").returncode == ExitCode.SUCCESS
        seen = [json.loads(watcher.stdout.readline())]
        while seen[-1]["status"] == "running":
            seen.append(json.loads(watcher.stdout.readline()))
        watcher.send_signal(signal.SIGINT)
        assert watcher.wait(WAIT_SECONDS) == ExitCode.SUCCESS
        assert watcher.stdout.read() == ""
    assert seen[-1]["status"] == "success"
    revisions = [stats["revision"] for stats in seen]
    assert revisions == sorted(set(revisions))


def test_the_sources_in_order(shell: Shell) -> None:
    (source,) = json.loads(shell.run("sources", "--test", "--json").stdout)
    assert (source["order"], source["name"], source["configured"]) == (1, "tushare", True)
    assert (source["available"], source["error"]) == (True, None)
    assert "已配置令牌" in shell.run("sources").stdout
    (source,) = json.loads(shell.run("sources", "--json", STOCKSYNC_TUSHARE_TOKEN="").stdout)
    assert (source["configured"], source["available"]) == (False, None)


def test_the_settings_in_force(shell: Shell) -> None:
    rows = {row["variable"]: row for row in json.loads(shell.run("config", "--json").stdout)}
    assert rows["STOCKSYNC_STORE"] == {
        "variable": "STOCKSYNC_STORE",
        "value": f"sqlite:///{shell.store}",
        "set": True,
    }
    assert rows["STOCKSYNC_TUSHARE_TOKEN"]["value"] == "******"
    assert rows["STOCKSYNC_MAX_SHRINK"] == {"variable": "STOCKSYNC_MAX_SHRINK", "value": 0.1, "set": False}
    human = shell.run("config").stdout
    assert all(name in human for name in rows)


def test_the_simulator_prints_settings_that_work(shell: Shell) -> None:
    with shell.running("simulate", "--seed", "7", "--fault", "tushare.stock_basic=http403") as simulator:
        assert simulator.stdout is not None
        lines = [simulator.stdout.readline() for _ in range(2)]
        settings = dict(line.removeprefix("export ").strip().split("=", 1) for line in lines)
        assert shell.run("sources", "--test", **settings).returncode == ExitCode.SUCCESS
        assert shell.run("sync", **settings).returncode == ExitCode.FAILED
        simulator.send_signal(signal.SIGINT)
        assert simulator.wait(WAIT_SECONDS) == ExitCode.SUCCESS


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(shell: Shell, verb: str) -> None:
    done = shell.run(verb, "--help")
    assert done.returncode == 0
    assert f"stocksync {verb}" in done.stdout
    assert "…" not in done.stdout  # nothing was cut off


def test_the_verbs_and_the_exit_codes_are_told(shell: Shell) -> None:
    listed = shell.run("--help").stdout
    assert all(verb in listed for verb in VERBS)
    told = shell.run("sync", "--help").stdout
    assert all(f"{code.value}={code.meaning}" in told for code in ExitCode)
    assert shell.run("--version").stdout.startswith("stocksync ")


def test_shells_complete_the_verbs(shell: Shell) -> None:
    asked = {"_STOCKSYNC_COMPLETE": "complete_bash", "COMP_WORDS": "stocksync hi", "COMP_CWORD": "1"}
    assert shell.run(**asked).stdout.split() == ["history"]


def test_an_internal_error_is_a_line_too(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['stocksync.cli.history'] = object()")
    done = shell.run("history", PYTHONPATH=str(tmp_path))
    assert done.returncode == ExitCode.INTERNAL
    assert done.stderr.startswith("内部错误（AttributeError）")


def test_every_word_of_the_wire_has_a_chinese_one() -> None:
    assert set(words.JOBS) == set(Job)
    assert set(words.STATUSES) == set(SyncStatus)
    assert set(words.REASONS) == set(Reason)
    assert set(words.TRIGGERS) == set(Trigger)
    assert set(words.PHASES) == set(Phase)
    assert set(words.OUTCOMES) == set(Outcome)
    assert set(words.DATASETS) == set(Dataset)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StoreUnavailable("x"), ExitCode.STORE),
        (StoreInvalid("x"), ExitCode.STORE),
        (StoreUrlInvalid("x"), ExitCode.USAGE),
        (RowError("x"), ExitCode.FAILED),
    ],
)
def test_errors_have_exit_codes(error: StocksyncError, code: ExitCode) -> None:
    assert code_of_error(error) is code
