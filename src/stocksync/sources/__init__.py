"""The upstreams, behind the port Source. `build_sources` makes the ones that the settings name, in order."""

from collections.abc import Callable, Mapping
from typing import Final

from stocksync.errors import SettingsInvalid
from stocksync.ports import Clock, Source
from stocksync.settings import Settings
from stocksync.sources.akshare import build_akshare
from stocksync.sources.baostock import build_baostock
from stocksync.sources.tushare import build_tushare

Builder = Callable[[Settings, Clock], Source]

BUILDERS: Final[Mapping[str, Builder]] = {
    "tushare": build_tushare,
    "akshare": build_akshare,
    "baostock": build_baostock,
}


def build_sources(settings: Settings, clock: Clock) -> dict[str, Source]:
    """Build every source of STOCKSYNC_SOURCES, in its order. Raises SettingsInvalid for an unknown name."""
    unknown = [name for name in settings.sources if name not in BUILDERS]
    if unknown:
        raise SettingsInvalid(
            f"STOCKSYNC_SOURCES：未知的数据源 {'、'.join(unknown)}，可用：{'、'.join(BUILDERS)}"
        )
    return {name: BUILDERS[name](settings, clock) for name in settings.sources}
