"""`Idempotency-Key` on a real server, whose workers share the stored replies."""

import uuid
from typing import Any

import httpx
import pytest

from tests.e2e.server import Server

Steps = list[list[float]]


def ask(
    server: Server, key: str, body: dict[str, Any], path: str = "/predict", **options: Any
) -> httpx.Response:
    """On a connection of its own, so that any worker may answer."""
    return httpx.post(server.url + path, json=body, headers={"idempotency-key": key}, timeout=30, **options)


@pytest.fixture
def key() -> str:
    return f'"{uuid.uuid4()}"'


def test_a_retry_gets_the_stored_reply_from_every_worker(server: Server, key: str, utterance: Steps) -> None:
    body = {"sequences": [utterance]}
    first = ask(server, key, body)
    assert first.status_code == 200 and "idempotent-replayed" not in first.headers
    for query in ("", "", "", "?by=asgi"):
        again = ask(server, key, body, f"/predict{query}")
        assert again.headers["idempotent-replayed"] == "true" and again.content == first.content
    for other in (ask(server, key, {"sequences": [utterance[:3]]}), ask(server, key, body, "/generate")):
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")
    assert "idempotent-replayed" not in ask(server, f'"{uuid.uuid4()}"', body).headers


def test_an_error_is_not_stored_and_no_session_appears(
    server: Server, client: httpx.Client, key: str, utterance: Steps
) -> None:
    for _ in range(2):
        assert ask(server, key, {"sequences": [[[1.0]]]}).json()["code"] == "wrong_shape"
    assert ask(server, key, {"sequences": [utterance]}).status_code == 200
    names = [entry["session"] for entry in client.get("/sessions").json()["sessions"]]
    assert not [name for name in names if key.strip('"') in name]


def test_in_a_session_only_a_step_makes_a_retry_safe(
    server: Server, key: str, utterance: Steps, session: str
) -> None:
    body: dict[str, Any] = {"sequences": [{"steps": utterance[:2], "session": session}]}
    refused = ask(server, key, body)
    assert (refused.status_code, refused.json()["pointer"]) == (422, "/sequences/0/session")
    body["sequences"][0]["at"] = 0
    first = ask(server, key, body)
    assert first.json()["predictions"][0]["step"] == 2
    assert ask(server, key, body).content == first.content
    assert httpx.get(f"{server.url}/sessions/{session}", timeout=60).json()["step"] == 2


def test_a_key_that_is_none_is_refused(server: Server, utterance: Steps) -> None:
    response = ask(server, "two words", {"sequences": [utterance]})
    assert (response.status_code, response.json()["code"]) == (400, "bad_header")
