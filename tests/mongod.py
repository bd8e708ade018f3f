"""Real MongoDB servers for tests: a standalone, or a replica set that can be made to fail over."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from pymongo import MongoClient
from pymongo.errors import AutoReconnect

from mongod_process import SET, Mongod, wait_for

URL_VARIABLE: Final = "STOCKSYNC_TEST_MONGO_URL"


class ReplicaSet:
    """Members that elect one of themselves, by default within a second or two."""

    def __init__(self, folder: Path, members: int = 1, *, election_seconds: float = 1.5) -> None:
        """MongoDB's own default for `election_seconds` is 10."""
        self.members = [Mongod(folder / f"member{n}", replica_set=True) for n in range(members)]
        self._election_ms = round(election_seconds * 1000)

    def url(self, database: str = "") -> str:
        """The address of a database of the whole set."""
        return f"mongodb://{','.join(each.address for each in self.members)}/{database}?replicaSet={SET}"

    def start(self) -> None:
        """Start and initiate the set, and wait until every member has its part."""
        for member in self.members:
            member.spawn()
        for member in self.members:
            member.await_up()
        hosts = [{"_id": n, "host": each.address} for n, each in enumerate(self.members)]
        settings = {
            "electionTimeoutMillis": self._election_ms,
            "heartbeatIntervalMillis": self._election_ms // 5,  # the proportion of MongoDB's defaults
        }
        config = {"_id": SET, "members": hosts, "settings": settings}
        self.members[0].command("replSetInitiate", config)
        self.await_members()

    def await_members(self) -> None:
        """Wait until there is a primary, and every other member that runs is a secondary."""
        self.primary()

        def settled() -> bool:
            answers = [each.hello() for each in self.members if each.runs]
            return all(each.get("isWritablePrimary") or each.get("secondary") for each in answers)

        wait_for(settled, "a member never became a secondary")

    def primary(self) -> Mongod:
        """Wait for a member that takes writes, and give it."""
        return wait_for(self._elected, "no primary was elected")

    await_primary = primary

    def _elected(self) -> Mongod | None:
        """Of two that both think so, as after a pause, the one that was elected last."""
        said = [(each.hello(), each) for each in self.members]
        elected = [(hello["electionId"], each) for hello, each in said if hello.get("isWritablePrimary")]
        return max(elected, key=lambda one: one[0])[1] if elected else None

    def secondaries(self) -> list[Mongod]:
        primary = self.primary()
        return [each for each in self.members if each is not primary and each.runs]

    def step_down(self, seconds: int = 10) -> None:
        """Let the primary resign for so long; of several members another is elected after election_seconds.

        By force, which also skips the handover by which a healthy set is without a primary for a moment only.
        """
        with suppress(AutoReconnect):  # somebody else is primary already
            self.primary().command("replSetStepDown", seconds, secondaryCatchUpPeriodSecs=1, force=True)

    def kill_primary(self) -> Mongod:
        """Kill the primary and give it, to be started again."""
        primary = self.primary()
        primary.kill()
        return primary

    def restart(self, member: Mongod) -> None:
        """Bring a member back, killing it where it still runs, and wait until it has its part."""
        member.restart()
        self.await_members()

    def stop_replication(self) -> None:
        """Let the secondaries fetch nothing: what the primary takes now, a failover takes back.

        Another failpoint, rsSyncApplyStop, makes a majority write wait just so; but a secondary then has it
        in its buffer, and keeps it when it is elected.
        """
        for member in self.secondaries():
            member.command("configureFailPoint", "stopReplProducer", mode="alwaysOn")

    def start_replication(self) -> None:
        """Let every member fetch again, whatever it is by now; that begins after a second or two."""
        for member in self.members:
            if member.runs:
                member.command("configureFailPoint", "stopReplProducer", mode="off")

    @contextmanager
    def replication_stopped(self) -> Iterator[None]:
        """Stop replication until the context ends."""
        self.stop_replication()
        try:
            yield
        finally:
            self.start_replication()

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
def replica_set(folder: Path, members: int = 1, *, election_seconds: float = 1.5) -> Iterator[ReplicaSet]:
    """A replica set that ends with the context."""
    whole = ReplicaSet(folder, members, election_seconds=election_seconds)
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
        self._made: list[str] = []

    @cached_property
    def own_set(self) -> ReplicaSet:
        """A set of one member, shared by all tests: who breaks it mends it."""
        return self._stack.enter_context(replica_set(self._folder / "set"))

    @cached_property
    def own_standalone(self) -> Mongod:
        """A standalone, shared by all tests: who breaks it mends it."""
        return self._stack.enter_context(standalone(self._folder / "one"))

    def replica_set(self) -> str:
        """The URL of a new, empty database on a replica set; the given one, where one is given."""
        return self._new_database(os.environ.get(URL_VARIABLE) or self.own_set.url())

    def standalone(self) -> str:
        """The URL of a new, empty database on a standalone."""
        return self._new_database(self.own_standalone.url())

    def _new_database(self, server: str) -> str:
        name = f"test-{os.getpid()}-{next(self._numbers)}"
        self._made.append(urlsplit(server)._replace(path=f"/{name}").geturl())
        return self._made[-1]

    def drop_databases(self) -> None:
        """Delete every database that was named since the last time: each is some thirty files."""
        client: MongoClient[dict[str, Any]]
        while self._made:
            with MongoClient(self._made.pop()) as client:
                client.drop_database(client.get_default_database().name)


@contextmanager
def mongo_servers(folder: Path) -> Iterator[MongoServers]:
    """Servers that end with the context."""
    with ExitStack() as stack:
        yield MongoServers(folder, stack)
