"""Versions that are steered on a server with two workers: policies, canary, promotion, load and unload."""

import hashlib
import itertools
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from cellgate import Client
from service.repository.choice import is_in_canary
from tests.e2e.server import Server, running
from tests.e2e.test_reload import until
from tests.service import harmful_graphs

ROW = [0.1] * 12
KEYS = {"ops": "ops-secret", "acme": "acme-secret"}


@pytest.fixture
def root(models_dir: Path, tmp_path: Path) -> Path:
    for version in ("1", "2", "3"):
        shutil.copytree(models_dir / "vowels" / "1", tmp_path / "models" / "vowels" / version)
    return tmp_path / "models"


@pytest.fixture
def server(root: Path, tmp_path: Path) -> Iterator[Server]:
    tables = [
        f'[{name}]\nkeys = ["sha256:{hashlib.sha256(key.encode()).hexdigest()}"]\n'
        f"admin = {str(name == 'ops').lower()}\n"
        for name, key in KEYS.items()
    ]
    (tmp_path / "keys.toml").write_text("".join(tables))
    settings = {"models_dir": str(root), "models_poll_s": "0.2", "keys_file": str(tmp_path / "keys.toml")}
    with running(tmp_path, workers="2", **settings) as started:
        until(lambda: len(started.workers()) == 2)
        yield started


def send(server: Server, method: str, path: str, tenant: str = "acme", **body: Any) -> httpx.Response:
    """On a new connection, so that several requests reach both workers."""
    headers = {"authorization": f"Bearer {KEYS[tenant]}"}
    return httpx.request(method, server.url + path, json=body or None, headers=headers, timeout=60)


def version(server: Server, session: str | None = None, **fields: Any) -> str:
    """The version that answers one step."""
    sequence = [ROW] if session is None else {"steps": [ROW], "session": session}
    reply = send(server, "POST", "/predict", model="vowels", sequences=[sequence], **fields)
    assert reply.status_code == 200, reply.text
    answered: str = reply.json()["version"]
    return answered


def steer(server: Server, method: str, path: str, **body: Any) -> dict[str, Any]:
    reply = send(server, method, f"/models/vowels/{path}", "ops", **body)
    assert reply.status_code == 200, reply.text
    shown: dict[str, Any] = reply.json()
    return shown


def test_policy_canary_and_restart(server: Server, root: Path) -> None:
    assert version(server) == "3"
    refused = send(server, "PUT", "/models/vowels/policy", default="1")
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    steer(
        server, "PUT", "policy", default="production", aliases={"production": "1"},
        canary={"version": "2", "weight": 0.5},
    )  # fmt: skip
    assert {version(server) for _ in range(12)} == {"1"}, "the reply left once both workers followed"
    assert {version(server, version="production") for _ in range(6)} == {"1"}
    names = [f"call-{number}" for number in range(24)]
    expected = ["2" if is_in_canary(0.5, "vowels", "acme", name) else "1" for name in names]
    assert [version(server, name) for name in names] == expected and set(expected) == {"1", "2"}
    created = f"made-{next(n for n in range(99) if is_in_canary(0.5, 'vowels', 'acme', f'made-{n}'))}"
    assert send(server, "PUT", f"/sessions/{created}", model="vowels").json()["version"] == "2"
    (root / "vowels" / "policy.json").write_text('{"default": 3}')
    server.wait_for_log("policy.json: default: Input should be a valid string; nothing changes until")
    assert {version(server) for _ in range(6)} == {"1"}
    steer(server, "PUT", "policy", default="2")
    assert server.stop() == 0
    server.start()
    assert version(server) == "2", "a policy survives restarts"
    assert [version(server, name) for name in names] == expected, "a session stays with its version"


def test_promotion_and_rollback_under_load(server: Server) -> None:
    """Each client sees each change once, and no request is refused."""
    steer(server, "PUT", "policy", default="production", aliases={"production": "1"})
    assert version(server, "live") == "1"
    seen: list[str] = []
    faults: list[Exception | AssertionError] = []
    is_over = threading.Event()

    def load() -> None:
        while not is_over.is_set():
            try:
                seen.append(version(server))
            except (AssertionError, httpx.HTTPError) as error:
                faults.append(error)
                return

    client = threading.Thread(target=load)
    client.start()
    try:
        with Client(server.url, api_key=KEYS["acme"]) as streams, streams.stream("frames") as stream:
            assert stream.step(ROW).version == "1"
            promoted = steer(server, "POST", "promote", version="2", migrate=True)
            assert (promoted["previous"], promoted["sessions"]) == ("1", {"moved": 2, "kept": 0})
            assert version(server, "live") == "2"
            moved = stream.step(ROW)
            assert (moved.version, moved.step) == ("2", 2), "the stream follows its session"
        count = len(seen)
        until(lambda: len(seen) > count + 5 or bool(faults))
        assert steer(server, "POST", "rollback")["default"] == "1"
        assert version(server, version="production") == "1"
        count = len(seen)
        until(lambda: len(seen) > count + 5 or bool(faults))
    finally:
        is_over.set()
        client.join()
    assert faults == []
    assert [each for each, _ in itertools.groupby(seen)] == ["1", "2", "1"]


def test_a_stock_client_unloads_and_loads_a_model(server: Server, root: Path) -> None:
    shutil.copytree(root / "vowels" / "1", root / ".other" / "1")
    manifest = root / ".other" / "1" / "model.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"description": "another"}))
    (root / ".other").rename(root / "other")
    headers = {"authorization": f"Bearer {KEYS['ops']}"}
    client = triton.InferenceServerClient(server.url.removeprefix("http://"), network_timeout=60)
    try:
        until(lambda: all(
            send(server, "GET", "/v2/models/other/ready").status_code == 200 for _ in range(12)
        ))  # fmt: skip
        with pytest.raises(InferenceServerException, match="admin"):
            client.unload_model("other", headers={"authorization": f"Bearer {KEYS['acme']}"})
        client.unload_model("other", headers=headers)
        for _ in range(12):
            reply = send(server, "POST", "/predict", model="other", sequences=[[ROW]])
            assert (reply.status_code, reply.json()["code"]) == (404, "unknown_model")
        index = client.get_model_repository_index(headers=headers)
        assert {"name": "vowels", "version": "3", "state": "READY", "reason": ""} in index
        client.load_model("other", headers=headers)
        for _ in range(12):
            assert send(server, "POST", "/predict", model="other", sequences=[[ROW]]).status_code == 200
        with pytest.raises(InferenceServerException, match="no model 'none'"):
            client.load_model("none", headers=headers)
    finally:
        client.close()
    assert version(server) == "3"


def test_without_keys_only_a_setting_opens_the_administration(root: Path, tmp_path: Path) -> None:
    with running(tmp_path, models_dir=str(root)) as server:
        refused = httpx.put(f"{server.url}/models/vowels/policy", json={"default": "1"}, timeout=60)
        assert refused.status_code == 403 and "admin_access = open" in refused.json()["detail"]
        assert server.stop() == 0
    with running(tmp_path, models_dir=str(root), admin_access="open") as server:
        reply = httpx.put(f"{server.url}/models/vowels/policy", json={"default": "1"}, timeout=60)
        assert reply.status_code == 200
        assert (
            httpx.post(f"{server.url}/predict", json={"sequences": [[ROW]]}, timeout=60).json()["version"]
            == "1"
        )


def test_a_shadow_computes_a_fork_of_each_session_and_its_differences_are_counted(
    root: Path, tmp_path: Path
) -> None:
    """Version 2 of a model whose answer and state are its input times 1 answers five times as much."""
    for number, factor in (("1", 1.0), ("2", 5.0)):
        harmful_graphs.scaled(root / "scaled" / number, factor)
    settings = {"models_dir": str(root), "admin_access": "open", "workers": "2"}
    with running(tmp_path, **settings) as server:
        until(lambda: len(server.workers()) == 2)
        policy = {"default": "1", "shadow": "2"}
        assert httpx.put(f"{server.url}/models/scaled/policy", json=policy, timeout=60).status_code == 200

        def step(session: str, value: float) -> dict[str, Any]:
            sequence = {"steps": [[value]], "session": session}
            body = {"model": "scaled", "sequences": [sequence]}
            reply = httpx.post(f"{server.url}/predict", json=body, timeout=60)
            assert reply.status_code == 200 and reply.json()["version"] == "1", reply.text
            answer: dict[str, Any] = reply.json()["predictions"][0]
            return answer

        def compared() -> dict[str, Any]:
            shown = httpx.get(f"{server.url}/models/scaled", timeout=60).json()["models"]
            found = [model["shadow"] for model in shown]
            assert found[0] is None, "version 1 is not the shadow"
            return found[1][0] if found[1] else {"steps": 0, "dropped": 0}

        for call in range(20):
            assert step(f"call-{call}", 1.0)["step"] == 1
        until(lambda: compared()["steps"] + compared()["dropped"] >= 20)
        found = compared()
        assert (found["version"], found["failures"]) == ("1", 0)
        assert found["max_difference"] == found["mean_difference"] == pytest.approx(4.0)
        sessions = httpx.get(f"{server.url}/sessions", timeout=60).json()["sessions"]
        assert len(sessions) == 20, "forks are not listed"
        assert "cellgate_shadow_steps_total" in httpx.get(f"{server.url}/metrics", timeout=60).text
