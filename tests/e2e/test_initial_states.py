"""Named initial states of a real server: exported from a session, added while it runs, begun from."""

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import first, predict
from tests.e2e.server import START_S, Server, running
from tests.e2e.streams import Stream

Steps = list[list[float]]


@pytest.fixture(scope="module")
def folder(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root: Path = tmp_path_factory.mktemp("models")
    shutil.copytree(models_dir / "vowels" / "1", root / "vowels" / "1")
    return root / "vowels" / "1"


@pytest.fixture(scope="module")
def server(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    settings = {"models_dir": str(folder.parents[1]), "models_poll_s": "0.2"}
    with running(tmp_path_factory.mktemp("server"), **settings) as started:
        yield started


def names_of(client: httpx.Client) -> list[str]:
    names: list[str] = client.get("/models/vowels").json()["models"][0]["states"]
    return names


def add(client: httpx.Client, folder: Path, name: str, content: bytes) -> None:
    """As a deployment does it: beside, then renamed."""
    (folder / "states").mkdir(exist_ok=True)
    new = folder / "states" / f"{name}.new"
    new.write_bytes(content)
    new.rename(folder / "states" / f"{name}.safetensors")
    deadline = time.monotonic() + START_S
    while name not in names_of(client):
        assert time.monotonic() < deadline, "the state was not loaded"
        time.sleep(0.05)


def test_a_state_exported_from_a_session_is_where_others_begin(
    server: Server, client: httpx.Client, folder: Path, utterance: Steps
) -> None:
    whole = first(predict(client, utterance))
    assert names_of(client) == []
    assert predict(client, utterance[:7], session="warm-up").status_code == 200
    exported = client.get("/sessions/warm-up/export", params={"format": "safetensors"})
    assert exported.headers["content-disposition"] == 'attachment; filename="warm-up.safetensors"'
    add(client, folder, "warm", exported.content)
    begin: dict[str, Any] = {"state": {"name": "warm"}}
    assert first(predict(client, utterance[7:], **begin))["output"] == whole["output"]
    in_session = first(predict(client, utterance[7:], session="call", at=0, **begin))
    assert (in_session["output"], in_session["step"]) == (whole["output"], len(utterance) - 7)
    created = client.put("/sessions/made", json={"model": "vowels", **begin})
    assert (created.status_code, created.json()["step"]) == (201, 0)
    assert first(predict(client, utterance[7:], session="made", at=0))["output"] == whole["output"]
    with Stream(server.url) as stream:
        assert stream.open("streamed", model="vowels", **begin)["step"] == 0
        assert stream.ask(steps=utterance[7:], at=0)["output"] == whole["output"]
        unknown = stream.ask(channel=1, session="never", model="vowels", state={"name": "../warm"})
        assert (unknown["error"]["code"], unknown["closed"]) == ("unknown_state", True)
    assert first(predict(client, utterance[7:], session="warm-up", at=7))["output"] == whole["output"], (
        "a session of before the file was added continues"
    )


def test_a_session_does_not_depend_on_the_file_that_it_began_from(
    client: httpx.Client, folder: Path, utterance: Steps
) -> None:
    predict(client, utterance[:5], session="before")
    add(client, folder, "idle", client.get("/sessions/before/export?format=safetensors").content)
    state = {"name": "idle"}
    assert first(predict(client, utterance[5:9], session="after", at=0, state=state))["step"] == 4
    (folder / "states" / "idle.safetensors").unlink()
    deadline = time.monotonic() + START_S
    while "idle" in names_of(client):
        assert time.monotonic() < deadline, "the state was not removed"
        time.sleep(0.05)
    answer = first(predict(client, utterance[9:], session="after", at=4))
    assert answer["output"] == first(predict(client, utterance))["output"]
    refused = predict(client, utterance, state=state)
    assert (refused.status_code, refused.json()["code"]) == (404, "unknown_state")
    assert refused.json()["pointer"] == "/sequences/0/state"


@pytest.mark.parametrize("name", ["../../vowels/1/model", "/etc/passwd", "", "warm/../warm", "\0", "é"])
def test_a_name_is_never_a_path(client: httpx.Client, name: str, utterance: Steps) -> None:
    for refused in (
        predict(client, utterance, state={"name": name}),
        client.put("/sessions/never", json={"model": "vowels", "state": {"name": name}}),
    ):
        assert (refused.status_code, refused.json()["code"]) == (404, "unknown_state")


def test_a_wrong_file_is_refused_with_its_reason_and_the_version_stays(
    server: Server, client: httpx.Client, folder: Path, utterance: Steps
) -> None:
    manifest = json.loads((folder / "model.json").read_text())
    assert manifest["states"][0]["input"] == "h"
    (folder / "states").mkdir(exist_ok=True)
    bad = folder / "states" / "bad.safetensors"
    bad.write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
    server.wait_for_log("states/bad.safetensors: expected exactly the states 'c', 'h', got none")
    assert predict(client, utterance).status_code == 200
    bad.unlink()
