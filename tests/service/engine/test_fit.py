"""A manifest that does not fit its graph is refused with every difference and what to change."""

from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto as P
from onnx import helper

from service.engine.onnx import OnnxEngine
from service.errors import StartupError
from service.manifest import Manifest
from tests.service.engine.kinds import tensors
from tests.service.graphs import LSTM_STATES, Shape, model, write_lstm

Y3 = {"name": "y", "dims": [3]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inputs": [{"name": "z", "dims": [2]}]}, "manifest names input 'z'"),
        ({"inputs": [{"name": "z", "dims": [2]}]}, "graph input 'x' is not in the manifest"),
        ({"lengths": None}, "graph input 'lengths' is not in the manifest"),
        ({"inputs": [{"name": "x", "dims": [2], "dtype": "float64"}]}, "is float32 in the graph, float64 in"),
        ({"outputs": [{"name": "logits", "dims": [3]}]}, "manifest names output 'logits'"),
        (
            {"states": [LSTM_STATES[0], LSTM_STATES[1] | {"shape": [2, "batch", 3]}]},
            "state 'c' is [1, 'N', 3] in the graph, [2, 'batch', 3] in the manifest",
        ),
        (
            {"states": [LSTM_STATES[0], LSTM_STATES[1] | {"shape": ["batch", 3]}]},
            "its new value 'c_out' [1, 'N', 3]: another rank",
        ),
        ({"states": [LSTM_STATES[0], LSTM_STATES[1] | {"dtype": "float64"}]}, "input 'c' is float32 in the"),
        (
            {"states": [LSTM_STATES[0], LSTM_STATES[1] | {"dtype": "int8"}]},
            "output 'c_out' is float32 in the",
        ),
        ({"outputs": [Y3 | {"dtype": "int64"}]}, "output 'y' is float32 in the graph, int64 in the manifest"),
        (
            {"outputs": [Y3 | {"dims": []}]},
            "output 'y' is [N, T, 3] in the graph, [batch, time] in the manif",
        ),
        ({"outputs": [Y3 | {"steps": "last"}]}, "see dims, axes and steps of the output"),
        ({"inputs": [{"name": "x"}]}, "input 'x' is [N, T, 2] in the graph, [batch, time] in the manifest"),
        ({"inputs": [{"name": "x", "dims": [4]}]}, "input 'x' is [N, T, 2] in the graph, [batch, time, 4]"),
        ({"inputs": [{"name": "x", "dims": [2], "carry": 1}]}, "[batch, time, 3] in the manifest"),
        ({"lengths": "h", "states": [LSTM_STATES[1]]}, "the lengths 'h' are float32 in the graph, not int32"),
        ({"lengths": "h", "states": [LSTM_STATES[1]]}, "where [batch] is expected"),
        ({"constants": {"sr": 16000}}, "manifest names input 'sr'"),
        ({"states": [LSTM_STATES[0]]}, "graph input 'c' is not in the manifest"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused_with_the_reason(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path, manifest = write_lstm(tmp_path, **changes)
    with pytest.raises(StartupError) as caught:
        OnnxEngine(path, manifest)
    assert message in caught.value.detail and str(path) in caught.value.detail


def opened(folder: Path, x: Shape, axes: dict[str, Any], h: Shape | None = None, **fields: Any) -> OnnxEngine:
    """A graph that adds its state to its input."""
    size: Shape = h or [*x[:1], *x[-1:]]
    graph = model(
        [helper.make_node("Identity", ["x"], ["y"]), helper.make_node("Identity", ["h"], ["h_out"])],
        tensors(x=x, h=size), tensors(y=x, h_out=size), {},
    )  # fmt: skip
    onnx.save(graph, folder / "model.onnx")
    base = {
        "task": "label",
        "inputs": [{"name": "x", "dims": [2]}],
        "outputs": [{"name": "y", "dims": [2]}],
        "states": [{"input": "h", "output": "h_out", "shape": ["batch", 2]}],
    }
    return OnnxEngine(folder / "model.onnx", Manifest.model_validate(base | {"axes": axes} | fields))


@pytest.mark.parametrize(
    ("x", "axes", "message"),
    [
        ([4, "T", 2], {}, "the graph fixes its batch axis to 4; set axes.batch_size to 4"),
        (["N", 20, 2], {}, "the graph fixes its time axis to 20; set axes.time_size to 20"),
        ([4, "T", 2], {"batch_size": 2}, "input 'x' is [4, T, 2] in the graph, [2, time, 2] in the manifest"),
        ([4, "T", 2], {"batch_size": 2}, "state 'h' is [4, 2] in the graph, ['batch', 2] in the manifest"),
        (["N", "T", 2], {"time": None}, "[batch, 2] in the manifest: another rank"),
    ],
)
def test_sizes_that_the_graph_fixes_are_to_be_named(
    tmp_path: Path, x: Shape, axes: dict[str, Any], message: str
) -> None:
    with pytest.raises(StartupError) as caught:
        opened(tmp_path, x, axes)
    assert message in caught.value.detail


@pytest.mark.parametrize(
    ("x", "axes"),
    [
        ([4, "T", 2], {"batch_size": 4}),
        (["N", "T", 2], {"batch_size": 4}),
        (["N", 20, 2], {"time_size": 20}),
        (["N", "T", 2], {"time_size": 20}),
        ([None, None, None], {}),
    ],
)
def test_a_manifest_may_say_more_than_the_graph(tmp_path: Path, x: Shape, axes: dict[str, Any]) -> None:
    opened(tmp_path, x, axes)


def test_an_output_without_time_axis_has_only_the_last_step(tmp_path: Path) -> None:
    with pytest.raises(
        StartupError, match=r'has no time axis, but the inputs have one.*set its steps to "last"'
    ):
        opened(tmp_path, ["N", "T", 2], {}, outputs=[{"name": "y", "dims": [2], "axes": {"time": None}}])


def test_a_dtype_of_an_output_that_the_manifest_does_not_say_is_the_graphs(tmp_path: Path) -> None:
    graph = model(
        [helper.make_node("Cast", ["x"], ["y"], to=P.DOUBLE)],
        tensors(x=["N", "T", 2]), tensors(y=(P.DOUBLE, ["N", "T", 2])), {},
    )  # fmt: skip
    onnx.save(graph, tmp_path / "model.onnx")
    fields = {
        "task": "label",
        "inputs": [{"name": "x", "dims": [2]}],
        "outputs": [{"name": "y", "dims": [2]}],
    }
    assert OnnxEngine(tmp_path / "model.onnx", Manifest.model_validate(fields)).output_dtypes == ("float64",)
