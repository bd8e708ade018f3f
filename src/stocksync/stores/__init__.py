"""The databases that can hold the stocks, behind the ports. `open_store` picks one by its URL."""

from collections.abc import Mapping
from typing import Final, Protocol

from stocksync.errors import StoreUrlInvalid
from stocksync.ports import Store
from stocksync.stores.sqlite import open_sqlite


class Opener(Protocol):
    """Opens, and where needed makes or migrates, the database that a URL names."""

    async def __call__(self, url: str) -> Store:
        """Raise StoreUnavailable or StoreInvalid where that cannot be done."""
        ...


OPENERS: Final[Mapping[str, Opener]] = {"sqlite": open_sqlite}


async def open_store(url: str) -> Store:
    """Open the store that `url` names; close it with `aclose`. Raises StoreError."""
    scheme = url.partition("://")[0]
    opener = OPENERS.get(scheme)
    if opener is None:
        known = "、".join(f"{name}://" for name in OPENERS)
        raise StoreUrlInvalid(f"STOCKSYNC_STORE 的类型 {scheme!r} 不受支持，可用：{known}")
    return await opener(url)
