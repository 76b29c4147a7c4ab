"""Steering over HTTP: policies, promotion and rollback, and who may use them."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from service.errors import Forbidden, InvalidField, ReadOnlyModels, UnknownModel, UnknownVersion
from service.repository import Repository
from tests.service.api.parts import Api
from tests.service.repository.test_repository import model


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "m").mkdir()
    return tmp_path


@pytest.fixture
def steered(root: Path) -> Api:
    return Api(Repository([model("m", version) for version in "123"]), root=root)


def put(api: Api, status: int = 200, **policy: Any) -> dict[str, Any]:
    reply = api.request("PUT", "/models/m/policy", json=policy)
    assert reply.status_code == status, reply.text
    shown: dict[str, Any] = reply.json()
    return shown


def test_a_policy_is_set_and_shown(steered: Api, root: Path) -> None:
    shown = steered.request("GET", "/models/m/policy").json()
    assert (shown["default"], shown["policy"]["default"], shown["fault"]) == (None, "highest", None)
    shown = put(steered, default="production", aliases={"production": "1"})
    assert (shown["default"], shown["aliases"], shown["in_effect"]) == ("1", {"production": "1"}, True)
    assert json.loads((root / "m" / "policy.json").read_text())["default"] == "production"
    assert steered.request("GET", "/models/m/policy").json() == shown
    assert put(steered, default="9")["waiting"] == ["default: version 9 is not loaded"]
    (root / "m" / "policy.json").write_text("{")
    steered.policies.read()
    shown = steered.request("GET", "/models/m/policy").json()
    assert shown["fault"].startswith("m/policy.json: Invalid JSON") and shown["policy"]["default"] == "9"


def test_a_policy_that_workers_do_not_follow_in_time_is_accepted(steered: Api) -> None:
    """A second worker, which runs as long as this test does, has read another policy."""
    report = {"m": {"versions": {"1": "served", "2": "served", "3": "served"}, "policy": {"default": "2"}}}
    document = {"workers": {str(os.getppid()): report}, "models": {}, "policies": {}}
    (steered.folder / "rollout.json").write_text(json.dumps(document))
    assert put(steered, 202, default="1")["in_effect"] is False


def test_a_promotion_and_its_rollback(steered: Api) -> None:
    put(steered, aliases={"production": "1"}, default="production", canary={"version": "2", "weight": 0.5})
    reply = steered.request("POST", "/models/m/promote", json={"version": "2"})
    assert reply.status_code == 200
    assert reply.json() == {
        "model": "m", "default": "2", "previous": "1", "in_effect": True, "sessions": None,
    }  # fmt: skip
    policy = steered.request("GET", "/models/m/policy").json()["policy"]
    assert policy["aliases"] == {"production": "2"}, "the alias that is the default moves"
    assert policy["canary"] is None, "it is no longer on trial"
    for expected in ("1", "2"):
        reply = steered.request("POST", "/models/m/rollback")
        assert (reply.json()["default"], reply.json()["in_effect"]) == (expected, True)


def test_a_rollback_after_the_highest_was_the_default_pins_the_version_before(steered: Api) -> None:
    steered.request("POST", "/models/m/promote", json={"version": "1"})
    assert steered.request("POST", "/models/m/rollback").json()["default"] == "3"


@pytest.mark.parametrize(
    ("method", "path", "body", "error"),
    [
        ("PUT", "/models/m/policy", {"default": "gone"}, InvalidField),
        ("PUT", "/models/m/policy", {"defualt": "1"}, InvalidField),
        ("PUT", "/models/none/policy", {}, UnknownModel),
        ("GET", "/models/none/policy", None, UnknownModel),
        ("POST", "/models/m/promote", {"version": "9"}, UnknownVersion),
        ("POST", "/models/none/promote", {"version": "1"}, UnknownModel),
        ("POST", "/models/m/rollback", {}, InvalidField),
        ("POST", "/v2/repository/models/none/load", {}, UnknownModel),
        ("POST", "/v2/repository/models/m/load", {"parameters": {"config": "{}"}}, InvalidField),
    ],
)
def test_what_cannot_be_steered_changes_nothing(
    steered: Api, root: Path, method: str, path: str, body: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        steered.request(method, path, json=body)
    assert list(root.rglob("policy.json")) == []


def test_only_administrators_steer(root: Path) -> None:
    api = Api(Repository([model("m", "1")]), root=root, is_admin=False)
    for method, path in (
        ("GET", "/models/m/policy"),
        ("PUT", "/models/m/policy"),
        ("POST", "/models/m/promote"),
        ("POST", "/models/m/rollback"),
        ("POST", "/v2/repository/models/m/load"),
        ("POST", "/v2/repository/models/m/unload"),
    ):
        with pytest.raises(Forbidden):
            api.request(method, path, json={} if method != "GET" else None)
    assert api.request("POST", "/v2/repository/index", json={}).status_code == 200


def test_a_models_directory_that_cannot_be_written(steered: Api, root: Path) -> None:
    shutil.rmtree(root / "m")
    with pytest.raises(ReadOnlyModels):
        put(steered, default="1")


def test_an_unloaded_model_is_in_the_index(steered: Api, root: Path) -> None:
    (root / "m" / "1").mkdir()
    assert steered.request("POST", "/v2/repository/models/m/unload", json={}).json() == {}
    with pytest.raises(UnknownModel, match="is unloaded"):
        steered.request("GET", "/v2/models/m/ready")
    for loaded in steered.repository.versions("m"):
        steered.repository.remove(loaded)
    index = steered.request("POST", "/v2/repository/index").json()
    assert index == [{"name": "m", "version": "1", "state": "UNAVAILABLE", "reason": "unloaded"}]
    assert steered.request("POST", "/v2/repository/index", json={"ready": True}).json() == []
    steered.repository.add(model("m", "1"))
    assert steered.request("POST", "/v2/repository/models/m/load", json={}).json() == {}
    assert steered.request("GET", "/v2/models/m/ready").json()["ready"] is True
