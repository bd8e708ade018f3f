"""Exit codes, and how everything that can happen to a verb becomes one of them."""

import os
import traceback
from collections.abc import Callable
from enum import IntEnum
from typing import Final, Self

from stocksync.cli.output import note
from stocksync.domain.status import Reason, SyncStats, SyncStatus
from stocksync.errors import (
    RunInProgress,
    ServerError,
    SettingsInvalid,
    StocksyncError,
    StoreError,
    StoreInvalid,
    StoreUnavailable,
    StoreUrlInvalid,
    UnknownSource,
    Unreachable,
)


class ExitCode(IntEnum):
    """Every code that a verb exits with; `meaning` documents it in one line."""

    meaning: str

    def __new__(cls, value: int, meaning: str) -> Self:
        """Make a member that is its value and carries its meaning."""
        member = int.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member

    SUCCESS = 0, "成功"
    FAILED = 1, "失败"
    USAGE = 2, "用法、配置或数据源名称有误"
    SUCCESS_WITH_ERRORS = 3, "完成，但有股票出错"
    ALREADY_RUNNING = 4, "已有同步任务在运行"
    STORE = 5, "数据库或服务器不可用"
    INTERNAL = 70, "内部错误"
    CANCELLED = 130, "已取消"


HELP: Final = "退出码： " + "  ".join(f"{code.value}={code.meaning}" for code in ExitCode)

_RUNS: Final = {
    SyncStatus.SUCCESS: ExitCode.SUCCESS,
    SyncStatus.SUCCESS_WITH_ERRORS: ExitCode.SUCCESS_WITH_ERRORS,
}
_ERRORS: Final[tuple[tuple[type[StocksyncError], ExitCode], ...]] = (
    (SettingsInvalid, ExitCode.USAGE),
    (UnknownSource, ExitCode.USAGE),
    (StoreUrlInvalid, ExitCode.USAGE),
    (StoreError, ExitCode.STORE),
    (Unreachable, ExitCode.STORE),
    (RunInProgress, ExitCode.ALREADY_RUNNING),
    (StocksyncError, ExitCode.FAILED),
)
"""The first line that fits counts."""


def code_of_run(stats: SyncStats) -> ExitCode:
    """Tell how a run that is over went."""
    if stats.reason is Reason.CANCELLED:
        return ExitCode.CANCELLED
    return _RUNS.get(stats.status, ExitCode.FAILED)


_PROBLEMS: Final = {
    "invalid_request": ExitCode.USAGE,
    UnknownSource.code: ExitCode.USAGE,
    RunInProgress.code: ExitCode.ALREADY_RUNNING,
    StoreUnavailable.code: ExitCode.STORE,
    StoreInvalid.code: ExitCode.STORE,
}
"""What a server answers with, where it is not just a failure."""


def code_of_error(error: StocksyncError) -> ExitCode:
    """Tell which code an error of ours ends a verb with."""
    if isinstance(error, ServerError):
        return _PROBLEMS.get(error.code, ExitCode.FAILED)
    return next(code for kind, code in _ERRORS if isinstance(error, kind))


def guarded(verb: Callable[[], int]) -> int:
    """Carry a verb out. An edge of the house: an error becomes one line on stderr and an exit code."""
    try:
        return verb()
    except StocksyncError as exc:
        note(exc)
        return code_of_error(exc)
    except BrokenPipeError:
        raise  # whoever read our output has left; Typer ends quietly
    except Exception as exc:  # noqa: BLE001 - the edge: a bug must end with a line that people can read
        note(f"内部错误（{type(exc).__name__}），设置 STOCKSYNC_LOG_LEVEL=debug 可查看详情")
        if os.environ.get("STOCKSYNC_LOG_LEVEL", "").lower() == "debug":
            traceback.print_exc()
        return ExitCode.INTERNAL
