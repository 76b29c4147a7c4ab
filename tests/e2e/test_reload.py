"""Model versions that are added, changed and removed while the server runs."""

import itertools
import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import first
from tests.e2e.server import START_S, Server, running
from tests.service import harmful_graphs

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


def ready_workers(server: Server, number: int) -> bool:
    """Whether so many workers have become ready since the start."""
    return server.log.read_text().count("ready: models") == number


@pytest.mark.promise(9)
def test_a_new_version_is_loaded_and_the_old_one_retires_with_its_sessions(
    server: Server, root: Path, utterance: Steps
) -> None:
    one_shot = first(send(server, "POST", "/predict", sequences=[utterance]))["output"]
    for name in ("call", "done"):  # a busy machine would let them expire
        assert send(server, "PUT", f"/sessions/{name}", ttl_s=3600).status_code == 201
    first_request = {"sequences": [{"steps": utterance[:5], "session": "call", "at": 0}]}
    first_reply = send(server, "POST", "/predict", **first_request)
    ending_request = {"sequences": [{"steps": utterance[:2], "session": "done", "at": 0, "end": True}]}
    ending_reply = send(server, "POST", "/predict", **ending_request)
    shutil.copytree(root / "vowels" / "1", root / "vowels" / ".new")
    (root / "vowels" / ".new").rename(root / "vowels" / "2")
    until(all_workers_have(server, [("1", False), ("2", False)]))
    until(lambda: send(server, "POST", "/predict", sequences=[utterance]).json()["version"] == "2")
    assert send(server, "GET", "/sessions/call").json()["version"] == "1", "a session keeps its version"
    assert send(server, "POST", "/predict", **first_request).content == first_reply.content, (
        "a retry gets the stored reply"
    )
    assert send(server, "POST", "/predict", **ending_request).content == ending_reply.content, (
        "also after the session ended"
    )
    shutil.rmtree(root / "vowels" / "1")
    until(all_workers_have(server, [("1", True), ("2", False)]))
    last = {"sequences": [{"steps": utterance[5:], "session": "call", "at": 5, "end": True}]}
    reply = send(server, "POST", "/predict", **last)
    assert (first(reply)["output"], reply.json()["version"]) == (one_shot, "1")
    until(all_workers_have(server, [("2", False)]))
    server.wait_for_log("version 1 is unloaded")


@pytest.mark.promise(9)
def test_sessions_of_a_deleted_version_survive_restarts(root: Path, tmp_path: Path, utterance: Steps) -> None:
    """A restarted worker had no files to load the version from: 409, for good."""
    settings = {"models_dir": str(root), "models_poll_s": "0.05", "session_ttl_s": "2"}
    with running(tmp_path, workers="2", **settings) as server:
        one_shot = first(send(server, "POST", "/predict", sequences=[utterance]))["output"]
        assert send(server, "PUT", "/sessions/call", ttl_s=3600).status_code == 201
        step(server, utterance[:3], at=0)
        shutil.copytree(root / "vowels" / "1", root / "vowels" / ".new")
        (root / "vowels" / ".new").rename(root / "vowels" / "2")
        shutil.rmtree(root / "vowels" / "1")
        until(all_workers_have(server, [("1", True), ("2", False)]))
        for number, died in enumerate(server.workers(), 3):
            os.kill(died, signal.SIGKILL)
            until(partial(ready_workers, server, number))
        until(all_workers_have(server, [("1", True), ("2", False)]))
        assert step(server, utterance[3:5], at=3)["step"] == 5
    with running(tmp_path, workers="2", **settings) as server:
        assert send(server, "POST", "/predict", sequences=[utterance]).json()["version"] == "2"
        assert step(server, utterance[5:], at=5, end=True)["output"] == one_shot
        server.wait_for_log("version 1 is unloaded")
        server.wait_for_log("the copy of model vowels version 1 is deleted")


def test_the_default_changes_once_and_no_session_is_refused_during_a_roll_out(
    server: Server, root: Path, utterance: Steps
) -> None:
    """Each worker changed its default on its own: replies came from the old and the new version in turn."""
    shutil.copytree(root / "vowels" / "1", root / "vowels" / ".new")
    seen: list[str] = []

    def look() -> str:
        """The version that answers, after a session on version 2 was tried as well."""
        reply = send(server, "POST", "/predict", sequences=[utterance[:1]])
        assert reply.status_code == 200, reply.text
        seen.append(reply.json()["version"])
        name = f"pinned-{len(seen)}"
        for at in (0, 1):  # on a version that the other worker may not have loaded yet
            body = {"version": "2", "sequences": [{"steps": utterance[:1], "session": name, "at": at}]}
            pinned = send(server, "POST", "/predict", **body)
            started = at == 1 or pinned.status_code == 200
            assert pinned.status_code in (200, 503) or (not started and pinned.status_code == 404), (
                pinned.text
            )
            if pinned.status_code != 200:
                break
        return seen[-1]

    look()
    (root / "vowels" / ".new").rename(root / "vowels" / "2")
    until(lambda: look() == "2")
    for _ in range(30):
        look()
    shutil.rmtree(root / "vowels" / "2")
    until(lambda: look() == "1")
    for _ in range(30):
        look()
    assert [version for version, _ in itertools.groupby(seen)] == ["1", "2", "1"]


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
    server.wait_for_log(r"could not start \(exit status 3\); again in 2 s")
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


def test_a_version_whose_weights_arrive_last_is_served_once_they_are_there(
    server: Server, root: Path
) -> None:
    whole = harmful_graphs.scaled(root.parent / "whole" / "1", 1.0)
    folder = root / "scaled" / "1"
    folder.mkdir(parents=True)
    for name in ("model.json", "model.onnx"):
        shutil.copy(whole / name, folder)
    server.wait_for_log(r"not served: .*weights\.bin: No such file")
    shutil.copy(whole / "weights.bin", folder)
    until(lambda: all(send(server, "GET", "/models/scaled").status_code == 200 for _ in range(12)))


def test_a_session_does_not_continue_on_other_weights(server: Server, root: Path) -> None:
    """The graph is the same file: only its external data differs."""
    whole = harmful_graphs.scaled(root.parent / "whole" / "1", 1.0)
    other = harmful_graphs.scaled(root.parent / "other" / "1", 5.0)
    shutil.copytree(whole, root / "scaled" / "1")
    until(lambda: all(send(server, "GET", "/models/scaled").status_code == 200 for _ in range(12)))

    def add_one() -> Any:
        session = {"steps": [[1.0]], "session": "sum"}
        return send(server, "POST", "/predict", model="scaled", sequences=[session]).json()

    created = send(server, "PUT", "/sessions/sum", model="scaled", ttl_s=3600)
    assert created.status_code == 201
    expected = 1.0
    assert add_one()["predictions"][0]["output"] == [[expected]]
    exported = send(server, "GET", "/sessions/sum").json()
    fingerprint = send(server, "GET", "/models/scaled").json()["models"][0]["fingerprint"]
    for name in ("weights.bin", "model.onnx", "model.json"):
        (other / name).rename(root / "scaled" / "1" / name)
    while (reply := add_one()).get("code") != "session_mismatch":
        expected += 1.0
        assert reply["predictions"][0]["output"] == [[expected]], "still the old weights, never a mixture"
    until(lambda: all(add_one().get("code") == "session_mismatch" for _ in range(12)))
    changed = send(server, "GET", "/models/scaled").json()["models"][0]["fingerprint"]
    assert changed != fingerprint and exported["model"] == "scaled"


def test_a_harmful_version_is_not_served_and_the_server_goes_on(
    server: Server, root: Path, utterance: Steps
) -> None:
    workers = server.workers()
    expected = first(send(server, "POST", "/predict", sequences=[utterance]))
    for number, build in enumerate((harmful_graphs.huge, harmful_graphs.half_lstm), 1):
        build(root.parent / str(number)).rename(root / "vowels" / str(number + 1))
    server.wait_for_log("not served: .*vowels/2: loading it takes more than .* bytes of memory")
    server.wait_for_log("model vowels version 3 on")
    assert first(send(server, "POST", "/predict", version="1", sequences=[utterance])) == expected
    assert server.workers() == workers


def test_a_start_leaves_out_a_harmful_version_and_refuses_a_faulty_one(root: Path, tmp_path: Path) -> None:
    harmful_graphs.huge(root / "huge" / "1")
    with running(tmp_path, workers="2", models_dir=str(root)) as server:
        assert [each["name"] for each in send(server, "GET", "/models").json()["models"]] == ["vowels"]
        assert server.stop() == 0
    manifest = root / "vowels" / "1" / "model.json"
    fields = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(fields | {"example": fields["example"] | {"output": [0.0] * 9}}))
    faulty = Server(tmp_path, {"CELLGATE_WORKERS": "2", "CELLGATE_MODELS_DIR": str(root)})
    faulty.launch()
    assert faulty.process.wait(60) == 3
    assert "the example gives" in faulty.log.read_text()
