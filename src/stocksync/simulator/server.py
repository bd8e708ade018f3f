"""Puts the simulator together: market, faults, replicas, control route, and a port for each protocol."""

import asyncio
import ipaddress
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from stocksync.simulator import Simulator, SimulatorOptions, akshare, baostock, baostock_wire, tushare
from stocksync.simulator.control import PREFIX, Control
from stocksync.simulator.faults import Calls, Faults
from stocksync.simulator.http import Request, Response, serve
from stocksync.simulator.living import LivingMarket
from stocksync.simulator.made_up import MadeUpMarket
from stocksync.simulator.pace import Pace
from stocksync.simulator.replay import ReplayMarket


@asynccontextmanager
async def run_simulator(options: SimulatorOptions) -> AsyncIterator[Simulator]:
    """Serve until the context ends. Raises as `open_simulator`."""
    _require_loopback(options.host)
    pace = Pace(options.pace)
    known = {module.NAME: module.CALLS for module in (tushare, akshare, baostock)}
    faults, calls = Faults(known), Calls()
    faults.read(options.faults)
    market = await asyncio.to_thread(_build_market, options)
    control = Control(faults, calls, market)
    replica = tushare.TushareReplica(
        market, faults, calls, token=options.token, points=options.points, pace=pace
    )

    akshare_replica = akshare.AkshareReplica(market, faults, calls, pace=pace)

    async def answer(request: Request) -> Response:
        if akshare.serves(request.path):
            return await akshare_replica(request)
        return await (control if request.path.startswith(PREFIX) else replica)(request)

    baostock_replica = baostock.BaostockReplica(market, faults, calls, pace=pace)
    async with (
        serve(answer, host=options.host, port=options.port) as port,
        baostock_wire.serve(baostock_replica.open_session, host=options.host, port=0) as baostock_port,
    ):
        base_url = f"http://{options.host}:{port}"
        settings = {"STOCKSYNC_TUSHARE_URL": base_url, "STOCKSYNC_TUSHARE_TOKEN": options.token}
        settings["STOCKSYNC_AKSHARE_REDIRECT"] = base_url
        settings["STOCKSYNC_BAOSTOCK_ADDRESS"] = f"{options.host}:{baostock_port}"
        if options.replay is not None or options.today is not None:  # a market that stands still on one day
            settings["STOCKSYNC_AS_OF"] = market.latest_day.isoformat()
        yield Simulator(base_url=base_url, settings=settings, faults=faults, calls=calls, market=market)


def _build_market(options: SimulatorOptions) -> LivingMarket:
    if options.replay is not None:
        return LivingMarket(ReplayMarket(options.replay))
    return LivingMarket(MadeUpMarket(seed=options.seed, size=options.size, today=options.today))


def _require_loopback(host: str) -> None:
    """Refuse any other address: the control route has no password."""
    if not ipaddress.IPv4Address(host).is_loopback:
        raise ValueError(f"the simulator serves this machine only, not {host}")
