"""What is served has proved itself; what cannot be served ends the start, and says where and why."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from service.errors import StartupError, UnknownModel, UnknownVersion
from service.manifest import MANIFEST_FILE
from tests.service.loading import load

Change = dict[str, Any]


@pytest.fixture
def folder(models_dir: Path, tmp_path: Path) -> Path:
    """A copy of the committed model to spoil."""
    copied = tmp_path / "vowels" / "1"
    shutil.copytree(models_dir / "vowels" / "1", copied)
    return copied


def change(folder: Path, **fields: Any) -> None:
    path = folder / MANIFEST_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_the_committed_model_is_exact(models_dir: Path) -> None:
    model = load(models_dir).get()
    assert (model.name, model.version, model.is_exact, model.provider) == (
        "vowels",
        "1",
        True,
        "CPUExecutionProvider",
    )


def test_version_ten_comes_after_version_two(folder: Path, tmp_path: Path) -> None:
    for version in ("2", "10"):
        shutil.copytree(folder, tmp_path / "vowels" / version)
    (tmp_path / "vowels" / "draft").mkdir()
    (tmp_path / ".hidden" / "1").mkdir(parents=True)
    repository = load(tmp_path)
    assert repository.get().version == "10"
    assert repository.get("vowels", "2").version == "2"
    assert [model.version for model in repository.versions("vowels")] == ["1", "2", "10"]
    with pytest.raises(UnknownVersion, match="there are 1, 2, 10"):
        repository.get("vowels", "3")


def test_among_several_models_one_has_to_be_named(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "other" / "1")
    repository = load(tmp_path)
    assert repository.get("other").name == "other"
    for name in (None, "third"):
        with pytest.raises(UnknownModel, match="other, vowels"):
            repository.get(name)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"task": "guess"}, "task: Input should be"),
        ({"schema_version": 2}, "schema_version"),
        ({"colour": "red"}, "colour: Extra inputs"),
        ({"example": None}, "an example is needed"),
        ({"lengths": None}, "graph input 'lengths' is not in the manifest"),
        ({"lengths": "sizes"}, "manifest names input 'sizes'"),
        ({"inputs": [{"name": "x", "kind": "text", "dims": [12]}]}, "not served yet"),
        (
            {"inputs": [{"name": "x", "dtype": "float64", "dims": [12]}]},
            "float32 in the graph, float64 in the manifest",
        ),
        ({"outputs": [{"name": "z", "dims": [9]}]}, "manifest names output 'z'"),
        ({"states": []}, "graph input 'c' is not in the manifest"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(folder: Path, fields: Change, expected: str) -> None:
    change(folder, **fields)
    with pytest.raises(StartupError, match="vowels/1") as refused:
        load(folder.parent.parent)
    assert expected in refused.value.detail


def test_a_graph_that_answers_otherwise_than_promised_is_refused(folder: Path) -> None:
    example = json.loads((folder / MANIFEST_FILE).read_text())["example"]
    change(folder, example=example | {"output": [0.0] * 9})
    with pytest.raises(StartupError, match="the example gives"):
        load(folder.parent.parent)
    change(folder, example=example | {"steps": [[1.0]]})
    with pytest.raises(StartupError, match="cannot be read: expected 12 numbers"):
        load(folder.parent.parent)


def test_what_is_no_model_is_said_with_its_place(folder: Path, tmp_path: Path) -> None:
    (folder / "model.onnx").write_bytes(b"not a graph")
    with pytest.raises(StartupError, match=r"model\.onnx: ONNX Runtime cannot load it"):
        load(tmp_path)
    (folder / MANIFEST_FILE).unlink()
    with pytest.raises(StartupError, match=r"model\.json: No such file"):
        load(tmp_path)
    with pytest.raises(StartupError, match=r"expected <name>/<version>/model\.onnx"):
        load(tmp_path / "empty")
