"""deploy/nginx with a real nginx: a request is sent to another replica only if none has received it."""

import contextlib
import socket
import socketserver
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import httpx
import pytest

from tests.e2e.nginx import Nginx, needs_nginx, nginx

pytestmark = needs_nginx

BODY = b'{"step": 0}'
# Requests that change state. Repeating DELETE or `PUT …?replace=true` may undo what another client did since.
CHANGES = [
    ("POST", "/predict", BODY),
    ("POST", "/v2/models/vowels/infer", BODY),
    ("POST", "/sessions/call/fork", BODY),
    ("PUT", "/sessions/call?replace=true", BODY),
    ("PUT", "/sessions/call?replace=true", b""),
    ("PUT", "/sessions/call/import?replace=true", bytes(1 << 20)),
    ("PATCH", "/sessions/call", BODY),
    ("DELETE", "/sessions/call", None),
    ("DELETE", "/%73essions/call", None),
]
IDS = [f"{method} {path}, {'no' if body is None else len(body)} bytes" for method, path, body in CHANGES]


class Replica(socketserver.ThreadingTCPServer):
    """Reads whole requests; answers 200 or, if it `dies`, closes the connection without an answer."""

    daemon_threads = True

    def __init__(self, *, dies: bool) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.dies = dies
        self.seen: list[str] = []

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class _Handler(BaseHTTPRequestHandler):
    server: Replica
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.server.seen.append(f"{self.command} {self.path}")
        self.close_connection = True
        if not self.server.dies:
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

    do_PUT = do_PATCH = do_DELETE = do_POST


@contextlib.contextmanager
def replica(*, dies: bool) -> Iterator[Replica]:
    with Replica(dies=dies) as started:
        thread = threading.Thread(target=started.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield started
        finally:
            started.shutdown()
            thread.join()


@contextlib.contextmanager
def replica_that_is_down() -> Iterator[int]:
    """A port that refuses connections, and that no other process can take meanwhile."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def send(proxy: Nginx, method: str, path: str, body: bytes | None) -> httpx.Response:
    return httpx.request(method, proxy.url + path, content=body, timeout=30)


@pytest.mark.parametrize(("method", "path", "body"), CHANGES, ids=IDS)
def test_a_request_that_a_replica_received_is_sent_to_no_other(
    tmp_path: Path, method: str, path: str, body: bytes | None
) -> None:
    with replica(dies=True) as one, replica(dies=True) as other:
        with nginx(tmp_path, [one.port, other.port]) as proxy:
            answer = send(proxy, method, path, body)
        assert len(one.seen + other.seen) == 1, (one.seen, other.seen)
    assert (answer.status_code, answer.json()["code"]) == (502, "replica_lost")
    assert answer.headers["retry-after"] and answer.headers["x-request-id"]


@pytest.mark.parametrize(("method", "path", "body"), CHANGES, ids=IDS)
def test_a_replica_that_is_down_is_skipped(
    tmp_path: Path, method: str, path: str, body: bytes | None
) -> None:
    with (
        replica(dies=False) as alive,
        replica_that_is_down() as down,
        nginx(tmp_path, [down, alive.port]) as proxy,
    ):
        answers = [
            send(proxy, method, path, body) for _ in range(2)
        ]  # one of the two is the turn of the replica that is down
        assert [answer.status_code for answer in answers] == [200, 200]
        assert len(alive.seen) == 2
        replicas = {line["replica"] for line in proxy.requests(at_least=2)}
    assert any("," in addresses or " : " in addresses for addresses in replicas), replicas


def test_a_broken_connection_to_each_replica_does_not_stop_the_service(tmp_path: Path) -> None:
    """A worker that died in each replica was 502 for every client, for two seconds."""
    with (
        replica(dies=True) as one,
        replica(dies=True) as other,
        nginx(tmp_path, [one.port, other.port]) as proxy,
    ):
        lost = [send(proxy, "POST", "/predict", BODY) for _ in range(2)]
        one.dies = other.dies = False
        answers = [send(proxy, "POST", "/predict", BODY) for _ in range(4)]
    assert [answer.status_code for answer in lost] == [502, 502]
    assert [answer.status_code for answer in answers] == [200] * 4, [answer.text for answer in answers]


@pytest.mark.parametrize("path", ["/predict", "/sessions/call", "/v2/models/vowels/infer"])
def test_errors_of_nginx_have_the_form_of_the_servers_errors(tmp_path: Path, path: str) -> None:
    with (
        replica_that_is_down() as one,
        replica_that_is_down() as other,
        nginx(tmp_path, [one, other]) as proxy,
    ):
        down = send(proxy, "PUT", path, BODY)
        large = send(proxy, "PUT", path, bytes((16 << 20) + 1))
    assert (down.status_code, down.json()["code"]) == (502, "replica_lost")
    assert (large.status_code, large.json()["code"]) == (413, "body_too_large")
    kind = "application/json" if path.startswith("/v2") else "application/problem+json"
    assert down.headers["content-type"] == large.headers["content-type"] == kind
    assert down.headers["retry-after"] and down.headers["x-request-id"] and large.headers["x-request-id"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_a_request_to_a_silent_replica_is_not_sent_to_another(tmp_path: Path, method: str) -> None:
    with replica(dies=True) as other, socket.create_server(("127.0.0.1", 0)) as silent:
        ports = [silent.getsockname()[1], other.port]
        with nginx(tmp_path, ports, read_timeout_s=1) as proxy:
            answers = [send(proxy, method, "/sessions/call", None) for _ in ports]
        assert len(other.seen) == 1
    codes = {answer.status_code: answer.json()["code"] for answer in answers}
    assert codes == {504: "replica_silent", 502: "replica_lost"}
