"""What HTTP leaves open is bounded; a client that is refused learns why, even while it is still sending."""

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import httpx
import pytest

from service.app import FOLLOW_EVERY_S
from tests.e2e.conftest import first
from tests.e2e.server import ROOT, Server, running

ROW = [0.1] * 12
HEAD = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"


def says(server: Server, *parts: bytes) -> bytes:
    """All that the server says to these bytes until it closes the connection."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as wire:
        for part in parts:
            wire.sendall(part)
        return wire.makefile("rb").read()


def problem_in(answer: bytes) -> dict[str, object]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head and b"connection: close" in head
    found: dict[str, object] = json.loads(body)
    return found


@pytest.mark.parametrize("name", [b"x: " + b"a" * 70_000, b"x: y\r\n" * 20_000])
def test_a_head_that_never_ends_is_refused(server: Server, name: bytes) -> None:
    answer = says(server, HEAD, *[name] * 8)
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert problem_in(answer)["code"] == "head_too_large"


@pytest.mark.parametrize("words", [b"what is this\r\n\r\n", HEAD + b"content-length: many\r\n\r\n"])
def test_what_is_no_http_is_told_so(server: Server, words: bytes) -> None:
    answer = says(server, words)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert problem_in(answer)["code"] == "bad_http"


def test_a_connection_on_which_nothing_comes_is_closed(tmp_path: Path) -> None:
    with running(tmp_path, keep_alive_s="1") as server:
        assert says(server) == b"", "never a byte"
        assert says(server, HEAD) == b"", "half a head"
        answered = says(server, b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n")
        assert answered.startswith(b"HTTP/1.1 200 "), "kept for another request that did not come"


@pytest.mark.parametrize("size", [17 << 20, 40 << 20])
def test_a_client_that_sends_too_much_sees_413_not_a_reset(server: Server, size: int) -> None:
    request = urllib.request.Request(
        f"{server.url}/predict", b" " * size, {"content-type": "application/json"}
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=30)
    with refused.value as answer:
        assert (answer.code, json.load(answer)["code"]) == (413, "body_too_large")


def test_what_a_client_sends_is_not_sent_back_at_length_nor_logged(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        replies = [
            httpx.post(f"{server.url}/predict", json=body)
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
def test_an_object_of_very_many_members_holds_nobody_up(server: Server, place: str) -> None:
    """simdjson looks names up one by one: 200,000 of them once took hours."""
    members = ",".join(f'"m{number}":1' for number in range(200_000))
    body = place % (members, json.dumps(ROW))
    reply = httpx.post(
        f"{server.url}/predict", content=body, headers={"content-type": "application/json"}, timeout=30
    )
    assert (reply.status_code, reply.json()["code"]) == (422, "invalid_field")


@pytest.mark.parametrize("name", [".", ".."])
def test_names_that_no_path_can_hold_are_no_sessions(server: Server, name: str) -> None:
    reply = httpx.post(f"{server.url}/predict", json={"sequences": [{"steps": [ROW], "session": name}]})
    assert (reply.status_code, reply.json()["pointer"]) == (422, "/sequences/0/session")


def test_a_server_of_one_process_outlives_the_shell_that_started_it(tmp_path: Path) -> None:
    server = Server(tmp_path, {})
    command = (
        f"{sys.executable} -m service serve --port {server.port} --workers 1 "
        f"--sessions-dir {tmp_path}/sessions >{server.log} 2>&1 & echo $!"
    )
    shell = subprocess.run(
        ["sh", "-c", command], cwd=ROOT, capture_output=True, text=True, start_new_session=True, timeout=30
    )
    process = int(shell.stdout)
    try:
        server.wait_for_log("ready: ")
        body = {"sequences": [{"steps": [ROW], "session": "s", "at": 0}]}
        first(httpx.post(f"{server.url}/predict", json=body))
        time.sleep(2 * FOLLOW_EVERY_S)  # workers of several look for their parent that often
        first(httpx.post(f"{server.url}/predict", json=body))
    finally:
        subprocess.run(["kill", "-9", str(process)], check=False)
