"""HTTP limits: each is enforced, and a refused client gets an answer, even during its upload."""

import json
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import first
from tests.e2e.server import ROOT, Server, running

ROW = [0.1] * 12
HEAD = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"


def exchange(server: Server, *parts: bytes) -> bytes:
    """Send these bytes; everything that the server sends until it closes the connection."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as wire:
        for part in parts:
            wire.sendall(part)
        return wire.makefile("rb").read()


def problem_in(answer: bytes) -> dict[str, object]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head and b"connection: close" in head
    problem: dict[str, object] = json.loads(body)
    return problem


@pytest.mark.parametrize("name", [b"x: " + b"a" * 70_000, b"x: y\r\n" * 20_000])
def test_an_endless_head_is_refused(server: Server, name: bytes) -> None:
    answer = exchange(server, HEAD, *[name] * 8)
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert problem_in(answer)["code"] == "head_too_large"


@pytest.mark.parametrize("words", [b"what is this\r\n\r\n", HEAD + b"content-length: many\r\n\r\n"])
def test_bytes_that_are_not_http_are_refused(server: Server, words: bytes) -> None:
    answer = exchange(server, words)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert problem_in(answer)["code"] == "bad_http"


def test_an_idle_connection_is_closed(tmp_path: Path) -> None:
    with running(tmp_path, keep_alive_s="1") as server:
        assert exchange(server) == b"", "never a byte"
        assert exchange(server, HEAD) == b"", "half a head"
        answered = exchange(server, b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n")
        assert answered.startswith(b"HTTP/1.1 200 "), "keep-alive without a second request"


@pytest.mark.parametrize("size", [17 << 20, 40 << 20])
def test_a_client_that_sends_too_much_gets_413_not_a_reset(server: Server, size: int) -> None:
    request = urllib.request.Request(
        f"{server.url}/predict", b" " * size, {"content-type": "application/json"}
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=30)
    with refused.value as answer:
        assert (answer.code, json.load(answer)["code"]) == (413, "body_too_large")


def test_long_client_values_are_neither_repeated_in_full_nor_logged(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        replies = [
            httpx.post(f"{server.url}/predict", json=body, timeout=60)
            for body in (
                {"model": "m" * 1_000_000, "sequences": [[ROW]]},
                {"k" * 1_000_000: 1, "sequences": [[ROW]]},
                {"sequences": [[[1e300, *ROW[1:]]]]},
            )
        ]
        assert [reply.status_code for reply in replies] == [404, 422, 422]
        assert all(len(reply.content) < 4000 for reply in replies)
        server.wait_for_log('"code":"non_finite"')
        log = server.log.read_text()
        assert max(map(len, log.splitlines())) < 4000 and "e+300" not in log


@pytest.mark.parametrize("place", ['{%s,"sequences":[[%s]]}', '{"sequences":[{%s,"steps":[%s]}]}'])
def test_an_object_with_very_many_members_is_refused_quickly(server: Server, place: str) -> None:
    """simdjson searches names linearly: 200,000 of them took hours."""
    members = ",".join(f'"m{number}":1' for number in range(200_000))
    body = place % (members, json.dumps(ROW))
    reply = httpx.post(
        f"{server.url}/predict", content=body, headers={"content-type": "application/json"}, timeout=30
    )
    assert (reply.status_code, reply.json()["code"]) == (422, "too_many_values")


@pytest.mark.parametrize("name", [".", ".."])
def test_session_names_that_no_path_can_hold_are_refused(server: Server, name: str) -> None:
    reply = httpx.post(
        f"{server.url}/predict", json={"sequences": [{"steps": [ROW], "session": name}]}, timeout=60
    )
    assert (reply.status_code, reply.json()["pointer"]) == (422, "/sequences/0/session")


def test_a_server_of_one_process_survives_the_shell_that_started_it(tmp_path: Path, models_dir: Path) -> None:
    server = Server(tmp_path, {})
    command = (
        f"{sys.executable} -m service serve --port {server.port} --workers 1 "
        f"--models-dir {models_dir} --sessions-dir {tmp_path}/sessions >{server.log} 2>&1 & echo $$ $!"
    )
    shell = subprocess.run(
        ["sh", "-c", command], cwd=ROOT, capture_output=True, text=True, start_new_session=True, timeout=30
    )
    parent, process = map(int, shell.stdout.split())
    try:
        server.wait_for_log("ready: ")
        body = {"sequences": [{"steps": [ROW], "session": "s", "at": 0}]}
        first(httpx.post(f"{server.url}/predict", json=body, timeout=60))
        status = Path(f"/proc/{process}/status").read_text()
        assert f"\nPPid:\t{parent}\n" not in status, "it has ended"
        first(httpx.post(f"{server.url}/predict", json=body, timeout=60))
    finally:
        subprocess.run(["kill", "-9", str(process)], check=False)
