"""Loopback replicas of the upstreams, with a made-up or replayed market and faults on demand.

    async with open_simulator(SimulatorOptions(faults=("tushare.daily_basic=http502:2",))) as simulator:
        os.environ.update(simulator.settings)

Only the demo command and the tests use it. Importing it loads nothing but this file: servers and markets come
when one is opened.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stocksync.simulator.faults import Calls, Faults
    from stocksync.simulator.living import LivingMarket

__all__ = ["Simulator", "SimulatorOptions", "open_simulator"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorOptions:
    """What to simulate."""

    host: str = "127.0.0.1"
    """A loopback IPv4 address."""
    port: int = 0
    """0 picks a free one."""
    seed: int = 1
    """Another seed, another made-up market."""
    size: int = 5450
    """How many made-up stocks."""
    today: date | None = None
    """The day on which the made-up market stands; None follows the clock."""
    replay: Path | None = None
    """Folder of dumps of the real market, instead of a made-up one."""
    pace: str = "fast"
    """fast or realistic."""
    faults: tuple[str, ...] = ()
    """Faults from the start: "tushare.daily_basic=http502:2", "tushare.*=hang"."""
    token: str = "simulated-token"  # noqa: S105 - a made-up one, good for nothing else
    """The only token that is accepted."""
    points: int = 5000
    """Points of the Tushare account; fewer than 5000 carry no permission for ROE."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulator:
    """A simulator that runs."""

    base_url: str
    """Where it answers, "http://127.0.0.1:PORT"; the control route is under /_control/."""
    settings: Mapping[str, str]
    """The environment variables that point stocksync at it."""
    faults: "Faults"
    calls: "Calls"
    market: "LivingMarket"


@asynccontextmanager
async def open_simulator(options: SimulatorOptions | None = None) -> AsyncIterator[Simulator]:
    """Run a simulator until the context ends; leaving is quick, whatever connections hang.

    Raises a ValueError that names what is wrong: FaultInvalid, MarketInvalid, ReplayInvalid, an unknown
    pace, a host that is not this machine. Raises OSError where the port is taken.
    """
    from stocksync.simulator.server import run_simulator  # noqa: PLC0415 - see the module's docstring

    async with run_simulator(options or SimulatorOptions()) as simulator:
        yield simulator
