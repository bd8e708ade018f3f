"""Every HTTP request that the akshare library makes in this worker process goes through here.

The library opens a session for each call, mostly without a time-out, and ignores status codes. So the one
place that all its requests pass, `requests.adapters.HTTPAdapter.send`, is replaced: with a time-out, a
deadline for the whole body (a read time-out never ends a slow drip), retries of what may heal, errors for
refusals, and, for tests and the demo, another host. Only a worker process may import this.
"""

import io
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.client import RemoteDisconnected
from typing import Any, Final
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter

from stocksync.sources.akshare_errors import has_cause

TIMEOUT: Final = 15.0
"""Seconds of silence, while connecting or reading, after which an answer is given up."""

BODY_DEADLINE: Final = 20.0
"""Seconds for one whole answer; a healthy one takes about one."""

_RETRY_WAITS: Final = (1.0, 3.0)
"""Seconds before asking again after a transport failure; a ban must not be hammered."""

_CHUNK: Final = 65_536
_BAD_REQUEST: Final = 400
_SERVER_ERROR: Final = 500


@dataclass(slots=True)
class Wire:
    """The requests of one call, as they went: what the library itself does not tell of the answers."""

    redirect: str | None = None
    """"http://host:port" that stands in for every host, or None for the real ones."""
    first_body: bytes | None = field(default=None)
    """The body of the call's first good answer, decoded as HTTP has it."""

    def begin(self) -> None:
        """Forget the last call's answers."""
        self.first_body = None

    def pause(self, seconds: float) -> None:
        """Wait, unless a replica answers, which nobody needs to be polite to."""
        if self.redirect is None:
            time.sleep(seconds)


def install(redirect: str | None) -> Wire:
    """Put our `send` in the place of the library's, for the life of this process."""
    wire = Wire(redirect=redirect.rstrip("/") if redirect else None)
    adapters: Any = HTTPAdapter
    original: Callable[..., Any] = adapters.send

    def send(adapter: HTTPAdapter, request: Any, **options: Any) -> Any:
        if wire.redirect is not None:
            request, options = _redirected(request, options, wire.redirect)
        options["timeout"] = min(options.get("timeout") or TIMEOUT, TIMEOUT)
        for wait in _RETRY_WAITS:
            try:
                return _exchange(original, wire, adapter, request, options)
            except requests.RequestException as exc:
                if not _may_heal(exc):
                    raise
            wire.pause(wait)
        return _exchange(original, wire, adapter, request, options)

    adapters.send = send
    return wire


def _redirected(
    request: Any, options: Mapping[str, Any], redirect: str
) -> tuple[requests.PreparedRequest, dict[str, Any]]:
    """Address the same request to the replica, past any proxy; the original host leads its path."""
    parts = urlsplit(str(request.url))
    query = f"?{parts.query}" if parts.query else ""
    copy: requests.PreparedRequest = request.copy()
    copy.url = f"{redirect}/{parts.netloc}{parts.path}{query}"
    copy.headers.pop("Host", None)  # the library sets it by hand for some hosts
    return copy, {**options, "proxies": {}}


def _exchange(
    original: Callable[..., Any], wire: Wire, adapter: HTTPAdapter, request: Any, options: Mapping[str, Any]
) -> requests.Response:
    """Ask once and read the whole answer. Raises requests.RequestException, also for a refusal by status."""
    deadline = time.monotonic() + BODY_DEADLINE
    response: requests.Response = original(adapter, request, **options)
    body = _read(response, deadline)
    # The body is already decoded, so what stands in for the connection carries no headers.
    response.raw = urllib3.HTTPResponse(body=io.BytesIO(body), preload_content=False)
    if response.status_code >= _BAD_REQUEST:
        raise requests.HTTPError(f"HTTP {response.status_code}", response=response)
    if wire.first_body is None:
        wire.first_body = body
    return response


def _read(response: requests.Response, deadline: float) -> bytes:
    raw = response.raw
    chunks: list[bytes] = []
    try:
        while chunk := raw.read1(_CHUNK, decode_content=True):
            chunks.append(chunk)
            if time.monotonic() > deadline:
                raise requests.ReadTimeout("the body never ends", request=response.request)
    except urllib3.exceptions.ReadTimeoutError as exc:
        raise requests.ReadTimeout(exc, request=response.request) from exc
    except urllib3.exceptions.DecodeError as exc:
        raise requests.exceptions.ContentDecodingError(exc, request=response.request) from exc
    except (urllib3.exceptions.HTTPError, OSError) as exc:
        if isinstance(exc, requests.RequestException):
            raise
        raise requests.exceptions.ChunkedEncodingError(exc, request=response.request) from exc
    finally:
        raw.close()
    return b"".join(chunks)


def _may_heal(exc: requests.RequestException) -> bool:
    """Whether the transport failed. A time-out was long enough by itself, and a ban is never hammered."""
    if has_cause(exc, RemoteDisconnected):
        return False
    if isinstance(exc, requests.HTTPError):
        return exc.response is not None and exc.response.status_code >= _SERVER_ERROR
    if isinstance(exc, requests.Timeout):
        return False
    return isinstance(exc, requests.ConnectionError | requests.exceptions.ChunkedEncodingError)
