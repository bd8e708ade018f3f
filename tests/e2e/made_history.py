"""A small history with a run of every kind, made with the simulator's faults and events."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

_LONGEST_SECONDS = 60

EVENTS = {
    "000001": "rename:虚拟银行",
    "000004": "rename:*ST虚构",
    "000006": "delist",
    "000008": "move:创业板",
    "688999": "list:编造新材",
}
"""What happens in the market of seed 7 between two runs."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A server and the simulator that it syncs from."""

    url: str
    simulator_url: str
    http: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=_LONGEST_SECONDS + 10))

    def run(self, **query: str | bool) -> dict[str, Any]:
        """Carry a run out and answer with how it ended."""
        return self._post("/api/sync/stock_basics/run", {"wait": _LONGEST_SECONDS, **query})

    def begin(self, **query: str | bool) -> dict[str, Any]:
        """Start a run and answer with how it began."""
        return self._post("/api/sync/stock_basics/run", query)

    def cancel(self) -> dict[str, Any]:
        """Cancel the run and wait until it has ended."""
        started = self._post("/api/sync/stock_basics/cancel", {})
        return self.ended(started["run_id"])

    def ended(self, run_id: str) -> dict[str, Any]:
        """Wait for the end of a run."""
        deadline = time.monotonic() + _LONGEST_SECONDS
        while time.monotonic() < deadline:
            answer = self.http.get(f"{self.url}/api/sync/runs/{run_id}")
            run: dict[str, Any] = answer.raise_for_status().json()["data"]
            if run["finished_at"]:
                return run
            time.sleep(0.1)
        raise AssertionError(f"{run_id} did not end")

    @contextmanager
    def faults(self, faults: Mapping[str, str]) -> Iterator[None]:
        """Let upstreams fail: {"tushare.stock_basic": "poison"}."""
        self.http.put(f"{self.simulator_url}/_control/faults", json=faults).raise_for_status()
        yield
        self.http.delete(f"{self.simulator_url}/_control/faults").raise_for_status()

    def happen(self, events: Mapping[str, str]) -> None:
        """Let something happen in the market: {"600000": "rename:某股份"}."""
        self.http.put(f"{self.simulator_url}/_control/market", json=events).raise_for_status()

    def _post(self, path: str, query: dict[str, Any]) -> dict[str, Any]:
        answer = self.http.post(self.url + path, params=query)
        data: dict[str, Any] = answer.raise_for_status().json()["data"]
        return data


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeHistory:
    """The runs that stand for something, as they ended."""

    first: dict[str, Any]
    changed: dict[str, Any]
    rejecting: dict[str, Any]
    fallback: dict[str, Any]
    cancelled: dict[str, Any]
    superseded: dict[str, Any]
    failed: dict[str, Any]


def make_history(stage: Stage) -> MadeHistory:
    """Make a run of each kind; all but the failed one leave the sources as able as they were."""
    first = stage.run()
    stage.run()
    stage.happen(EVENTS)
    changed = stage.run()
    with stage.faults({"tushare.stock_basic": "poison"}):
        rejecting = stage.run()
    stage.run(mode="single")
    with stage.faults({"tushare.daily_basic": "http502"}):
        fallback = stage.run()
    with stage.faults({"tushare.stock_basic": "drip"}):
        stage.begin()
        time.sleep(1.2)
        cancelled = stage.cancel()
    with stage.faults({"tushare.stock_basic": "drip"}):
        victim = stage.begin()
        time.sleep(0.8)
        stage.begin(force=True)
        superseded = stage.ended(victim["run_id"])
        stage.cancel()
    stage.run()
    with stage.faults({"tushare.stock_basic": "http502", "akshare.*": "http502", "baostock.*": "close"}):
        failed = stage.run()
    return MadeHistory(
        first=first, changed=changed, rejecting=rejecting, fallback=fallback, cancelled=cancelled,
        superseded=superseded, failed=failed,
    )  # fmt: skip
