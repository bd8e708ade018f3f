"""The web page: whatever no route answers, and a browser asks for.

Its files are built into the package. They are read once, when the server starts; only what was found then can
be asked for, so no path leads anywhere else.
"""

import hashlib
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

BUILT: Final = Path(__file__).parents[1] / "web_dist"

_INDEX: Final = "/index.html"
_HASHED: Final = "/assets/"
_SERVERS_OWN: Final = frozenset(
    {"api", "assets", "docs", "health", "livez", "metrics", "openapi.json", "problems", "readyz", "redoc"}
)
"""First parts of paths that are never a view of the page."""

_ENCODINGS: Final = {"br": ".br", "gzip": ".gz"}
"""In the order in which they are preferred."""

_HOW_TO_BUILD: Final = "页面尚未构建：请运行 make page（需要 Node.js），然后重新启动服务。接口文档见 /docs\n"

_POLICY: Final = (
    "default-src 'self'; "
    "style-src 'self' 'unsafe-inline'; "  # the components position themselves by style attributes
    "img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_SECURITY: Final = {
    "Content-Security-Policy": _POLICY,
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PageFile:
    """One file of the page: its bytes by content encoding ("" is none), each with its tag."""

    media_type: str
    cache_control: str
    forms: Mapping[str, tuple[bytes, str]]

    def answer(self, headers: Headers) -> Response:
        """The form that the client prefers, or 304 where it has that one."""
        accepted = _accepted(headers.get("accept-encoding", ""))
        encoding = next((name for name in _ENCODINGS if name in self.forms and name in accepted), "")
        body, tag = self.forms[encoding]
        sent = {**_SECURITY, "Cache-Control": self.cache_control, "ETag": tag, "Vary": "Accept-Encoding"}
        if encoding:
            sent["Content-Encoding"] = encoding
        if tag in (known.strip() for known in headers.get("if-none-match", "").split(",")):
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=sent)
        return Response(body, headers=sent, media_type=self.media_type)


def read_page(folder: Path = BUILT) -> Mapping[str, PageFile]:
    """Read the built page; empty where it is not built. The keys are the paths that browsers ask for."""
    packed = tuple(_ENCODINGS.values())
    files = {f"/{file.relative_to(folder).as_posix()}": file for file in folder.rglob("*") if file.is_file()}
    return {
        path: _read(file, cache_for_good=path.startswith(_HASHED))
        for path, file in files.items()
        if "/." not in path and not path.endswith(packed)
    }


def install(api: FastAPI, files: Mapping[str, PageFile]) -> None:
    """Answer browsers with the page where no route matches; everything else stays a 404."""
    not_found: ASGIApp = api.router.default

    async def page(scope: Scope, receive: Receive, send: Send) -> None:
        answer = _answer(scope, files) if scope["type"] == "http" else None
        await (answer or not_found)(scope, receive, send)

    api.router.default = page


def _answer(scope: Scope, files: Mapping[str, PageFile]) -> Response | None:
    if scope["method"] not in {"GET", "HEAD"}:
        return None
    path, headers = scope["path"], Headers(scope=scope)
    if path in files and path != _INDEX:
        return files[path].answer(headers)
    if not _is_view(path, headers):
        return None
    if _INDEX not in files:
        return PlainTextResponse(_HOW_TO_BUILD, HTTPStatus.NOT_FOUND)
    return files[_INDEX].answer(headers)


def _is_view(path: str, headers: Headers) -> bool:
    """Whether the page itself decides what is at this path: deep links are views, not files."""
    if path == "/":
        return True
    return path.split("/")[1] not in _SERVERS_OWN and "text/html" in headers.get("accept", "")


def _read(file: Path, *, cache_for_good: bool) -> PageFile:
    forms = {"": file.read_bytes()}
    for encoding, suffix in _ENCODINGS.items():
        packed = file.with_name(file.name + suffix)
        if packed.is_file():
            forms[encoding] = packed.read_bytes()
    return PageFile(
        media_type=mimetypes.guess_type(file.name)[0] or "application/octet-stream",
        cache_control="public, max-age=31536000, immutable" if cache_for_good else "no-cache",
        forms={encoding: (body, _tag(body)) for encoding, body in forms.items()},
    )


def _tag(body: bytes) -> str:
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def _accepted(header: str) -> set[str]:
    """The encodings that a client takes; one that it weighs with 0 it does not."""
    parts = (part.replace(" ", "").lower().partition(";q=") for part in header.split(","))
    return {name for name, _, weight in parts if weight.strip("0.") or not weight}
