"""A worker module that misbehaves on request, as SDKs do."""

import os
import signal
import time

from stocksync.errors import SourceBanned, SourceRateLimited


def echo(value: object) -> object:
    print("noise on stdout, as the SDKs make it")
    return value


def own_pid() -> int:
    return os.getpid()


def hang() -> None:
    time.sleep(600)


def spin() -> None:
    while True:
        pass


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def leave() -> None:
    os._exit(0)


def banned() -> None:
    raise SourceBanned("来源地址被封禁")


def limited() -> None:
    raise SourceRateLimited("太快了", retry_after=7)


def broken() -> None:
    raise ZeroDivisionError


def big() -> list[list[float]]:
    return [[float(n)] * 20 for n in range(6000)]


CALLS = {
    function.__name__: function
    for function in (echo, own_pid, hang, spin, die, leave, banned, limited, broken, big)
}
