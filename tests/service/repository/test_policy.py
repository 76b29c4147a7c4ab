"""The policy of a model: what its file may say, and what a faulty one changes."""

import json
import os
from pathlib import Path

import pytest

from service.errors import ReadOnlyModels
from service.repository import Canary, Policies, Policy, read_policy, write_policy

WHOLE = Policy(
    default="production",
    aliases={"production": "2", "staging": "3"},
    canary=Canary(version="staging", weight=0.05),
    shadow="4",
    previous="1",
)


def test_a_policy_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_policy(tmp_path, WHOLE)
    assert read_policy(tmp_path) == WHOLE
    assert [path.name for path in tmp_path.iterdir()] == ["policy.json"], "no temporary file is left"
    assert json.loads((tmp_path / "policy.json").read_text())["schema_version"] == 1
    assert (WHOLE.resolve("staging"), WHOLE.resolve("7")) == ("3", "7")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('{"default": 2}', "default: Input should be a valid string"),
        ('{"default": "production"}', "default: 'production' is neither a version nor one of the aliases"),
        ('{"aliases": {"2": "3"}}', "aliases.2"),
        ('{"aliases": {"a": "b"}}', "aliases.a"),
        ('{"aliases": {"highest": "3"}}', '"highest" cannot be an alias'),
        ('{"canary": {"version": "3", "weight": 1.5}}', "canary.weight"),
        ('{"canary": {"version": "highest", "weight": 0.5}}', "canary.version"),
        ('{"shadow": "gone"}', "shadow"),
        ('{"schema_version": 2}', "schema_version"),
        ('{"defualt": "2"}', "defualt: Extra inputs are not permitted"),
        ("{", "Invalid JSON"),
    ],
)
def test_a_faulty_policy_changes_nothing_and_is_logged_once(
    text: str, fault: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "m").mkdir()
    write_policy(tmp_path / "m", WHOLE)
    policies = Policies(tmp_path)
    policies.read()
    (tmp_path / "m" / "policy.json").write_text(text)
    for _ in range(2):
        policies.read()
    assert policies.get("m") == WHOLE and policies.num_changes == 1
    assert fault in policies.faults["m"] and str(tmp_path / "m" / "policy.json") in policies.faults["m"]
    assert caplog.text.count("nothing changes until it is corrected") == 1
    fresh = Policies(tmp_path)
    fresh.read()
    assert fresh.get("m") is None and fresh.names() == ["m"], "a new worker follows the others"
    (tmp_path / "m" / "policy.json").unlink()
    policies.read()
    assert policies.get("m") == Policy() and policies.faults == {}


def test_which_models_are_not_to_be_loaded(tmp_path: Path) -> None:
    for name, policy in (("m", Policy(unloaded=True)), ("n", Policy())):
        (tmp_path / name).mkdir()
        write_policy(tmp_path / name, policy)
    policies = Policies(tmp_path)
    policies.read()
    assert policies.unloaded() == {"m"}


def test_a_directory_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ReadOnlyModels, match=r"policy\.json cannot be written"):
        write_policy(tmp_path / "absent", WHOLE)
    (tmp_path / "policy.json").mkdir()
    with pytest.raises(ReadOnlyModels):
        write_policy(tmp_path, WHOLE)
    assert os.listdir(tmp_path) == ["policy.json"]
