"""The FastAPI routes around parts that fail: every answer has the form of its API, whatever went wrong."""

import asyncio
import json
import logging

import httpx
import pytest

from service.api.application import build
from service.errors import StoreUnavailable
from service.http.gate import Front
from service.predict import Reply
from service.repository import Repository
from service.sessions.resources import Resources
from service.sessions.store import Limits
from service.sessions.store.memory import MemoryStore


class DownStore(MemoryStore):
    """Does not answer."""

    async def check(self) -> None:
        raise StoreUnavailable("down")


def broken_repository() -> Repository:
    raise ZeroDivisionError("a bug")


def broken_resources() -> Resources:
    raise ZeroDivisionError("a bug")


async def no_predict(_body: bytes, _tenant: str) -> Reply:
    raise AssertionError


def ask(method: str, path: str, *, is_ready: bool = True, store_is_down: bool = False) -> httpx.Response:
    """Asked of a front, as a server has it; an exception that got through would be raised here."""
    store = (DownStore if store_is_down else MemoryStore)(Limits())
    routes = build(broken_repository, store, broken_resources, lambda: is_ready, max_sequences=1)
    front = Front(no_predict, routes, max_body_bytes=1000, body_timeout_s=1)

    async def work() -> httpx.Response:
        transport = httpx.ASGITransport(app=front)
        async with httpx.AsyncClient(transport=transport, base_url="http://cellgate") as client:
            return await client.request(method, path, headers={"x-request-id": "r-1"})

    return asyncio.run(work())


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
def test_what_nobody_foresaw_is_logged_and_answered_in_the_usual_form(
    method: str, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        answer = ask(method, path)
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert answer.headers["x-request-id"] == "r-1"
    is_v2 = path.startswith("/v2")
    assert answer.headers["content-type"] == ("application/json" if is_v2 else "application/problem+json")
    assert ("error" if is_v2 else "detail") in answer.json()
    assert "a bug" not in answer.text
    (line,) = caplog.records
    assert "r-1" in line.getMessage() and line.exc_info and line.exc_info[0] is ZeroDivisionError


@pytest.mark.parametrize("path", ["/health/ready", "/v2/health/ready"])
def test_both_faces_are_of_one_mind_about_readiness(path: str) -> None:
    assert ask("GET", path).status_code == 200
    assert ask("GET", f"{path}?sessions=false", store_is_down=True).status_code == 200
    for answer, code in (
        (ask("GET", path, store_is_down=True), "store_unavailable"),
        (ask("GET", path, is_ready=False), "draining"),
        (ask("GET", f"{path}?sessions=false", is_ready=False), "draining"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (503, code)
        assert int(answer.headers["retry-after"]) >= 1
        assert json.loads(answer.content)["error" if path.startswith("/v2") else "title"]
