"""Every invalid request gets a status, a code and a pointer; every failed start reports its reason."""

import contextlib
import gzip
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import first, predict
from tests.e2e.server import ROOT, START_S, Server, running
from tests.ports import free_port

ROW = [0.1] * 12
JSON = {"content-type": "application/json"}


def with_steps(steps: Any, **fields: Any) -> dict[str, Any]:
    return {"sequences": [{"steps": steps, **fields}]}


BODIES: list[tuple[str, Any, int, str, str | None]] = [
    # what, body, status, code, pointer
    ("not JSON", b'{"sequences": [[[1, 2', 400, "invalid_json", None),
    ("not UTF-8", b'{"model": "\xff"}', 400, "invalid_json", None),
    ("NaN", b'{"sequences": [[[NaN]]]}', 400, "invalid_json", None),
    ("Infinity", b'{"sequences": [[[-Infinity]]]}', 400, "invalid_json", None),
    ("a number beyond JSON", b'{"sequences": [[[1e999]]]}', 400, "invalid_json", None),
    ("no object", [], 422, "invalid_field", ""),
    ("nothing", {}, 422, "invalid_field", "/sequences"),
    ("no sequence", {"sequences": []}, 422, "invalid_field", "/sequences"),
    ("an unknown field", {"sequences": [[ROW]], "modle": "vowels"}, 422, "invalid_field", "/modle"),
    ("an unknown field inside", with_steps([ROW], sesion="x"), 422, "invalid_field", "/sequences/0/sesion"),
    ("a text for a row", {"sequences": [["row"]]}, 422, "invalid_field", "/sequences/0/0"),
    ("a text for one", {"sequences": [[ROW, ["1", *ROW[1:]]]]}, 422, "invalid_field", "/sequences/0/1/0"),
    ("a boolean", {"sequences": [[[True, *ROW[1:]]]]}, 422, "invalid_field", "/sequences/0/0/0"),
    ("a null", {"sequences": [[[None, *ROW[1:]]]]}, 422, "invalid_field", "/sequences/0/0/0"),
    ("ragged rows", {"sequences": [[ROW, ROW[:5]]]}, 422, "wrong_shape", "/sequences/0/1"),
    ("the wrong width", {"sequences": [[[1.0, 2.0]]]}, 422, "wrong_shape", "/sequences/0/0"),
    ("rows in rows", {"sequences": [[[ROW]]]}, 422, "wrong_shape", "/sequences/0/0"),
    ("beyond float32", {"sequences": [[ROW, [*ROW[:-1], 1e39]]]}, 422, "non_finite", "/sequences/0/1/11"),
    ("an empty sequence", {"sequences": [[]]}, 422, "empty_sequence", "/sequences/0"),
    ("too long", {"sequences": [[ROW] * 2001]}, 422, "sequence_too_long", "/sequences/0"),
    ("too many", {"sequences": [[ROW]] * 1025}, 422, "too_many_sequences", "/sequences"),
    ("an unknown return", {"sequences": [[ROW]], "return": "some"}, 422, "invalid_field", "/return"),
    ("no output", {"sequences": [[ROW]], "outputs": []}, 422, "invalid_field", "/outputs"),
    ("an unknown output", {"sequences": [[ROW]], "outputs": ["y", "z"]}, 422, "invalid_field", "/outputs/1"),
    ("at without a session", with_steps([ROW], at=0), 422, "invalid_field", "/sequences/0"),
    ("at below zero", with_steps([ROW], session="x", at=-1), 422, "invalid_field", "/sequences/0/at"),
    ("at as a text", with_steps([ROW], session="x", at="0"), 422, "invalid_field", "/sequences/0/at"),
    ("end as a number", with_steps([ROW], session="x", end=1), 422, "invalid_field", "/sequences/0/end"),
    ("a name with a slash", with_steps([ROW], session="a/b"), 422, "invalid_field", "/sequences/0/session"),
    ("a name too long", with_steps([ROW], session="a" * 129), 422, "invalid_field", "/sequences/0/session"),
    ("an unknown model", {"model": "nope", "sequences": [[ROW]]}, 404, "unknown_model", "/model"),
    ("an unknown version", {"version": "99", "sequences": [[ROW]]}, 404, "unknown_version", "/version"),
    ("an unknown session", with_steps([ROW], session="never", at=7), 404, "unknown_session", "/sequences/0"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "status", "code", "pointer"), [b[1:] for b in BODIES], ids=[b[0] for b in BODIES]
)
def test_bad_bodies(client: httpx.Client, body: Any, status: int, code: str, pointer: str | None) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = client.post("/predict", content=content, headers=JSON)
    problem = response.json()
    assert (response.status_code, problem["status"], problem["code"]) == (status, status, code), problem
    assert problem.get("pointer") == pointer, problem
    assert response.headers["content-type"] == "application/problem+json"
    assert problem["detail"] and problem["title"]


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/octet-stream", "application/x-www-form-urlencoded"]
)
def test_other_content_types_are_refused(client: httpx.Client, kind: str) -> None:
    response = client.post("/predict", content=b"{}", headers={"content-type": kind})
    assert (response.status_code, response.json()["code"]) == (415, "unsupported_media_type")


def test_a_bad_sequence_among_many_fails_alone(client: httpx.Client) -> None:
    answers = client.post("/predict", json={"sequences": [[ROW], [[1.0]], [ROW]]}).json()["predictions"]
    assert answers[0] == answers[2] and "output" in answers[0]
    assert (answers[1]["error"]["code"], answers[1]["error"]["pointer"]) == ("wrong_shape", "/sequences/1/0")


@pytest.fixture(scope="module")
def bounded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with small bounds, of which each test reaches its own."""
    bounds = {"max_body_bytes": "1000", "max_sessions": "2", "body_timeout_s": "2"}
    with running(tmp_path_factory.mktemp("bounded"), **bounds) as server:
        yield server


def test_a_body_too_large_is_refused_whether_announced_or_not(bounded: Server) -> None:
    with httpx.Client(base_url=bounded.url, timeout=30) as client:
        announced = client.post("/predict", content=b" " * 2000, headers=JSON)
        streamed = client.post("/predict", content=iter([b" " * 600] * 3), headers=JSON)
        for response in (announced, streamed):
            assert (response.status_code, response.json()["code"]) == (413, "body_too_large")
        assert first(client.post("/predict", json={"sequences": [[ROW]]}))


def test_a_body_that_does_not_arrive_in_time_is_408(bounded: Server) -> None:
    with socket.create_connection(("127.0.0.1", bounded.port), timeout=30) as slow:
        slow.sendall(b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n"
                     b"content-type: application/json\r\n\r\n{")  # fmt: skip
        answer = slow.makefile("rb").read()  # until the server closes the connection
    assert b" 408 " in answer.partition(b"\r\n")[0] and b"body_timeout" in answer


@pytest.mark.promise(8)
def test_at_capacity_a_new_session_is_refused_and_live_ones_continue(bounded: Server) -> None:
    with httpx.Client(base_url=bounded.url, timeout=30) as client:
        assert [predict(client, [ROW], session=name).status_code for name in ("a", "b")] == [200, 200]
        refused = predict(client, [ROW], session="c")
        assert (refused.status_code, refused.json()["code"]) == (503, "session_capacity")
        assert int(refused.headers["retry-after"]) >= 1
        assert first(predict(client, [ROW], session="a"))["step"] == 2
        client.delete("/sessions/b")
        assert predict(client, [ROW], session="c").status_code == 200


def test_an_expired_session_is_410_and_starts_again_only_with_at_0(client: httpx.Client) -> None:
    assert client.put("/sessions/idle", json={"ttl_s": 0.05}).status_code == 201
    while client.get("/sessions/idle").status_code == 200:
        time.sleep(0.05)
    expired = predict(client, [ROW], session="idle")
    problem = expired.json()
    assert (expired.status_code, problem["code"], problem["reason"]) == (410, "session_gone", "expired")
    assert first(predict(client, [ROW], session="idle", at=0))["step"] == 1


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"CELLGATE_MODELS_DIR": "/nowhere"}, "no model in /nowhere"),
        ({"CELLGATE_PROVIDER": "cuda"}, "install the GPU build"),
        ({"CELLGATE_MAX_BATHC": "3"}, "CELLGATE_MAX_BATHC = '3' (from environment): no such option"),
        ({"CELLGATE_MAX_BATCH": "0"}, "greater than or equal to 1"),
        ({"CELLGATE_STORE": "memory", "CELLGATE_WORKERS": "2"}, "the memory store is not shared"),
    ],
)
def test_a_start_with_an_invalid_setting_fails_with_its_reason(
    settings: dict[str, str], expected: str
) -> None:
    command = [sys.executable, "-m", "service", "serve", "--port", str(free_port())]
    ended = subprocess.run(
        command,
        cwd=ROOT,
        env={"CELLGATE_WORKERS": "1"} | settings,
        capture_output=True,
        timeout=60,
        text=True,
    )
    assert ended.returncode != 0
    assert expected in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_port_in_use_ends_the_start(servers: Callable[[str], Server], tmp_path: Path, workers: str) -> None:
    second = Server(tmp_path, {"CELLGATE_WORKERS": workers}, port=servers(workers).port)
    second.launch()
    try:
        assert second.process.wait(60) != 0
    finally:
        second.reap()
    assert "address already in use" in second.log.read_text().lower()


def test_two_servers_never_share_a_port(tmp_path: Path) -> None:
    """Not even if the second starts before the workers of the first listen."""
    with running(tmp_path, workers="2") as first_server:
        second = Server(tmp_path / "second", {"CELLGATE_WORKERS": "2"}, port=first_server.port)
        (tmp_path / "second").mkdir()
        second.launch()
        assert second.process.wait(60) == 1 and "cannot listen on" in second.log.read_text()
    port = free_port()
    twins = [Server(tmp_path / name, {"CELLGATE_WORKERS": "2"}, port=port) for name in ("a", "b")]
    try:
        for twin in twins:
            twin.folder.mkdir()
            twin.launch()
            twin.wait_for_log("listening on|cannot listen on")
        assert "cannot listen on" in twins[1].log.read_text()
    finally:
        for twin in twins:
            twin.reap()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_open_connections_of_a_killed_server_do_not_block_its_port(workers: str, tmp_path: Path) -> None:
    with running(tmp_path, workers=workers) as server, contextlib.ExitStack() as stack:
        for _ in range(4):  # left open by their clients
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            connection.sendall(b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n")
            assert connection.recv(1000).startswith(b"HTTP/1.1 200")
        server.kill()
        server.start()


def test_a_compressed_body_that_is_too_large_is_refused(client: httpx.Client) -> None:
    bomb = gzip.compress(b" " * (17 << 20))
    for path in ("/predict", "/generate", "/v2/models/vowels/infer"):
        answer = client.post(path, content=bomb, headers=JSON | {"content-encoding": "gzip"})
        assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large"), path


def test_health_answers_head_requests(client: httpx.Client) -> None:
    assert client.head("/health/live").status_code == client.head("/health/ready").status_code == 200


def test_a_connection_above_the_limit_gets_503_and_the_others_are_served(tmp_path: Path) -> None:
    with running(tmp_path, max_connections="3") as server, contextlib.ExitStack() as opened:
        clients = [opened.enter_context(httpx.Client(base_url=server.url, timeout=60)) for _ in range(4)]
        *served, refused = [client.get("/health/live") for client in clients]
        assert [reply.status_code for reply in served] == [200, 200, 200]
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert refused.headers["content-type"] == "application/problem+json"
        assert refused.json()["code"] == "overloaded"
        assert clients[0].get("/health/live").status_code == 200
        clients[1].close()
        deadline = (
            time.monotonic() + START_S
        )  # the server may accept the new connection before it sees the close
        while httpx.get(f"{server.url}/health/live", timeout=60).status_code == 503:
            assert time.monotonic() < deadline


def test_a_full_queue_refuses_at_once_with_retry_after(tmp_path: Path) -> None:
    bounds = {"max_batch": "1", "chunk_steps": "1", "max_waiting": "1", "max_steps": "1000000"}
    with running(tmp_path, workers="1", max_wait_ms="600000", **bounds) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as patient:
            body = json.dumps({"sequences": [[ROW] * 100_000]}).encode()
            head = "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: "
            patient.sendall(head.encode() + b"%d\r\n\r\n%b" % (len(body), body))
            refused = predict_until(server, 503)
            assert refused.json()["code"] == "overloaded"
            assert int(refused.headers["retry-after"]) >= 1
        assert first(predict_until(server, 200)), "after the client of the long request has disconnected"


def predict_until(server: Server, status: int) -> httpx.Response:
    deadline = time.monotonic() + START_S
    while True:
        reply = httpx.post(f"{server.url}/predict", json={"sequences": [[ROW]]}, timeout=60)
        if reply.status_code == status:
            return reply
        assert time.monotonic() < deadline, reply.text
