"""The ASGI front, driven by ASGI messages around a `predict` of a few lines."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from service.errors import InvalidField, Overloaded
from service.http.gate import Front, Message, Receive, Scope, Send
from service.predict.predictor import Reply

JSON = (b"content-type", b"application/json")


async def echo(body: bytes, _tenant: str) -> Reply:
    return Reply(body, "m", "1", 1, 7)


async def documented(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": [(b"x-app", b"yes")]})
    await send({"type": "http.response.body", "body": b""})


@dataclass
class Client:
    """One connection: what it sends, and what it got."""

    messages: list[Message]
    hangs_up: bool = False
    sent: list[Message] = field(default_factory=list)

    async def receive(self) -> Message:
        if self.messages:
            return self.messages.pop(0)
        if self.hangs_up:
            return {"type": "http.disconnect"}
        await asyncio.Event().wait()
        raise AssertionError

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.sent[0]["headers"])

    @property
    def problem(self) -> dict[str, Any]:
        problem: dict[str, Any] = json.loads(self.sent[1]["body"])
        return problem


def body_of(*parts: bytes) -> list[Message]:
    return [
        {"type": "http.request", "body": part, "more_body": index < len(parts) - 1}
        for index, part in enumerate(parts)
    ]


def ask(
    client: Client,
    *headers: tuple[bytes, bytes],
    predict: Callable[[bytes, str], Awaitable[Reply]] = echo,
    method: str = "POST",
    path: str = "/predict",
    draining: bool = False,
) -> list[dict[str, Any]]:
    """Serve one request; the access log."""
    lines: list[dict[str, Any]] = []

    async def serve() -> None:
        front = Front(predict, documented, max_body_bytes=100, body_timeout_s=0.05, access_log=lines.append)
        front.is_draining = draining
        scope = {"type": "http", "method": method, "path": path, "headers": [JSON, *headers]}
        await asyncio.wait_for(front(scope, client.receive, client.send), 10)
        assert front.num_running == 0

    asyncio.run(serve())
    return lines


def test_a_body_in_parts_is_answered_and_logged_on_one_line() -> None:
    client = Client(body_of(b"ab", b"", b"cd"))
    lines = ask(client, (b"x-request-id", b"r-1"))
    assert (client.status, client.sent[1]["body"]) == (200, b"abcd")
    assert client.headers[b"content-length"] == b"4" and client.headers[b"x-request-id"] == b"r-1"
    assert len(lines) == 1 and lines[0].pop("ms") >= 0
    assert lines[0] == {
        "id": "r-1", "method": "POST", "path": "/predict", "status": 200,
        "model": "m", "version": "1", "sequences": 1, "steps": 7,
    }  # fmt: skip


@pytest.mark.parametrize("given", [b"", b"x" * 129, b"with space", b"caf\xe9", b"a\x7fb"])
def test_an_id_unfit_for_a_log_is_replaced(given: bytes) -> None:
    clients = [Client(body_of(b"")), Client(body_of(b""))]
    for client in clients:
        ask(client, (b"x-request-id", given))
    made = {client.headers[b"x-request-id"] for client in clients}
    assert len(made) == 2 and given not in made


@pytest.mark.parametrize(
    ("headers", "messages", "status", "code"),
    [
        ([(b"content-length", b"101")], body_of(b""), 413, "body_too_large"),
        ([], body_of(b"x" * 101), 413, "body_too_large"),
        ([], body_of(b"x" * 60, b"x" * 60), 413, "body_too_large"),
        ([(b"content-length", b"ten")], body_of(b""), 400, "bad_header"),
        ([(b"content-type", b"text/plain")], body_of(b""), 415, "unsupported_media_type"),
        ([], [{"type": "http.request", "body": b"x", "more_body": True}], 408, "body_timeout"),
    ],
)
def test_what_is_refused_before_it_is_read(
    headers: list[tuple[bytes, bytes]], messages: list[Message], status: int, code: str
) -> None:
    client = Client(messages)
    lines = ask(client, *headers)
    assert (client.status, client.problem["code"], lines[0]["code"]) == (status, code, code)
    assert client.headers[b"content-type"] == b"application/problem+json"
    assert (client.headers.get(b"connection") == b"close") == (status in (408, 413))


@pytest.mark.parametrize(
    "kind", [b"application/json; charset=utf-8", b"Application/JSON", b"application/x+json"]
)
def test_every_way_to_say_json_is_taken(kind: bytes) -> None:
    client = Client(body_of(b"{}"))
    ask(client, (b"content-type", kind))
    assert client.status == 200


def test_an_error_is_a_problem_with_its_pointer_and_when_to_come_back() -> None:
    async def refuse(_: bytes, _tenant: str) -> Reply:
        raise InvalidField("expected a number", pointer="/sequences/0")

    async def overload(_: bytes, _tenant: str) -> Reply:
        raise Overloaded("full", retry_after_s=3)

    refused, overloaded = Client(body_of(b"")), Client(body_of(b""))
    ask(refused, predict=refuse)
    ask(overloaded, predict=overload)
    assert (refused.status, refused.problem["pointer"]) == (422, "/sequences/0")
    assert (overloaded.status, overloaded.headers[b"retry-after"]) == (503, b"3")


def test_our_own_bug_is_a_500_that_tells_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(_: bytes, _tenant: str) -> Reply:
        raise ZeroDivisionError("a secret")

    client = Client(body_of(b""))
    ask(client, predict=fail)
    assert (client.status, client.problem["code"]) == (500, "internal")
    assert b"secret" not in client.sent[1]["body"] and "a secret" in caplog.text


def test_a_client_that_hangs_up_cancels_its_prediction_and_only_it() -> None:
    cancelled = []

    async def endless(_: bytes, _tenant: str) -> Reply:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise
        raise AssertionError

    client = Client(body_of(b""), hangs_up=True)
    lines = ask(client, predict=endless)
    assert cancelled == [True] and client.sent == []
    assert (lines[0]["status"], lines[0]["code"]) == (499, "client_gone")


def test_a_client_gone_before_its_body_is_whole_is_not_answered() -> None:
    client = Client([{"type": "http.request", "body": b"x", "more_body": True}], hangs_up=True)
    lines = ask(client)
    assert client.sent == [] and lines[0]["status"] == 499


def test_while_draining_what_is_new_is_refused_and_connections_close() -> None:
    client = Client(body_of(b"{}"))
    ask(client, draining=True)
    assert (client.status, client.problem["code"]) == (503, "draining")
    assert client.headers[b"connection"] == b"close" and int(client.headers[b"retry-after"]) >= 1


@pytest.mark.parametrize(("method", "path"), [("GET", "/predict"), ("GET", "/models"), ("POST", "/predict/")])
def test_everything_else_goes_to_the_documented_application(method: str, path: str) -> None:
    client = Client(body_of(b""))
    lines = ask(client, (b"x-request-id", b"r-2"), method=method, path=path)
    assert (client.status, client.headers[b"x-app"], client.headers[b"x-request-id"]) == (204, b"yes", b"r-2")
    assert (lines[0]["status"], lines[0]["path"]) == (204, path)
