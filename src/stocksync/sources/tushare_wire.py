"""Tushare Pro's official HTTP protocol: one POST a page, typed errors, retries of what may heal.

A direct client, because the `tushare` package turns HTTP errors into empty frames, ignores `has_more`, loses
the error code and needs pandas.
"""

import asyncio
import importlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import httpx
from pydantic import SecretStr

from stocksync.aio import cooperative
from stocksync.errors import (
    SourceBanned,
    SourceDenied,
    SourceError,
    SourceNonsense,
    SourceRateLimited,
    SourceSkipped,
    SourceTimeout,
    SourceUnreachable,
)
from stocksync.ports import Clock

PAGE: Final = 6000
"""Rows that Tushare gives for one call at most."""

_MOST_PAGES: Final = 50
_RETRY_WAITS: Final = (1.0, 2.0)
"""Seconds before asking again after a transport failure; a time-out was long enough by itself."""

_MINUTE_WAIT: Final = 60.0
"""Seconds after which the limit of calls a minute has passed."""

_BAD_TOKEN: Final = 40101
_LIMIT_OR_PERMISSION: Final = 40203
_TOO_MANY_REQUESTS: Final = 429

Rows = list[dict[str, Any]]
Page = tuple[Sequence[Sequence[Any]], bool]
"""Items in the order of the fields asked for, and whether there are more."""


class TushareClient:
    """Asks Tushare's APIs. Every method raises SourceError and nothing else, save cancellation."""

    def __init__(self, *, url: str, token: SecretStr | None, clock: Clock, call_timeout: float) -> None:
        self._url = url.rstrip("/")
        self._token = token
        self._clock = clock
        self._call_timeout = call_timeout
        self._http: httpx.AsyncClient | None = None
        self._opening = asyncio.Lock()

    async def query(self, api: str, *, fields: Sequence[str], page: int | None = None, **params: str) -> Rows:
        """Give every row of an API as dicts of `fields`; with `page`, asked for in pages of so many rows.

        Waits once through the limit of calls a minute; asks again after a transport failure.
        """
        rows: Rows = []
        first: Sequence[Any] | None = None
        for _ in range(_MOST_PAGES):
            paging = {"limit": page, "offset": len(rows)} if page else {}
            items, more = await self._page(api, fields, {**params, **paging})
            if items and items[0] == first:
                raise SourceNonsense(f"{api} 重复返回同一页")
            first = items[0] if items else None
            async for item in cooperative(items):
                rows.append(dict(zip(fields, item, strict=True)))
            if not items or not (more or len(items) == page):
                return rows
            page = page or len(items)  # it has more, although it was asked for everything
        raise SourceNonsense(f"{api} 超过 {_MOST_PAGES} 页仍未结束")

    async def aclose(self) -> None:
        """Close the connections. Idempotent."""
        if self._http is not None:
            await self._http.aclose()
            self._http = None

    async def _page(self, api: str, fields: Sequence[str], params: Mapping[str, object]) -> Page:
        waits = list(_RETRY_WAITS)
        minute_wait_left = True
        while True:
            try:
                return _decode(api, fields, await self._post(api, fields, params))
            except SourceUnreachable:
                if not waits:
                    raise
                await self._clock.sleep(waits.pop(0))
            except SourceRateLimited as exc:
                if exc.retry_after is None or not minute_wait_left:
                    raise
                minute_wait_left = False
                await self._clock.sleep(exc.retry_after)

    async def _post(self, api: str, fields: Sequence[str], params: Mapping[str, object]) -> bytes:
        """Make one exchange within `call_timeout`: the only place that knows httpx's errors."""
        if self._token is None or not self._token.get_secret_value():
            raise SourceSkipped("未配置 Tushare 令牌（STOCKSYNC_TUSHARE_TOKEN）")
        body = {
            "api_name": api,
            "token": self._token.get_secret_value(),
            "params": params,
            "fields": ",".join(fields),
        }
        try:
            async with asyncio.timeout(self._call_timeout):
                client = await self._client()
                response = await client.post(self._address(api), json=body)
        except (TimeoutError, httpx.TimeoutException) as exc:
            raise SourceTimeout(f"{api} 在 {self._call_timeout:g} 秒内没有完整应答") from exc
        except httpx.HTTPError as exc:
            raise SourceUnreachable(f"{api} 连接失败（{type(exc).__name__}）") from exc
        except httpx.InvalidURL as exc:
            raise SourceNonsense("STOCKSYNC_TUSHARE_URL 不是有效的地址") from exc
        _check_http(api, response.status_code)
        return response.content

    async def _client(self) -> httpx.AsyncClient:
        async with self._opening:
            if self._http is None:
                self._http = await asyncio.to_thread(_open_http, self._url)
            return self._http

    def _address(self, api: str) -> str:
        """A base with a path takes the API's name as its last part; a bare host wants it in the body only."""
        return f"{self._url}/{api}" if httpx.URL(self._url).path not in {"", "/"} else f"{self._url}/"


def _open_http(url: str) -> httpx.AsyncClient:
    """Make the client, without a proxy for this machine itself.

    Work for a thread: certificates and first imports take some 80 ms.

    No time-out of httpx's own: its read time-out never ends a slow drip, the deadline around the call does.
    """
    importlib.import_module("anyio")  # httpcore imports it with the first request, on the event loop
    here = url.partition("://")[2].startswith(("127.", "localhost", "[::1]"))
    return httpx.AsyncClient(timeout=None, trust_env=not here)  # noqa: S113 - see above


def _check_http(api: str, status: int) -> None:
    if status == httpx.codes.OK:
        return
    if status >= httpx.codes.INTERNAL_SERVER_ERROR:
        raise SourceUnreachable(f"{api} 服务器错误（HTTP {status}）")
    if status == _TOO_MANY_REQUESTS:
        raise SourceRateLimited(f"{api} 请求过于频繁（HTTP {status}）")
    if status == httpx.codes.FORBIDDEN:
        raise SourceBanned(f"{api} 拒绝访问（HTTP {status}），本机地址可能被封禁")
    raise SourceNonsense(f"{api} 应答异常（HTTP {status}）")


def _decode(api: str, fields: Sequence[str], body: bytes) -> Page:
    try:
        answer = json.loads(body)
        code = answer["code"]
    except (ValueError, KeyError, TypeError, RecursionError) as exc:
        raise SourceNonsense(f"{api} 的应答不是 Tushare 的 JSON 格式") from exc
    if code != 0:
        raise _refusal(api, code, str(answer.get("msg") or ""))
    try:
        data = answer["data"]
        names, items, more = list(data["fields"]), data["items"], bool(data.get("has_more"))
        missing = [name for name in fields if name not in names]
        if missing:
            raise SourceNonsense(f"{api} 缺少字段：{'、'.join(missing)}")
        if any(len(item) != len(names) for item in items):
            raise SourceNonsense(f"{api} 的行与字段数不符")
    except (KeyError, TypeError, AttributeError) as exc:
        raise SourceNonsense(f"{api} 的数据结构异常") from exc
    if names != list(fields):
        columns = [names.index(name) for name in fields]
        items = [[item[column] for column in columns] for item in items]
    return items, more


_MINUTE = re.compile(r"每分钟")
_LONGER = re.compile(r"每小时|每天|每日")
_PERMISSION = re.compile(r"权限|积分")


def _refusal(api: str, code: object, text: str) -> SourceError:
    """Name a refusal. 40203 means a rate limit or a missing permission; only the text tells, rate first."""
    text = text[:120]
    if code == _BAD_TOKEN:
        return SourceDenied(f"Tushare 令牌无效：{text}")
    if _MINUTE.search(text):
        return SourceRateLimited(f"{api} 超过每分钟调用限制：{text}", retry_after=_MINUTE_WAIT)
    if _LONGER.search(text):
        return SourceRateLimited(f"{api} 超过调用次数限制：{text}")
    if code == _LIMIT_OR_PERMISSION or _PERMISSION.search(text):
        return SourceDenied(f"没有 {api} 的访问权限：{text}")
    return SourceNonsense(f"{api} 返回错误 {code}：{text}")
