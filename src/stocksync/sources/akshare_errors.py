"""Where foreign errors become ours in AKShare's worker process: the one place that knows them all."""

from http.client import RemoteDisconnected
from typing import Final

import requests

from stocksync.errors import (
    SourceBanned,
    SourceEmpty,
    SourceError,
    SourceNonsense,
    SourceRateLimited,
    SourceTimeout,
    SourceUnreachable,
)

_FORBIDDEN: Final = 403
_TOO_MANY_REQUESTS: Final = 429
_SERVER_ERROR: Final = 500


def as_source_error(what: str, exc: Exception, *, empty: bool) -> SourceError:
    """Make an error of ours of whatever the library, requests or pandas raised while asking for `what`.

    `empty` says that the site had answered well, and that it has no rows: the library trips over that, too.
    """
    kind = type(exc).__name__
    if isinstance(exc, requests.HTTPError):
        return _refusal(what, 0 if exc.response is None else exc.response.status_code)
    if isinstance(exc, requests.Timeout):
        return SourceTimeout(f"{what}没有在时限内给出完整应答")
    if isinstance(exc, requests.ConnectionError | requests.exceptions.ChunkedEncodingError):
        if has_cause(exc, RemoteDisconnected):
            return SourceBanned(f"{what}不作应答就断开连接（RemoteDisconnected），本机地址可能被封禁")
        return SourceUnreachable(f"{what}连接失败（{kind}）")
    if empty:
        return SourceEmpty(f"{what}没有返回任何数据")
    return SourceNonsense(f"{what}的应答与 akshare 预期的格式不符（{kind}）")


def _refusal(what: str, status: int) -> SourceError:
    if status == _FORBIDDEN:
        return SourceBanned(f"{what}拒绝访问（HTTP {status}），本机地址可能被封禁")
    if status == _TOO_MANY_REQUESTS:
        return SourceRateLimited(f"{what}请求过于频繁（HTTP {status}）")
    if status >= _SERVER_ERROR:
        return SourceUnreachable(f"{what}服务器错误（HTTP {status}）")
    return SourceNonsense(f"{what}应答异常（HTTP {status}）")


def has_cause(exc: BaseException, kind: type[BaseException]) -> bool:
    """Whether an error was caused by, or wraps as an argument, one of this kind."""
    if isinstance(exc, kind):
        return True
    inner = (arg for arg in (*exc.args, exc.__cause__) if isinstance(arg, BaseException))
    return any(has_cause(error, kind) for error in inner)
