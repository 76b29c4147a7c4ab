"""The ASGI adapter and the gate behind it, driven by ASGI messages."""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from service.errors import InvalidField, Overloaded
from service.http.asgi import AsgiAdapter
from service.http.fastapi_bridge import Message
from service.predict import Reply
from tests.service.http.gates import Answer, echo, make_gate

JSON = (b"content-type", b"application/json")


@dataclass
class Client:
    """One connection: what it sends, and what it got."""

    messages: list[Message]
    disconnects: bool = False
    sent: list[Message] = field(default_factory=list)

    async def receive(self) -> Message:
        if self.messages:
            return self.messages.pop(0)
        if self.disconnects:
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
    answer: Answer = echo,
    method: str = "POST",
    path: str = "/predict",
    draining: bool = False,
) -> list[dict[str, Any]]:
    """Serve one request; the access log."""
    lines: list[dict[str, Any]] = []

    async def serve() -> None:
        gate = make_gate(answer, access_log=lines.append, is_draining=draining)
        scope = {"type": "http", "method": method, "path": path, "headers": [JSON, *headers]}
        await asyncio.wait_for(AsgiAdapter(gate)(scope, client.receive, client.send), 60)
        assert gate.num_running == 0

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


@pytest.mark.parametrize("request_id", [b"", b"x" * 129, b"with space", b"caf\xe9", b"a\x7fb"])
def test_a_request_id_that_must_not_be_logged_is_replaced(request_id: bytes) -> None:
    clients = [Client(body_of(b"")), Client(body_of(b""))]
    for client in clients:
        ask(client, (b"x-request-id", request_id))
    ids = {client.headers[b"x-request-id"] for client in clients}
    assert len(ids) == 2 and request_id not in ids


@pytest.mark.parametrize(
    ("headers", "messages", "status", "code"),
    [
        ([(b"content-length", b"101")], body_of(b""), 413, "body_too_large"),
        ([], body_of(b"x" * 101), 413, "body_too_large"),
        ([], body_of(b"x" * 60, b"x" * 60), 413, "body_too_large"),
        ([(b"content-length", b"ten")], body_of(b""), 400, "bad_header"),
        ([(b"content-type", b"text/plain")], body_of(b""), 415, "unsupported_media_type"),
        ([], [{"type": "http.request", "body": b"x", "more_body": True}], 408, "body_timeout"),
        ([(b"content-length", b"9")], [], 408, "body_timeout"),  # none of the body arrives
    ],
)
def test_requests_refused_before_they_are_read(
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
def test_every_json_media_type_is_accepted(kind: bytes) -> None:
    client = Client(body_of(b"{}"))
    ask(client, (b"content-type", kind))
    assert client.status == 200


def test_an_error_has_its_pointer_and_retry_after() -> None:
    async def refuse(_: bytes) -> Reply:
        raise InvalidField("expected a number", pointer="/sequences/0")

    async def overload(_: bytes) -> Reply:
        raise Overloaded("full", retry_after_s=3)

    refused, overloaded = Client(body_of(b"")), Client(body_of(b""))
    ask(refused, answer=refuse)
    ask(overloaded, answer=overload)
    assert (refused.status, refused.problem["pointer"]) == (422, "/sequences/0")
    assert (overloaded.status, overloaded.headers[b"retry-after"]) == (503, b"3")


def test_an_unforeseen_exception_is_a_500_that_reveals_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(_: bytes) -> Reply:
        raise ZeroDivisionError("a secret")

    client = Client(body_of(b""))
    ask(client, answer=fail)
    assert (client.status, client.problem["code"]) == (500, "internal")
    assert b"secret" not in client.sent[1]["body"] and "a secret" in caplog.text


def test_a_client_that_disconnects_cancels_its_prediction() -> None:
    cancelled = []

    async def endless(_: bytes) -> Reply:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise
        raise AssertionError

    client = Client(body_of(b""), disconnects=True)
    lines = ask(client, answer=endless)
    assert cancelled == [True] and client.sent == []
    assert (lines[0]["status"], lines[0]["code"]) == (499, "client_disconnected")


def test_a_client_that_disconnects_before_its_body_is_complete_is_not_answered() -> None:
    client = Client([{"type": "http.request", "body": b"x", "more_body": True}], disconnects=True)
    lines = ask(client)
    assert client.sent == [] and lines[0]["status"] == 499


def test_while_draining_new_requests_are_refused_and_connections_close() -> None:
    client = Client(body_of(b"{}"))
    ask(client, draining=True)
    assert (client.status, client.problem["code"]) == (503, "draining")
    assert client.headers[b"connection"] == b"close" and int(client.headers[b"retry-after"]) >= 1


@pytest.mark.parametrize(("method", "path"), [("GET", "/predict"), ("GET", "/models"), ("POST", "/predict/")])
def test_every_other_request_goes_to_the_documented_application(method: str, path: str) -> None:
    client = Client(body_of(b""))
    lines = ask(client, (b"x-request-id", b"r-2"), method=method, path=path)
    assert (client.status, client.headers[b"x-app"], client.headers[b"x-request-id"]) == (204, b"yes", b"r-2")
    assert (lines[0]["status"], lines[0]["path"]) == (204, path)
