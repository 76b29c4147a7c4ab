"""Models that come, change and go while the server runs."""

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import first
from tests.e2e.server import START_S, Server, running

Steps = list[list[float]]


@pytest.fixture
def root(models_dir: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    shutil.copytree(models_dir / "vowels" / "1", folder / "vowels" / "1")
    return folder


@pytest.fixture
def server(root: Path, tmp_path: Path) -> Iterator[Server]:
    settings = {"models_dir": str(root), "models_poll_s": "0.05", "session_ttl_s": "6"}
    with running(tmp_path, workers="2", **settings) as started:
        yield started


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def ask(server: Server, method: str, path: str, **body: Any) -> httpx.Response:
    """On a connection of its own, so that over some requests both workers answer."""
    return httpx.request(method, server.url + path, json=body or None, timeout=30)


def step(server: Server, steps: Steps, **fields: Any) -> dict[str, Any]:
    return first(ask(server, "POST", "/predict", sequences=[{"steps": steps, "session": "call", **fields}]))


def everybody_has(server: Server, versions: list[tuple[str, bool]]) -> Callable[[], bool]:
    """Whether many requests in a row, which reach both workers, find these, and whether each retires."""

    def holds() -> bool:
        for _ in range(12):
            reply = ask(server, "GET", "/models")
            assert reply.status_code == 200, reply.text
            found = reply.json()["models"]
            if [(model["version"], model["retiring"]) for model in found] != versions:
                return False
        return True

    return holds


def test_a_new_version_comes_and_the_old_one_retires_with_its_sessions(
    server: Server, root: Path, utterance: Steps
) -> None:
    one_shot = first(ask(server, "POST", "/predict", sequences=[utterance]))["output"]
    begin = {"sequences": [{"steps": utterance[:5], "session": "call", "at": 0}]}
    begun = ask(server, "POST", "/predict", **begin)
    done = {"sequences": [{"steps": utterance[:2], "session": "done", "at": 0, "end": True}]}
    ended = ask(server, "POST", "/predict", **done)
    shutil.copytree(root / "vowels" / "1", root / "vowels" / ".new")
    (root / "vowels" / ".new").rename(root / "vowels" / "2")
    until(everybody_has(server, [("1", False), ("2", False)]))
    assert ask(server, "POST", "/predict", sequences=[utterance]).json()["version"] == "2"
    assert ask(server, "GET", "/sessions/call").json()["version"] == "1", "it stays where it began"
    assert ask(server, "POST", "/predict", **begin).content == begun.content, "a retry gets the same bytes"
    assert ask(server, "POST", "/predict", **done).content == ended.content, "also after the end"
    shutil.rmtree(root / "vowels" / "1")
    until(everybody_has(server, [("1", True), ("2", False)]))
    last = {"sequences": [{"steps": utterance[5:], "session": "call", "at": 5}]}
    reply = ask(server, "POST", "/predict", **last)
    assert (first(reply)["output"], reply.json()["version"]) == (one_shot, "1")
    until(everybody_has(server, [("2", False)]))
    server.wait_for_log("version 1 is unloaded")


def test_a_version_that_cannot_be_served_changes_nothing(
    server: Server, root: Path, utterance: Steps
) -> None:
    shutil.copytree(root / "vowels" / "1", root / "vowels" / "2")
    manifest = root / "vowels" / "2" / "model.json"
    whole = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(whole | {"example": whole["example"] | {"output": [0.0] * 9}}))
    server.wait_for_log("not served: .*the example gives")
    assert ask(server, "POST", "/predict", sequences=[utterance]).json()["version"] == "1"
    manifest.write_text(json.dumps(whole))
    until(everybody_has(server, [("1", False), ("2", False)]))


def test_a_worker_that_dies_beside_it_is_replaced(server: Server, root: Path, utterance: Steps) -> None:
    """Workers start with what lies there; those of a server that serves must not end it over that."""
    until(lambda: len(server.workers()) == 2)
    server.wait_for_log("listening on")
    due = first(ask(server, "POST", "/predict", sequences=[utterance]))
    shutil.copytree(root / "vowels" / "1", root / "vowels" / "2")
    (root / "vowels" / "2" / "model.onnx").write_bytes(b"no graph")
    died = server.workers()[0]
    os.kill(died, signal.SIGKILL)
    server.wait_for_log(f"worker {died} died .SIGKILL.")
    until(lambda: len(server.workers()) == 2 and died not in server.workers())
    taken = server.log_lines()[-1]["time"]
    until(
        lambda: any("not served" in line["message"] and line["time"] > taken for line in server.log_lines())
    )
    until(everybody_has(server, [("1", False)]))
    assert first(ask(server, "POST", "/predict", sequences=[utterance])) == due


def test_a_server_that_serves_outlives_a_directory_of_nothing_to_serve(
    server: Server, root: Path, utterance: Steps
) -> None:
    """A worker that cannot start is tried again: nobody else has to stop for that."""
    server.wait_for_log("listening on")
    due = first(ask(server, "POST", "/predict", sequences=[utterance]))
    graph = root / "vowels" / "1" / "model.onnx"
    sound = graph.read_bytes()
    graph.write_bytes(b"no graph")
    died = server.workers()[0]
    os.kill(died, signal.SIGKILL)
    server.wait_for_log("could not start; again in 2 s")
    assert first(ask(server, "POST", "/predict", sequences=[utterance])) == due
    graph.write_bytes(sound)
    until(lambda: len(server.workers()) == 2 and died not in server.workers())
    until(everybody_has(server, [("1", False)]))


def test_requests_in_flight_survive_a_replacement(server: Server, root: Path, utterance: Steps) -> None:
    due = first(ask(server, "POST", "/predict", sequences=[utterance]))
    manifest = root / "vowels" / "1" / "model.json"
    fields = json.loads(manifest.read_text())
    for number in range(3):
        manifest.write_text(json.dumps(fields | {"description": f"edition {number}"}))
        seen: list[str] = []
        deadline = time.monotonic() + START_S
        while seen[-8:] != [f"edition {number}"] * 8:
            assert time.monotonic() < deadline
            assert first(ask(server, "POST", "/predict", sequences=[utterance])) == due
            seen.append(ask(server, "GET", "/models").json()["models"][0]["description"])
