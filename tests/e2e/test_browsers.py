"""What browsers and stock HTTP clients expect: CORS and content codings, on both ways to the gate."""

import gzip
from collections.abc import Iterator

import httpx
import pytest

from tests.e2e.server import Server, running

ORIGIN = "https://app.example.org"
BODY = {"sequences": [[[0.1] * 12] * 40], "return": "all"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(
        tmp_path_factory.mktemp("browsers"), cors_origins=f"{ORIGIN}, http://other", compress_min_bytes="500",
        keys="acme=sha256:" + "0" * 64,
    ) as started:  # fmt: skip
        yield started


@pytest.fixture(scope="module")
def keyless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("keyless"), cors_origins="*", compress_min_bytes="500") as started:
        yield started


@pytest.mark.parametrize("path", ["/predict", "/v2/models/vowels/infer", "/sessions", "/nowhere"])
def test_a_page_may_ask_without_a_key_and_read_the_refusal(server: Server, path: str) -> None:
    asks = {"origin": ORIGIN, "access-control-request-method": "POST"}
    preflight = httpx.options(
        server.url + path, headers=asks | {"access-control-request-headers": "x-api-key"}
    )
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-headers"] == "x-api-key"
    refused = httpx.post(server.url + path, json=BODY, headers={"origin": ORIGIN}, timeout=60)
    assert refused.status_code == 401
    for response in (preflight, refused):
        assert response.headers["access-control-allow-origin"] == ORIGIN
        assert "origin" in response.headers["vary"]
    other = httpx.options(server.url + path, headers=asks | {"origin": "https://evil.example"})
    assert other.status_code == 400 and "access-control-allow-origin" not in other.headers


@pytest.mark.parametrize("query", ["", "?x=1"], ids=["fast path", "ASGI"])
def test_bodies_are_compressed_both_ways(keyless: Server, query: str) -> None:
    url = f"{keyless.url}/predict{query}"
    headers = {"content-type": "application/json", "origin": ORIGIN}
    plain = httpx.post(url, json=BODY, headers=headers | {"accept-encoding": "identity"}, timeout=60)
    packed = gzip.compress(plain.request.content)
    answer = httpx.post(
        url,
        content=packed,
        headers=headers | {"content-encoding": "gzip", "accept-encoding": "gzip"},
        timeout=60,
    )
    assert answer.headers["content-encoding"] == "gzip" and "content-encoding" not in plain.headers
    assert int(answer.headers["content-length"]) < len(plain.content)
    assert answer.content == plain.content
    assert answer.headers["vary"] == plain.headers["vary"] == "accept-encoding"
    assert answer.headers["access-control-allow-origin"] == "*"
