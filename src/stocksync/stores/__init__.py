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


async def _open_mongo(url: str) -> Store:
    from stocksync.stores.mongo import open_mongo  # noqa: PLC0415 - who uses SQLite does not pay for PyMongo

    return await open_mongo(url)


OPENERS: Final[Mapping[str, Opener]] = {
    "sqlite": open_sqlite,
    "mongodb": _open_mongo,
    "mongodb+srv": _open_mongo,
}


async def open_store(url: str) -> Store:
    """Open the store that `url` names; close it with `aclose`. Raises StoreError."""
    scheme = url.partition("://")[0]
    opener = OPENERS.get(scheme)
    if opener is None:
        known = "、".join(f"{name}://" for name in OPENERS)
        raise StoreUrlInvalid(f"STOCKSYNC_STORE 的类型 {scheme!r} 不受支持，可用：{known}")
    return await opener(url)
