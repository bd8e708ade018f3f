"""`stocksync serve`: granian in front of the API."""

import asyncio
import ipaddress
import os
import resource
import socket
import sys
from contextlib import closing

from granian.constants import Interfaces, Loops
from granian.log import LogLevels
from granian.server import Server

from stocksync.errors import SettingsInvalid
from stocksync.settings import Settings, load_settings
from stocksync.stores import open_store

_ROOM = 1024
"""Connections at once in one worker beside those of event streams: plain requests always get through."""

_OWN_FILES = 256
"""What a worker may have open beside its connections: the store, upstreams, worker processes."""

_KILL_SECONDS = 10


def serve(*, host: str, port: int, workers: int, store: str | None, allow_open: bool) -> int:
    """Serve until SIGINT or SIGTERM. Raises SettingsInvalid, StoreError before anything listens."""
    host = resolved(host)
    check_address(host, allow_open=allow_open)
    settings = load_settings(store=store)
    asyncio.run(_check_store(settings))
    check_port_free(host, port)
    streams = affordable_streams(settings.max_streams)
    os.environ["STOCKSYNC_STORE"] = settings.store  # the workers read their settings from the environment
    os.environ["STOCKSYNC_MAX_STREAMS"] = str(streams)
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    print(
        f"stocksync {address}  接口文档 {address}/docs  数据库 {settings.masked()['store']}  （Ctrl-C 停止）",
        flush=True,
    )
    Server(
        "stocksync.api.application:from_environment",
        address=host,
        port=port,
        workers=workers,
        interface=Interfaces.ASGI,
        loop=Loops.asyncio,
        factory=True,
        backpressure=streams + _ROOM,
        log_level=LogLevels.warning,
        websockets=False,
        respawn_failed_workers=True,
        workers_kill_timeout=_KILL_SECONDS,
    ).serve()
    return 0


def affordable_streams(wanted: int) -> int:
    """Allow this process and its workers the open files that so many streams need; tell how many they get."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + _ROOM + _OWN_FILES
    if hard == resource.RLIM_INFINITY or hard >= needed:
        if soft != resource.RLIM_INFINITY and soft < needed:
            resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
        return wanted
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    streams = max(1, hard - _ROOM - _OWN_FILES)
    print(f"事件流上限降为 {streams}（原为 {wanted}）：可打开的文件数至多 {hard}", file=sys.stderr)
    return streams


def check_address(host: str, *, allow_open: bool) -> None:
    """Refuse to listen beyond this machine by accident. Raises SettingsInvalid."""
    if not allow_open and not ipaddress.ip_address(host).is_loopback:
        raise SettingsInvalid(
            f"拒绝监听 {host}：接口没有密码，本机以外的任何人都能控制同步。确实需要时请加 --allow-open"
        )


def resolved(host: str) -> str:
    """Give the address of a name, because that is what is listened on. Raises SettingsInvalid."""
    try:
        address: str = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0]  # type: ignore[assignment]
    except OSError as exc:
        raise SettingsInvalid(f"无法解析 {host}（{exc.strerror}）") from exc
    return address


def check_port_free(host: str, port: int) -> None:
    """Say it plainly where the port is taken; granian's workers would die one after the other."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with closing(socket.socket(family, socket.SOCK_STREAM)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as exc:
            raise SettingsInvalid(
                f"无法监听 {host}:{port}（{exc.strerror}），请用 --port 换一个端口"
            ) from exc


async def _check_store(settings: Settings) -> None:
    store = await open_store(settings.store)
    await store.aclose()
