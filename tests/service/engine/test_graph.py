"""Opening a graph: providers, dtypes, levels, and whose fault an error is."""

from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import numpy as np
import onnx
import onnxruntime
import pytest

from service.engine.graph import DTYPES, Optimization, choose_provider, dtype_of, raise_bad_input
from service.engine.onnx import OnnxEngine
from service.errors import InvalidField, SequenceTooLong, StartupError
from service.manifest import DType, Manifest
from service.sequence import Batch, Chunk, Sequence
from tests.service.engine.test_batching import manifest
from tests.service.graphs import write_lstm


def test_a_file_that_is_not_a_graph_is_refused_with_its_path(tmp_path: Path, vowels: Manifest) -> None:
    missing, broken = tmp_path / "none.onnx", tmp_path / "broken.onnx"
    broken.write_bytes(b"no graph")
    for path in (missing, broken):
        with pytest.raises(StartupError, match=path.name):
            OnnxEngine(path, vowels)


@pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="this machine has CUDA"
)
def test_cuda_required_and_missing_is_refused_with_the_package_to_install() -> None:
    with pytest.raises(StartupError, match=r"CPUExecutionProvider.*install onnxruntime-gpu"):
        choose_provider("cuda")
    assert choose_provider("auto") == choose_provider("cpu") == "CPUExecutionProvider"


def test_a_dtype_that_is_not_supported_is_refused_with_those_that_are() -> None:
    assert dtype_of(SimpleNamespace(name="x", type="tensor(int64)")) == "int64"
    with pytest.raises(StartupError, match=r"'x' is tensor\(string\); expected one of tensor\(float\)"):
        dtype_of(SimpleNamespace(name="x", type="tensor(string)"))


def test_every_dtype_of_a_manifest_is_one_of_onnx_runtimes() -> None:
    assert set(DTYPES.values()) == set(get_args(DType))


@pytest.mark.parametrize("optimization", get_args(Optimization))
def test_a_graph_can_be_opened_with_less_optimization(tmp_path: Path, optimization: Optimization) -> None:
    path, lstm = write_lstm(tmp_path)
    x = np.ones((5, 2), np.float32)
    answers = []
    for level in ("all", optimization):
        engine = OnnxEngine(path, lstm, provider="cpu", optimization=level)
        (result,) = engine.run(Batch([Chunk(Sequence((x,), engine.initial_state), 0, 5)]))
        answers.append(result.output)
    assert np.allclose(answers[0], answers[1], atol=1e-6)


def test_an_id_that_is_too_large_is_the_inputs_fault_and_all_else_is_not() -> None:
    tokens = manifest(inputs=[{"name": "x", "kind": "token", "dtype": "int64"}])
    error = RuntimeError("Status Message: indices element out of data bounds, idx=99")
    with pytest.raises(InvalidField, match="refuses an id: indices element out of data bounds, idx=99"):
        raise_bad_input(error, tokens, 5)
    raise_bad_input(error, manifest(), 5)
    raise_bad_input(RuntimeError("boom"), tokens, 5)


def positions(folder: Path, *, looked_up: bool) -> Path:
    """A graph that adds one of 4 positions to each step of x [batch, time, 2]."""
    node = onnx.helper.make_node
    length = [node("Shape", ["x"], ["shape"]), node("Gather", ["shape", "one"], ["steps"])]
    if looked_up:
        nodes = [node("Range", ["zero", "steps", "one"], ["at"]), node("Gather", ["table", "at"], ["p"])]
    else:
        nodes = [
            node("Unsqueeze", ["steps", "first"], ["end"]),
            node("Slice", ["table", "first", "end"], ["p"]),
        ]
    values = {
        "table": np.ones((4, 2), np.float32), "zero": np.array(0), "one": np.array(1), "first": np.array([0])
    }  # fmt: skip
    nodes = [*length, *nodes, node("Add", ["x", "p"], ["y"])]
    ports = [onnx.helper.make_tensor_value_info(name, 1, ["batch", "time", 2]) for name in ("x", "y")]
    weights = [onnx.numpy_helper.from_array(value, name) for name, value in values.items()]
    graph = onnx.helper.make_graph(nodes, "positions", ports[:1], ports[1:], weights)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, folder / "x.onnx")
    return folder / "x.onnx"


@pytest.mark.parametrize("looked_up", [True, False], ids=["looked up", "sliced"])
def test_more_steps_than_a_graph_has_positions_are_the_inputs_fault(looked_up: bool, tmp_path: Path) -> None:
    """They were an internal error, which named nothing."""
    ports = {"inputs": [{"name": "x", "dims": [2]}], "outputs": [{"name": "y", "dims": [2]}]}
    fields = manifest(**ports, states=[], lengths=None)
    engine = OnnxEngine(positions(tmp_path, looked_up=looked_up), fields, provider="cpu")

    def run(steps: int) -> None:
        engine.run(Batch([Chunk(Sequence((np.ones((steps, 2), np.float32),), (), keep_all=True), 0, steps)]))

    run(4)
    with pytest.raises(SequenceTooLong, match="6 time steps in a call, the graph takes at most 4"):
        run(6)
