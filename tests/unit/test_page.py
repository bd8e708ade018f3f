"""How the page is served: which paths are views, what is cached and how, what stays a problem."""

import gzip
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from stocksync.api import page, problems

BROWSER = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
SCRIPT = b"console.log('page')\n" * 100


@pytest.fixture
def built(tmp_path: Path) -> Path:
    folder = tmp_path / "web_dist"
    (folder / "assets").mkdir(parents=True)
    (folder / ".vite").mkdir()
    (folder / "index.html").write_text("<!doctype html><title>stocksync</title>")
    (folder / "preferences.js").write_text("// theme")
    (folder / "assets/index-1a2b.js").write_bytes(SCRIPT)
    (folder / "assets/index-1a2b.js.gz").write_bytes(gzip.compress(SCRIPT))
    (folder / "assets/index-1a2b.js.br").write_bytes(b"packed")
    (folder / ".vite/manifest.json").write_text("{}")
    (tmp_path / "secret.txt").write_text("secret")
    return folder


def client(folder: Path) -> httpx.AsyncClient:
    api = FastAPI()
    problems.install(api)

    @api.post("/api/thing")
    async def thing() -> None: ...

    page.install(api, page.read_page(folder))
    return httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://localhost")


@pytest.mark.parametrize("path", ["/", "/history", "/history/20261124-183000-1f0c9a2b", "/logs"])
async def test_a_browser_gets_the_page_at_every_view(built: Path, path: str) -> None:
    answer = await client(built).get(path, headers=BROWSER)
    assert answer.status_code == 200
    assert "<title>stocksync" in answer.text
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"
    again = await client(built).get(path, headers={**BROWSER, "if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


async def test_head_is_answered_like_get(built: Path) -> None:
    answer = await client(built).head("/", headers=BROWSER)
    assert answer.status_code == 200
    assert int(answer.headers["content-length"]) > 0


@pytest.mark.parametrize(
    "path",
    ["/api", "/api/nothing", "/problems/x", "/metrics", "/health", "/assets/gone.js", "/openapi.json/x"],
)
async def test_the_servers_own_paths_stay_problems(built: Path, path: str) -> None:
    answer = await client(built).get(path, headers=BROWSER)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


async def test_whoever_does_not_want_html_gets_no_page(built: Path) -> None:
    http = client(built)
    assert (await http.get("/history")).headers["content-type"] == "application/problem+json"
    assert (await http.post("/history", headers=BROWSER)).status_code == 404
    assert (await http.get("/api/thing", headers=BROWSER)).status_code == 405


async def test_hashed_files_are_kept_for_good_and_others_are_not(built: Path) -> None:
    http = client(built)
    assert (await http.get("/assets/index-1a2b.js")).headers[
        "cache-control"
    ] == "public, max-age=31536000, immutable"
    assert (await http.get("/preferences.js")).headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("gzip, deflate, br", "br"),
        ("gzip", "gzip"),
        ("br;q=0, gzip;q=0.5", "gzip"),
        ("identity", None),
        ("br;q=0.000,gzip;q=0", None),
        ("", None),
    ],
)
async def test_a_client_gets_the_packed_form_that_it_takes(
    built: Path, accepted: str, encoding: str | None
) -> None:
    async with client(built).stream(
        "GET", "/assets/index-1a2b.js", headers={"accept-encoding": accepted}
    ) as answer:
        assert answer.headers.get("content-encoding") == encoding
        assert answer.headers["vary"] == "Accept-Encoding"
        body = b"".join([part async for part in answer.aiter_raw()])
    assert body == {"br": b"packed", "gzip": gzip.compress(SCRIPT), None: SCRIPT}[encoding]


async def test_each_form_has_a_tag_of_its_own(built: Path) -> None:
    http = client(built)
    tags = {
        (await http.get("/assets/index-1a2b.js", headers={"accept-encoding": form})).headers["etag"]
        for form in ("gzip", "identity")
    }
    assert len(tags) == 2


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "/assets/..%2f..%2fsecret.txt",
        "/assets/%2e%2e/%2e%2e/secret.txt",
        "/x//secret.txt",
        "/.vite/manifest.json",
        "/assets/index-1a2b.js.gz",
        "/index.html",
    ],
)
async def test_no_path_leads_elsewhere(built: Path, path: str) -> None:
    answer = await client(built).get(path)
    assert answer.status_code == 404
    assert "secret" not in answer.text.replace("secret.txt", "")


async def test_the_page_may_load_and_send_nothing_elsewhere(built: Path) -> None:
    headers = (await client(built).get("/", headers=BROWSER)).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'self'"
    assert "script-src" not in policy
    assert policy["frame-ancestors"] == "'none'"
    assert headers["x-content-type-options"] == "nosniff"


async def test_a_page_that_is_not_built_says_how_to_build_it(tmp_path: Path) -> None:
    http = client(tmp_path / "nothing")
    answer = await http.get("/", headers=BROWSER)
    assert answer.status_code == 404
    assert "make page" in answer.text
    assert (await http.get("/api/nothing")).headers["content-type"] == "application/problem+json"
