"""What is served has proved itself; what cannot be served ends the start, and says where and why."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.engine.onnx import OnnxEngine
from service.errors import StartupError, UnknownModel, UnknownVersion
from service.manifest import MANIFEST_FILE
from service.repository.rehearsal import Batching
from service.repository.repository import Hardware, prepare
from service.sequence import Batch, Chunk, Result, Sequence
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
        ({"inputs": [{"name": "x", "kind": "text", "dims": [12]}]}, "inputs.0.kind"),
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


class MisreadingEngine:
    """Has the fault that some versions of CUDA's LSTM have: rows shorter than their batch come out wrong."""

    def __init__(self, *given: Any, **named: Any) -> None:
        self._sound = OnnxEngine(*given, **named)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sound, name)

    def run(self, batch: Batch) -> list[Result]:
        results = self._sound.run(batch)
        return [
            result
            if chunk.steps == batch.steps
            else Result(result.output + 1, tuple(array + 1 for array in result.state))
            for chunk, result in zip(batch.chunks, results, strict=True)
        ]


def test_an_engine_that_misreads_ragged_rows_is_never_given_any(
    models_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.repository.repository.OnnxEngine", MisreadingEngine)
    batching = Batching(max_batch=8, chunk_steps=5, max_waiting=99)
    prepared = prepare(models_dir / "vowels" / "1", batching, Hardware("cpu", 1))
    assert prepared.difference == 0, "as it is used, it is exact"
    rng = np.random.default_rng(0)
    zero = prepared.engine.initial_state
    inputs = [rng.standard_normal((length, 12), np.float32) for length in (3, 17, 9, 17, 1)]
    sequences = [Sequence((x,), zero) for x in inputs]
    for sequence in sequences:
        prepared.scheduler.add(sequence)
    while batch := prepared.scheduler.schedule(0.0):
        prepared.scheduler.commit(batch, prepared.engine.run(batch))
    monkeypatch.undo()
    sound = prepare(models_dir / "vowels" / "1", batching, Hardware("cpu", 1)).engine
    for x, sequence in zip(inputs, sequences, strict=True):
        alone = Sequence((x,), zero)
        due = sound.run(Batch([Chunk(alone, 0, len(x))]))[0].output[-1]
        assert sequence.output().tobytes() == due.tobytes()
