"""Blocks answered by a server: what is sent again, what is halved, and what ends the run."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from service.errors import StartupError
from service.manifest import Manifest
from service.offline.answers import LineEncoder
from service.offline.lines import LineBlock
from service.offline.remote import RemotePool, Target

MANIFEST = Manifest.model_validate(
    {"task": "classify", "inputs": [{"name": "x"}], "outputs": [{"name": "y"}]}
)


class Handler(BaseHTTPRequestHandler):
    """Answers each sequence with its sum; `replies` come first."""

    protocol_version = "HTTP/1.1"
    replies: list[tuple[int, dict[str, Any]]]
    bodies: list[dict[str, Any]]
    max_sequences = 99

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.bodies.append(body)
        if self.replies:
            self._send(*self.replies.pop(0))
        elif len(body["sequences"]) > self.max_sequences:
            self._send(413, {"code": "body_too_large", "detail": "too large"})
        elif len(body["sequences"]) == 1 and sum(body["sequences"][0]["steps"]) < 0:
            self._send(422, {"code": "bad", "detail": "negative", "pointer": "/sequences/0/steps/0"})
        else:
            self._send(200, {"predictions": [self._answer(each) for each in body["sequences"]]})

    def _answer(self, sequence: dict[str, list[float]]) -> dict[str, Any]:
        if sum(sequence["steps"]) < 0:
            return {"error": {"code": "bad", "detail": "negative", "pointer": "/sequences/5/steps/0"}}
        return {"output": sum(sequence["steps"])}

    def _send(self, status: int, document: dict[str, Any]) -> None:
        content = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        self.send_header("retry-after", "0")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on stderr."""


@pytest.fixture
def handler() -> type[Handler]:
    return type("Own", (Handler,), {"replies": [], "bodies": []})


@pytest.fixture
def pool(handler: type[Handler]) -> Iterator[RemotePool]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    opened = RemotePool(Target(url, "sums", None), MANIFEST, LineEncoder(), 1)
    yield opened
    opened.close()
    server.shutdown()
    thread.join()
    server.server_close()


def block(*numbers: int) -> LineBlock:
    return LineBlock([b'{"id": %d, "steps": [%d]}' % (n, n) if n else b"oops" for n in numbers], 1.0)


EXPECTED = [
    {"id": 1, "output": 1},
    {"id": -2, "error": {"code": "bad", "detail": "negative", "pointer": "/steps/0"}},
    {"id": 3, "output": 3},
]


def entries(pool: RemotePool, *numbers: int) -> list[dict[str, Any]]:
    answered = pool.answer(block(*numbers))
    return [json.loads(line) for line in answered.encoded.splitlines()]


@pytest.mark.parametrize("most", [99, 2, 1])
def test_a_request_that_is_too_large_is_halved(most: int, handler: type[Handler], pool: RemotePool) -> None:
    handler.max_sequences = most
    assert entries(pool, 1, -2, 3) == EXPECTED


def test_an_overloaded_server_is_asked_again(handler: type[Handler], pool: RemotePool) -> None:
    handler.replies = [(503, {"code": "overloaded"}), (429, {})]
    assert entries(pool, 1, -2, 3) == EXPECTED
    assert [body["sequences"] for body in handler.bodies] == [[{"steps": [n]} for n in (1, -2, 3)]] * 3


def test_a_sequence_that_is_refused_for_now_is_sent_again_alone(
    handler: type[Handler], pool: RemotePool
) -> None:
    """It was written as an error, although the server was only busy."""
    busy = {"error": {"code": "overloaded", "status": 503, "detail": "busy"}}
    handler.replies = [(200, {"predictions": [busy, {"output": -2}, busy]})]
    assert [entry["output"] for entry in entries(pool, 1, 5, 3)] == [1, -2, 3]
    assert [len(body["sequences"]) for body in handler.bodies] == [3, 2]


def test_a_line_that_is_not_json_is_not_sent(handler: type[Handler], pool: RemotePool) -> None:
    first, second = entries(pool, 0, 3)
    assert first["error"]["code"] == "invalid_json" and second == {"id": 3, "output": 3}
    assert len(handler.bodies[0]["sequences"]) == 1


def test_a_server_that_refuses_the_client_ends_the_run(handler: type[Handler], pool: RemotePool) -> None:
    handler.replies = [(401, {"detail": "no key"})]
    with pytest.raises(StartupError, match="the server answers 401: no key"):
        entries(pool, 1)
