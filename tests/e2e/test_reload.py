"""Model versions that are added, changed and removed while the server runs."""

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


def send(server: Server, method: str, path: str, **body: Any) -> httpx.Response:
    """On a new connection, so that several requests reach both workers."""
    return httpx.request(method, server.url + path, json=body or None, timeout=30)


def step(server: Server, steps: Steps, **fields: Any) -> dict[str, Any]:
    return first(send(server, "POST", "/predict", sequences=[{"steps": steps, "session": "call", **fields}]))


def all_workers_have(server: Server, versions: list[tuple[str, bool]]) -> Callable[[], bool]:
    """Whether many requests in a row, which reach both workers, list these (version, retiring) pairs."""

    def holds() -> bool:
        for _ in range(12):
            reply = send(server, "GET", "/models")
            assert reply.status_code == 200, reply.text
            models = reply.json()["models"]
            if [(model["version"], model["retiring"]) for model in models] != versions:
                return False
        return True

    return holds


@pytest.mark.promise(9)
def test_a_new_version_is_loaded_and_the_old_one_retires_with_its_sessions(
    server: Server, root: Path, utterance: Steps
) -> None:
    one_shot = first(send(server, "POST", "/predict", sequences=[utterance]))["output"]
    first_request = {"sequences": [{"steps": utterance[:5], "session": "call", "at": 0}]}
    first_reply = send(server, "POST", "/predict", **first_request)
    ending_request = {"sequences": [{"steps": utterance[:2], "session": "done", "at": 0, "end": True}]}
    ending_reply = send(server, "POST", "/predict", **ending_request)
    shutil.copytree(root / "vowels" / "1", root / "vowels" / ".new")
    (root / "vowels" / ".new").rename(root / "vowels" / "2")
    until(all_workers_have(server, [("1", False), ("2", False)]))
    assert send(server, "POST", "/predict", sequences=[utterance]).json()["version"] == "2"
    assert send(server, "GET", "/sessions/call").json()["version"] == "1", "a session keeps its version"
    assert send(server, "POST", "/predict", **first_request).content == first_reply.content, (
        "a retry gets the stored reply"
    )
    assert send(server, "POST", "/predict", **ending_request).content == ending_reply.content, (
        "also after the session ended"
    )
    shutil.rmtree(root / "vowels" / "1")
    until(all_workers_have(server, [("1", True), ("2", False)]))
    last = {"sequences": [{"steps": utterance[5:], "session": "call", "at": 5}]}
    reply = send(server, "POST", "/predict", **last)
    assert (first(reply)["output"], reply.json()["version"]) == (one_shot, "1")
    until(all_workers_have(server, [("2", False)]))
    server.wait_for_log("version 1 is unloaded")


def test_a_version_that_cannot_be_served_changes_nothing(
    server: Server, root: Path, utterance: Steps
) -> None:
    shutil.copytree(root / "vowels" / "1", root / "vowels" / "2")
    manifest = root / "vowels" / "2" / "model.json"
    whole = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(whole | {"example": whole["example"] | {"output": [0.0] * 9}}))
    server.wait_for_log("not served: .*the example gives")
    assert send(server, "POST", "/predict", sequences=[utterance]).json()["version"] == "1"
    manifest.write_text(json.dumps(whole))
    until(all_workers_have(server, [("1", False), ("2", False)]))


def test_a_worker_that_dies_while_a_version_is_faulty_is_replaced(
    server: Server, root: Path, utterance: Steps
) -> None:
    """A new worker loads the directory as it is; a faulty version must not end a running server."""
    until(lambda: len(server.workers()) == 2)
    server.wait_for_log("listening on")
    expected = first(send(server, "POST", "/predict", sequences=[utterance]))
    shutil.copytree(root / "vowels" / "1", root / "vowels" / "2")
    (root / "vowels" / "2" / "model.onnx").write_bytes(b"no graph")
    died = server.workers()[0]
    os.kill(died, signal.SIGKILL)
    server.wait_for_log(f"worker {died} died .SIGKILL.")
    until(lambda: len(server.workers()) == 2 and died not in server.workers())
    replaced_at = server.log_lines()[-1]["time"]
    until(
        lambda: any(
            "not served" in line["message"] and line["time"] > replaced_at for line in server.log_lines()
        )
    )
    until(all_workers_have(server, [("1", False)]))
    assert first(send(server, "POST", "/predict", sequences=[utterance])) == expected


def test_a_running_server_survives_a_directory_without_a_valid_model(
    server: Server, root: Path, utterance: Steps
) -> None:
    """A worker that cannot start is started again later; the other workers keep running."""
    server.wait_for_log("listening on")
    expected = first(send(server, "POST", "/predict", sequences=[utterance]))
    graph = root / "vowels" / "1" / "model.onnx"
    valid = graph.read_bytes()
    graph.write_bytes(b"no graph")
    died = server.workers()[0]
    os.kill(died, signal.SIGKILL)
    server.wait_for_log("could not start; again in 2 s")
    assert first(send(server, "POST", "/predict", sequences=[utterance])) == expected
    graph.write_bytes(valid)
    until(lambda: len(server.workers()) == 2 and died not in server.workers())
    until(all_workers_have(server, [("1", False)]))


def test_requests_in_progress_survive_a_replacement(server: Server, root: Path, utterance: Steps) -> None:
    expected = first(send(server, "POST", "/predict", sequences=[utterance]))
    manifest = root / "vowels" / "1" / "model.json"
    fields = json.loads(manifest.read_text())
    for number in range(3):
        manifest.write_text(json.dumps(fields | {"description": f"edition {number}"}))
        seen: list[str] = []
        deadline = time.monotonic() + START_S
        while seen[-8:] != [f"edition {number}"] * 8:
            assert time.monotonic() < deadline
            assert first(send(server, "POST", "/predict", sequences=[utterance])) == expected
            seen.append(send(server, "GET", "/models").json()["models"][0]["description"])
