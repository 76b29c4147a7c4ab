"""A version is served only after it has passed its example; a faulty one is refused with place and reason."""

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from service.engine import Batching, OnnxEngine, SingleCoreRunner
from service.errors import StartupError
from service.manifest import MANIFEST_FILE
from service.repository import Hardware, Loader
from service.sequence import Batch, Chunk, Result, Sequence
from tests.service.fakes import WrappedEngine

Change = dict[str, Any]
BATCHING = Batching(max_batch=8, chunk_steps=5, max_waiting=99)


@pytest.fixture
def folder(models_dir: Path, tmp_path: Path) -> Path:
    """A copy of the committed model, to be changed."""
    copied = tmp_path / "vowels" / "1"
    shutil.copytree(models_dir / "vowels" / "1", copied)
    return copied


def loader(batching: Batching = BATCHING) -> Loader:
    return Loader(batching, Hardware("cpu", 1))


def change(folder: Path, **fields: Any) -> None:
    path = folder / MANIFEST_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_the_committed_model_is_exact_and_calibrated(
    models_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        prepared = loader().prepare(models_dir / "vowels" / "1")
    assert prepared.difference == 0 and prepared.scheduler.ragged
    assert isinstance(prepared.runner, SingleCoreRunner)
    assert 0 < prepared.scheduler.cost.predict(1, 1) < prepared.scheduler.cost.predict(8, 16)
    assert "model vowels version 1 on CPUExecutionProvider, exact" in caplog.text


def test_a_loaded_model_answers_on_the_running_loop(models_dir: Path) -> None:
    async def serve() -> Sequence:
        model = loader().load(models_dir / "vowels" / "1")
        assert (model.name, model.version, model.is_exact) == ("vowels", "1", True)
        assert model.provider == "CPUExecutionProvider"
        sequence = Sequence((np.ones((9, 12), np.float32),), model.initial_state)
        await model.worker.predict(sequence)
        await model.worker.stop()
        return sequence

    assert asyncio.run(serve()).output().sum() == pytest.approx(1)


def test_a_call_that_is_expected_to_be_long_is_not_inline(models_dir: Path) -> None:
    batch = Batch([Chunk(Sequence((np.ones((9, 12), np.float32),), ()), 0, 9)])
    for inline_s, expected in ((0.0, False), (60.0, True)):
        batching = Batching(max_batch=8, chunk_steps=16, max_waiting=64, inline_s=inline_s)
        assert loader(batching).prepare(models_dir / "vowels" / "1").runner.is_inline(batch) is expected


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
        loader().prepare(folder)
    assert expected in refused.value.detail


def test_a_graph_whose_answer_is_not_the_promised_one_is_refused(folder: Path) -> None:
    example = json.loads((folder / MANIFEST_FILE).read_text())["example"]
    change(folder, example=example | {"output": [0.0] * 9})
    with pytest.raises(StartupError, match="the example gives"):
        loader().prepare(folder)
    change(folder, example=example | {"steps": [[1.0]]})
    with pytest.raises(StartupError, match="cannot be read: expected 12 numbers"):
        loader().prepare(folder)


def test_a_graph_that_draws_random_numbers_is_refused(folder: Path) -> None:
    model = onnx.load(folder / "model.onnx")
    noise = onnx.helper.make_node("RandomNormal", [], ["noise"], shape=[1])
    model.graph.node.append(noise)
    onnx.save(model, folder / "model.onnx")
    with pytest.raises(StartupError, match="draws random numbers"):
        loader().prepare(folder)


def test_a_broken_or_missing_file_is_named(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"not a graph")
    with pytest.raises(StartupError, match=r"model\.onnx: not a valid ONNX file"):
        loader().prepare(folder)
    (folder / MANIFEST_FILE).unlink()
    with pytest.raises(StartupError, match=r"model\.json: No such file"):
        loader().prepare(folder)


class RaggedFault(WrappedEngine):
    """Has the fault of some versions of CUDA's LSTM: rows shorter than their batch come out wrong."""

    def run(self, batch: Batch) -> list[Result]:
        return [
            result if chunk.steps == batch.steps else _shift(result)
            for chunk, result in zip(batch.chunks, self.wrapped.run(batch), strict=True)
        ]


class BatchFault(WrappedEngine):
    """Answers wrongly for every row that shares a call."""

    def run(self, batch: Batch) -> list[Result]:
        results = self.wrapped.run(batch)
        return results if len(results) == 1 else list(map(_shift, results))


def _shift(result: Result) -> Result:
    extra = tuple(array + 1 for array in result.extra)
    return Result(result.output + 1, tuple(array + 1 for array in result.state), extra)


def test_an_engine_that_misreads_ragged_rows_never_gets_any(
    models_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = models_dir / "vowels" / "1"
    prepared = Loader(BATCHING, Hardware("cpu", 1), open_engine=RaggedFault).prepare(folder)
    assert prepared.difference == 0, "without ragged rows it is exact"
    assert not prepared.scheduler.ragged
    assert "every batch will have rows of one length" in caplog.text
    rng = np.random.default_rng(0)
    inputs = [rng.standard_normal((length, 12), np.float32) for length in (3, 17, 9, 17, 1)]
    sequences = [Sequence((x,), prepared.engine.initial_state) for x in inputs]
    for sequence in sequences:
        prepared.scheduler.add(sequence)
    while batch := prepared.scheduler.schedule(0.0):
        prepared.scheduler.commit(batch, prepared.engine.run(batch))
    sound = OnnxEngine(folder / "model.onnx", prepared.manifest, provider="cpu")
    for x, sequence in zip(inputs, sequences, strict=True):
        alone = Sequence((x,), sound.initial_state)
        expected = sound.run(Batch([Chunk(alone, 0, len(x))]))[0].output[-1]
        assert sequence.output().tobytes() == expected.tobytes()


def test_an_engine_whose_rows_influence_each_other_is_refused(models_dir: Path) -> None:
    loader = Loader(BATCHING, Hardware("cpu", 1), open_engine=BatchFault)
    with pytest.raises(
        StartupError, match=r"rows of one call influence each other by 1 .*is axis 0 the batch"
    ):
        loader.prepare(models_dir / "vowels" / "1")
