"""`cellgate policy`: the file of a model, shown and changed."""

import json
from pathlib import Path

from tests.service.cli.command import run


def test_a_policy_is_changed_part_by_part(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    options = ("--models-dir", str(tmp_path))
    for arguments in (
        ("--alias", "production=2", "--default", "production"),
        ("--canary", "3:0.25", "--shadow", "4", "--alias", "old=1"),
        ("--remove-alias", "old", "--shadow", "none"),
    ):
        changed = run("policy", "set", "m", *options, *arguments)
        assert changed.exit_code == 0, changed.output
    shown = json.loads(run("policy", "show", "m", *options).output)
    assert shown == json.loads(changed.output) == {
        "schema_version": 1, "default": "production", "aliases": {"production": "2"},
        "canary": {"version": "3", "weight": 0.25}, "shadow": None, "unloaded": False, "previous": None,
    }  # fmt: skip
    assert json.loads(run("policy", "set", "m", *options, "--canary", "none").output)["canary"] is None


def test_a_change_that_is_not_valid_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    options = ("--models-dir", str(tmp_path))
    for arguments, fault in (
        (("m", "--default", "gone"), "'gone' is neither a version nor one of the aliases"),
        (("m", "--canary", "3"), "expected VERSION:WEIGHT"),
        (("m", "--canary", "3:2"), "canary.weight"),
        (("none", "--default", "1"), "no model 'none'"),
    ):
        refused = run("policy", "set", *arguments, *options)
        assert refused.exit_code == 1 and fault in refused.output
    assert list(tmp_path.rglob("policy.json")) == []
    (tmp_path / "m" / "policy.json").write_text("{")
    assert "policy.json: Invalid JSON" in run("policy", "show", "m", *options).output
