"""Is the process alive, and can it do its work: for supervisors and load balancers."""

import asyncio
from typing import Annotated, Final

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from stocksync import __version__
from stocksync.api.schemas.base import problems_doc
from stocksync.api.state import app_of
from stocksync.domain.wire import iso
from stocksync.errors import StoreUnavailable

router = APIRouter(tags=["运维"])

_PING_SECONDS: Final = 1.0
"""Who asks wants to know it now; many probes give up after a second or two."""


class Liveness(BaseModel):
    """The process answers."""

    status: Annotated[str, Field(examples=["alive"])]
    version: Annotated[str, Field(examples=["0.1.0"])]


class Readiness(BaseModel):
    """The store answers too."""

    status: Annotated[str, Field(examples=["ready"])]


@router.get("/livez", summary="进程存活")
async def livez() -> Liveness:
    """进程能应答即返回 200，与数据库无关。"""
    return Liveness(status="alive", version=__version__)


@router.get("/health", summary="可以工作（别名）", responses=problems_doc(503))
@router.get("/api/health", summary="可以工作（别名）", responses=problems_doc(503))
@router.get("/readyz", summary="可以工作", responses=problems_doc(503))
async def readyz(request: Request, response: Response) -> Readiness:
    """数据库可用时返回 200；否则返回 503，此时状态接口仍以 stale_since 注明的旧快照应答。"""
    app = app_of(request)
    response.headers["Cache-Control"] = "no-store"
    stale_since = app.service.board.get().stale_since
    if stale_since is not None:
        raise StoreUnavailable(f"数据库自 {iso(stale_since)} 起不可用")
    try:
        async with asyncio.timeout(_PING_SECONDS):
            await app.store.ping()
    except TimeoutError:
        raise StoreUnavailable(f"数据库 {_PING_SECONDS:g} 秒内没有应答") from None
    return Readiness(status="ready")
