"""The verb `simulate`: replicas of the upstreams on this machine, for trying things out."""

import asyncio
import shlex
from contextlib import AsyncExitStack
from pathlib import Path

from stocksync.cli.interrupts import interruptible
from stocksync.cli.outcome import ExitCode
from stocksync.cli.output import note, print_line
from stocksync.errors import SettingsInvalid
from stocksync.simulator import Simulator, SimulatorOptions, open_simulator


def simulate(*, port: int, seed: int, replay: Path | None, faults: tuple[str, ...], pace: str) -> int:
    """Run until Ctrl-C; stdout is a script that points a shell's stocksync at the simulator."""
    asyncio.run(_run(SimulatorOptions(port=port, seed=seed, replay=replay, faults=faults, pace=pace)))
    return ExitCode.SUCCESS


async def _run(options: SimulatorOptions) -> None:
    with interruptible() as asked:
        async with AsyncExitStack() as stack:
            simulator = await _open(stack, options)
            for name, value in simulator.settings.items():
                print_line(f"export {name}={shlex.quote(value)}")
            note(f"模拟器运行于 {simulator.base_url}，按 Ctrl-C 停止")
            await asked.wait()


async def _open(stack: AsyncExitStack, options: SimulatorOptions) -> Simulator:
    try:
        return await stack.enter_async_context(open_simulator(options))
    except (ValueError, OSError) as exc:  # what open_simulator documents: an option, or a port that is taken
        raise SettingsInvalid(f"模拟器无法启动：{exc}") from exc
