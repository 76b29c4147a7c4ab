"""The FastAPI application around parts that fail: every error leaves it as a CellgateError."""

import asyncio
from typing import Any, cast

import httpx
import pytest

from service.api import build
from service.errors import (
    CellgateError,
    InvalidField,
    InvalidJson,
    MethodNotAllowed,
    NotFound,
    StoreUnavailable,
    TooManyValues,
    UnsupportedMediaType,
)
from service.metrics import Metrics, Registry, Scrape
from service.repository import Repository, Steering
from service.sessions import Resources
from tests.service.api.parts import Ready, sample_nothing


class Broken:
    """Fails whatever is done with it."""

    def __getattr__(self, name: str) -> Any:
        raise ZeroDivisionError("a bug")

    def __iter__(self) -> Any:
        raise ZeroDivisionError("a bug")


def request(method: str, path: str, *, readiness: Ready | None = None, **fields: Any) -> httpx.Response:
    """The response of the application alone; what it raises is raised here, as it is in the gate."""
    broken = cast(Any, Broken())
    repository, resources = cast(Repository, broken), cast(Resources, broken)
    app = build(
        repository=repository,
        resources=resources,
        readiness=readiness or Ready(),
        steering=cast(Steering, broken),
        is_admin=lambda _: True,
        max_reply_bytes=1 << 20,
        max_sequences=1,
        serves_ui=False,
        website=None,
        scrape=Scrape(Metrics(Registry()), sample_nothing),
    )

    async def call() -> httpx.Response:
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=True)
        async with httpx.AsyncClient(transport=transport, base_url="http://cellgate") as client:
            return await client.request(method, path, **fields)

    return asyncio.run(call())


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/models"),
        ("GET", "/models/vowels"),
        ("GET", "/sessions"),
        ("GET", "/sessions/call"),
        ("DELETE", "/sessions/call"),
        ("PUT", "/sessions/call/import"),
        ("GET", "/v2/models/vowels"),
        ("POST", "/v2/repository/index"),
    ],
)
def test_an_unexpected_error_of_a_route_is_raised_to_the_gate(method: str, path: str) -> None:
    with pytest.raises(ZeroDivisionError, match="a bug"):
        request(method, path)


@pytest.mark.parametrize("path", ["/health/ready", "/v2/health/ready"])
def test_an_error_of_ours_is_raised_to_the_gate_as_it_is(path: str) -> None:
    error = StoreUnavailable("down")
    with pytest.raises(StoreUnavailable) as raised:
        request("GET", path, readiness=Ready(error))
    assert raised.value is error


@pytest.mark.parametrize(
    ("method", "path", "kind", "detail"),
    [
        ("GET", "/nowhere", NotFound, "no route /nowhere; see /docs"),
        ("GET", "/v2/nowhere", NotFound, "no route /v2/nowhere; see /docs"),
        ("POST", "/models", MethodNotAllowed, "POST /models: Method Not Allowed"),
        ("DELETE", "/v2", MethodNotAllowed, "DELETE /v2: Method Not Allowed"),
        ("GET", "/sessions?limit=0", InvalidField, "query parameter limit: "),
    ],
)
def test_an_error_of_the_framework_is_translated(
    method: str, path: str, kind: type[CellgateError], detail: str
) -> None:
    with pytest.raises(kind) as raised:
        request(method, path)
    assert raised.value.detail.startswith(detail)


def test_the_methods_of_a_path_are_in_the_header_allow() -> None:
    with pytest.raises(MethodNotAllowed) as raised:
        request("POST", "/models")
    assert raised.value.headers() == [(b"allow", b"GET, HEAD")]


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("POST", "/sessions/call", b"GET, HEAD, PUT, PATCH, DELETE"),
        ("POST", "/sessions/call/export", b"GET, HEAD"),  # not those of a session "call/export"
        ("DELETE", "/predict", b"POST"),
        ("DELETE", "/v2/models/m/infer", b"POST"),
    ],
)
def test_every_method_of_a_path_is_in_the_header_allow(method: str, path: str, allow: bytes) -> None:
    with pytest.raises(MethodNotAllowed) as raised:
        request(method, path)
    assert raised.value.headers() == [(b"allow", allow)]


@pytest.mark.parametrize(
    ("body", "kind", "error", "pointer"),
    [
        (b"{nope", "application/json", InvalidJson, None),
        (b"{}", "text/plain", UnsupportedMediaType, None),
        (b'{"step": true}', "application/json", InvalidField, "/step"),
        (b'{"stepp": 1}', "application/json", InvalidField, "/stepp"),
        (b"[]", "application/json", InvalidField, ""),
        (b"\xff", "application/json", InvalidJson, None),
        (b'{"state":[' + b"[" * 100_000, "application/json", InvalidJson, None),  # it was a RecursionError
        (b"{%b}" % b",".join(b'"%d":1' % i for i in range(65)), "application/json", InvalidField, ""),
        (b'{"state":{"h":[%b]}}' % b",".join([b"[]"] * 200_000), "application/json", TooManyValues, None),
    ],
)
def test_a_bad_body_is_translated(
    body: bytes, kind: str, error: type[CellgateError], pointer: str | None
) -> None:
    with pytest.raises(error) as raised:
        request("PUT", "/sessions/call", content=body, headers={"content-type": kind})
    assert raised.value.pointer == pointer
