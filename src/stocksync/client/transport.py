"""What both shells do alike with httpx."""

import ipaddress
from collections.abc import Mapping
from typing import Any, Final

import httpx

from stocksync import __version__
from stocksync.client.flow import Reply, Request
from stocksync.errors import Unreachable

USER_AGENT: Final = f"stocksync-client/{__version__}"

_CONNECT_SECONDS: Final = 5.0
_SCHEMES: Final = frozenset({"http", "https"})


def options(url: str, user_agent: str) -> Mapping[str, Any]:
    """How a client of httpx is to be made. Raises ValueError for what is no address of a server.

    Proxies come from the environment, but nobody's proxy can reach this machine's own loopback.
    """
    try:
        base = httpx.URL(url)
    except httpx.InvalidURL as exc:
        raise ValueError(f"{exc}") from exc
    if base.scheme not in _SCHEMES or not base.host:
        raise ValueError("应为 http://主机:端口 的形式")
    return {
        "base_url": base,
        "headers": {"User-Agent": user_agent},
        "trust_env": not _is_loopback(base.host),
    }


def prepared(http: httpx.Client | httpx.AsyncClient, request: Request) -> httpx.Request:
    """Put a request into httpx's terms."""
    timeout = httpx.Timeout(_CONNECT_SECONDS, read=request.silence)
    return http.build_request(
        request.method,
        request.path,
        params=request.query,
        headers=request.headers,
        json=request.json,
        timeout=timeout,
    )


def reply_of(answer: httpx.Response, body: bytes = b"") -> Reply:
    """What came back, without httpx."""
    headers = {name.lower(): value for name, value in answer.headers.items()}
    return Reply(status=answer.status_code, headers=headers, body=body)


def unreachable(base: httpx.URL, error: httpx.RequestError) -> Unreachable:
    """Say which server did not answer, and how; credentials in its address stay out of it."""
    reason = str(error) or type(error).__name__
    return Unreachable(f"无法访问服务器 {base.scheme}://{base.netloc.decode('ascii')}：{reason}")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
