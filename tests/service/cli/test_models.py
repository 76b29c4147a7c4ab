"""`cellgate models`: a line or an object for each version."""

import json
from pathlib import Path

import pytest

from service.manifest import MANIFEST_FILE
from tests.service.cli.command import run


def test_models_are_listed_as_text_and_as_json(models_dir: Path) -> None:
    shown = run("models", "--models-dir", str(models_dir))
    assert shown.exit_code == 0 and shown.output.split()[:4] == ["vowels", "1", "classify", "exact"]
    listed = json.loads(run("models", "--models-dir", str(models_dir), "--json").output)
    assert [(row["name"], row["version"], row["exact"]) for row in listed] == [("vowels", "1", True)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            '{\n "task": "label"\n "inputs"',
            "model.json: Invalid JSON: expected `,` or `}` at line 3 column 2",
        ),
        ('{"inputs": [], "outputs": []}', "model.json: task: Field required; inputs: "),
        ("", "model.json: Invalid JSON: EOF while parsing a value at line 1 column 0"),
    ],
)
def test_an_invalid_manifest_is_reported_with_the_place(text: str, expected: str, tmp_path: Path) -> None:
    folder = tmp_path / "bad" / "1"
    folder.mkdir(parents=True)
    (folder / MANIFEST_FILE).write_text(text)
    shown = run("models", "--models-dir", str(tmp_path))
    assert shown.exit_code == 1 and f"bad/1/{expected}" in shown.output
