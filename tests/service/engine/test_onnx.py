"""Every kind of graph we serve, in ragged batches and chunks, against what it must answer."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engine.graph import choose_provider
from service.engine.onnx import OnnxEngine
from service.engine.scheduler import Scheduler
from service.errors import StartupError
from service.manifest import GRAPH_FILE, Manifest
from service.repository.model import Model
from service.repository.rehearsal import Batching
from service.sequence import Array, Sequence
from tests.service import graphs
from tests.service.graphs import WIDTH, Kind
from tests.service.loading import load, run

LSTM: dict[str, Any] = {
    "inputs": graphs.X,
    "lengths": "lengths",
    "outputs": [{"name": "y", "dims": [3]}],
    "states": [
        {"input": "h", "output": "h_out", "shape": [1, "batch", 3]},
        {"input": "c", "output": "c_out", "shape": [1, "batch", 3]},
    ],
    "task": "label",
}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    """Every kind of summing graph, as the server loads it."""
    root = tmp_path_factory.mktemp("models")
    for kind in graphs.SUMMING:
        kind.write(root)
    return {model.name: model for model in load(root, Batching(max_batch=3, chunk_steps=4, max_waiting=99))}


@pytest.fixture(scope="module")
def vowels_engine(models_dir: Path, vowels: Manifest) -> OnnxEngine:
    return OnnxEngine(models_dir / "vowels" / "1" / GRAPH_FILE, vowels, provider="cpu")


@pytest.fixture
def write_lstm(tmp_path: Path) -> Callable[..., tuple[Path, Manifest]]:
    """Writes a native graph, and a manifest with some fields replaced."""

    def write(**changes: Any) -> tuple[Path, Manifest]:
        path = tmp_path / GRAPH_FILE
        onnx.save(graphs.lstm(), path)
        return path, Manifest.model_validate(LSTM | changes)

    return write


def test_this_file_covers_the_axes_the_issue_names(loaded: dict[str, Model]) -> None:
    manifests = [model.manifest for model in loaded.values()]
    assert {(m.axes.batch, m.axes.time, m.axes.batch_size) for m in manifests} == {
        (0, None, None), (0, 1, 1), (None, 0, None), (1, 0, None), (0, 1, None),
    }  # fmt: skip
    assert all(model.is_exact for model in loaded.values())


@pytest.mark.parametrize("kind", graphs.SUMMING, ids=lambda kind: kind.name)
@given(lengths=st.lists(st.integers(1, 11), min_size=1, max_size=7), seed=st.integers(0, 2**32 - 1))
def test_any_batch_of_any_graph_answers_as_one_by_one(
    loaded: dict[str, Model], kind: Kind, lengths: list[int], seed: int
) -> None:
    random = np.random.default_rng(seed)
    inputs = [random.integers(-9, 10, (length, WIDTH)).astype(np.float32) for length in lengths]
    keep_all = kind is not graphs.LAST_ONLY
    outputs = run(loaded[kind.name], [(x,) for x in inputs], keep_all=keep_all)
    for x, y in zip(inputs, outputs, strict=True):
        expected = kind.expected(x)
        assert np.array_equal(y, expected if keep_all else expected[-1])


def serve(
    engine: OnnxEngine, inputs: list[Array], *, max_batch: int, chunk_steps: int, ragged: bool = True
) -> list[Sequence]:
    scheduler = Scheduler(max_batch=max_batch, chunk_steps=chunk_steps, max_waiting=99, ragged=ragged)
    sequences = [Sequence((x,), engine.initial_state, keep_all=True) for x in inputs]
    for sequence in sequences:
        scheduler.add(sequence)
    while batch := scheduler.schedule(0.0):
        scheduler.commit(batch, engine.run(batch))
    return sequences


@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=9),
    max_batch=st.integers(1, 9),
    chunk_steps=st.integers(1, 17),
    ragged=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_batching_and_chunking_change_no_bit(
    vowels_engine: OnnxEngine, lengths: list[int], max_batch: int, chunk_steps: int, ragged: bool, seed: int
) -> None:
    random = np.random.default_rng(seed)
    inputs = [random.normal(size=(length, 12)).astype(np.float32) for length in lengths]
    together = serve(vowels_engine, inputs, max_batch=max_batch, chunk_steps=chunk_steps, ragged=ragged)
    for x, sequence in zip(inputs, together, strict=True):
        alone = serve(vowels_engine, [x], max_batch=1, chunk_steps=len(x))[0]
        assert np.array_equal(sequence.output(), alone.output())
        for ours, theirs in zip(sequence.state, alone.state, strict=True):
            assert np.array_equal(ours, theirs)


def test_the_last_step_alone_is_the_last_of_all(vowels_engine: OnnxEngine) -> None:
    x = np.ones((9, 12), np.float32)
    every = serve(vowels_engine, [x], max_batch=1, chunk_steps=4)[0].output()
    last = Sequence((x,), vowels_engine.initial_state)
    scheduler = Scheduler(max_batch=1, chunk_steps=4, max_waiting=1)
    scheduler.add(last)
    while batch := scheduler.schedule(0.0):
        scheduler.commit(batch, vowels_engine.run(batch))
    assert every.shape == (9, 9) and np.array_equal(last.output(), every[-1])
    assert len(last.outputs) == 1, "nobody asked for the others, so they are not kept"


def test_a_row_is_a_copy_that_does_not_hold_the_batch(vowels_engine: OnnxEngine) -> None:
    inputs = [np.ones((n, 12), np.float32) for n in (3, 30)]
    short, _ = serve(vowels_engine, inputs, max_batch=2, chunk_steps=30)
    assert short.outputs[0].base is None


def test_the_initial_state_is_what_the_manifest_says(
    write_lstm: Callable[..., tuple[Path, Manifest]],
) -> None:
    h, c = LSTM["states"]
    path, manifest = write_lstm(states=[h, c | {"initial": 0.5}])
    zero = OnnxEngine(path, manifest).initial_state
    assert [array.shape for array in zero] == [(1, 3), (1, 3)]
    assert (zero[0] == 0).all() and (zero[1] == 0.5).all() and zero[1].dtype == np.float32


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inputs": [{"name": "z", "dims": [2]}]}, "manifest names input 'z'"),
        ({"inputs": [{"name": "z", "dims": [2]}]}, "graph input 'x' is not in the manifest"),
        ({"lengths": None}, "graph input 'lengths' is not in the manifest"),
        ({"inputs": [{"name": "x", "dims": [2], "dtype": "float64"}]}, "is float32 in the graph, float64 in"),
        ({"outputs": [{"name": "logits", "dims": [3]}]}, "manifest names output 'logits'"),
        (
            {"states": [LSTM["states"][0], LSTM["states"][1] | {"shape": [2, "batch", 3]}]},
            "state 'c' is [1, 'N', 3] in the graph, [2, 'batch', 3] in the manifest",
        ),
        ({"states": [LSTM["states"][0]]}, "graph input 'c' is not in the manifest"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused_with_the_reason(
    write_lstm: Callable[..., tuple[Path, Manifest]], changes: dict[str, Any], message: str
) -> None:
    path, manifest = write_lstm(**changes)
    with pytest.raises(StartupError) as caught:
        OnnxEngine(path, manifest)
    assert message in caught.value.detail and str(path) in caught.value.detail


def test_what_is_no_graph_is_refused_with_its_path(tmp_path: Path, vowels: Manifest) -> None:
    missing, broken = tmp_path / "none.onnx", tmp_path / "broken.onnx"
    broken.write_bytes(b"no graph")
    for path in (missing, broken):
        with pytest.raises(StartupError, match=path.name):
            OnnxEngine(path, vowels)


@pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="this machine has CUDA"
)
def test_cuda_asked_for_and_absent_says_what_is_missing() -> None:
    with pytest.raises(StartupError, match=r"CPUExecutionProvider.*cellgate\[gpu\]"):
        choose_provider("cuda")
    assert choose_provider("auto") == choose_provider("cpu") == "CPUExecutionProvider"
