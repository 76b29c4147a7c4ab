"""Tiny graphs of every kind we serve. All but the LSTM compute running sums: a wrong step is a wrong number.

Each `Kind` writes a version folder; `expected` is the graph's correct answer at every step.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from service.manifest import GRAPH_FILE, Manifest
from service.sequence import Array

FLOAT, INT32, INT64 = TensorProto.FLOAT, TensorProto.INT32, TensorProto.INT64
WIDTH = 2
Shape = list[int | str]


@dataclass(frozen=True)
class Kind:
    """A graph and the manifest that fits it, without the example."""

    name: str
    graph: Callable[[], onnx.ModelProto]
    manifest: dict[str, Any]
    expected: Callable[[Array], Array] = lambda x: np.cumsum(x, axis=0)

    def write(self, root: Path, version: str = "1", **changes: Any) -> Path:
        """Write `root`/<name>/<version>; keyword arguments replace manifest fields."""
        folder = root / self.name / version
        folder.mkdir(parents=True)
        onnx.save(self.graph(), folder / GRAPH_FILE)
        steps = np.arange(4 * WIDTH, dtype=np.float32).reshape(4, WIDTH)
        example = {"steps": steps.tolist(), "output": self.expected(steps)[-1].tolist()}
        fields = {"task": "label", "example": example} | self.manifest | changes
        Manifest.model_validate_json(Manifest.model_validate(fields).model_dump_json()).write(folder)
        return folder


def model(
    nodes: list[onnx.NodeProto],
    inputs: dict[str, tuple[int, Shape]],
    outputs: dict[str, tuple[int, Shape]],
    constants: dict[str, Any],
) -> onnx.ModelProto:
    """A checked ONNX model; `constants` become initializers."""
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()],
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in outputs.items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(proto, full_check=True)
    return proto


def one_step(batch: int | str = "N") -> onnx.ModelProto:
    """No time axis: one step a call. x, h [batch, width]; `scale` is an extra constant input."""
    row: Shape = [batch, WIDTH]
    return model(
        [helper.make_node("Add", ["h", "x"], ["h_out"]), helper.make_node("Mul", ["h_out", "scale"], ["y"])],
        {"x": (FLOAT, row), "h": (FLOAT, row), "scale": (FLOAT, [])},
        {"y": (FLOAT, row), "h_out": (FLOAT, row)},
        {},
    )


def sums(x: Shape, h: Shape, *, time: int, last: bool = False) -> onnx.ModelProto:
    """x with a time axis → the running sum at every step, or only at the last; h holds it between calls."""
    nodes = [
        helper.make_node("ReduceSum", ["x", "axis"], ["added"], keepdims=0),
        helper.make_node("Add", ["h", "added"], ["h_out"]),
    ]
    if last:
        nodes.append(helper.make_node("Identity", ["h_out"], ["y"]))
    else:
        nodes += [
            helper.make_node("CumSum", ["x", "axis"], ["sums"]),
            helper.make_node("Unsqueeze", ["h", "axis"], ["before"]),
            helper.make_node("Add", ["sums", "before"], ["y"]),
        ]
    return model(
        nodes,
        {"x": (FLOAT, x), "h": (FLOAT, h)},
        {"y": (FLOAT, h if last else x), "h_out": (FLOAT, h)},
        {"axis": np.array([time], np.int64)},
    )


def stacked() -> onnx.ModelProto:
    """Two states in one tensor [2, batch, width]: the running sum, and the running sum of squares."""
    nodes = [
        helper.make_node("Mul", ["x", "x"], ["squares"]),
        helper.make_node("ReduceSum", ["x", "one"], ["sum_x"], keepdims=0),
        helper.make_node("ReduceSum", ["squares", "one"], ["sum_squares"], keepdims=0),
        helper.make_node("Unsqueeze", ["sum_x", "zero"], ["first"]),
        helper.make_node("Unsqueeze", ["sum_squares", "zero"], ["second"]),
        helper.make_node("Concat", ["first", "second"], ["added"], axis=0),
        helper.make_node("Add", ["state", "added"], ["state_out"]),
        helper.make_node("Split", ["state"], ["sum_before", "squares_before"], axis=0),
        helper.make_node("CumSum", ["x", "one"], ["sums"]),
        helper.make_node("CumSum", ["squares", "one"], ["sums_of_squares"]),
        helper.make_node("Transpose", ["sum_before"], ["a"], perm=[1, 0, 2]),
        helper.make_node("Transpose", ["squares_before"], ["b"], perm=[1, 0, 2]),
        helper.make_node("Add", ["sums", "a"], ["left"]),
        helper.make_node("Add", ["sums_of_squares", "b"], ["right"]),
        helper.make_node("Concat", ["left", "right"], ["y"], axis=2),
    ]
    state: Shape = [2, "N", WIDTH]
    return model(
        nodes,
        {"x": (FLOAT, ["N", "T", WIDTH]), "state": (FLOAT, state)},
        {"y": (FLOAT, ["N", "T", 2 * WIDTH]), "state_out": (FLOAT, state)},
        {"zero": np.array([0], np.int64), "one": np.array([1], np.int64)},
    )


def tokens(vocabulary: int) -> onnx.ModelProto:
    """x [batch, time] token ids int64 → a running sum over their embeddings [batch, time, width]."""
    embeddings = np.arange(vocabulary * WIDTH, dtype=np.float32).reshape(vocabulary, WIDTH)
    nodes = [
        helper.make_node("Gather", ["embeddings", "x"], ["rows"]),
        helper.make_node("ReduceSum", ["rows", "one"], ["added"], keepdims=0),
        helper.make_node("Add", ["h", "added"], ["h_out"]),
        helper.make_node("CumSum", ["rows", "one"], ["sums"]),
        helper.make_node("Unsqueeze", ["h", "one"], ["before"]),
        helper.make_node("Add", ["sums", "before"], ["y"]),
    ]
    return model(
        nodes,
        {"x": (INT64, ["N", "T"]), "h": (FLOAT, ["N", WIDTH])},
        {"y": (FLOAT, ["N", "T", WIDTH]), "h_out": (FLOAT, ["N", WIDTH])},
        {"embeddings": embeddings, "one": np.array([1], np.int64)},
    )


def two_inputs() -> onnx.ModelProto:
    """Two named inputs [batch, time, width]; y is the running sum of both."""
    nodes = [
        helper.make_node("Add", ["a", "b"], ["x"]),
        helper.make_node("ReduceSum", ["x", "one"], ["added"], keepdims=0),
        helper.make_node("Add", ["h", "added"], ["h_out"]),
        helper.make_node("CumSum", ["x", "one"], ["sums"]),
        helper.make_node("Unsqueeze", ["h", "one"], ["before"]),
        helper.make_node("Add", ["sums", "before"], ["y"]),
    ]
    x: Shape = ["N", "T", WIDTH]
    return model(
        nodes,
        {"a": (FLOAT, x), "b": (FLOAT, x), "h": (FLOAT, ["N", WIDTH])},
        {"y": (FLOAT, x), "h_out": (FLOAT, ["N", WIDTH])},
        {"one": np.array([1], np.int64)},
    )


def whole_sequence() -> onnx.ModelProto:
    """Not causal, no state, no lengths: every step's answer is the sum over the whole sequence."""
    nodes = [
        helper.make_node("ReduceSum", ["x", "one"], ["sum"], keepdims=1),
        helper.make_node("Sub", ["x", "x"], ["zeros"]),
        helper.make_node("Add", ["zeros", "sum"], ["y"]),
    ]
    x: Shape = ["N", "T", WIDTH]
    return model(nodes, {"x": (FLOAT, x)}, {"y": (FLOAT, x)}, {"one": np.array([1], np.int64)})


def lstm(hidden: int = 3, seed: int = 0) -> onnx.ModelProto:
    """A native export in small: x [batch, time, width], lengths, h and c [1, batch, hidden] → y, h, c."""
    random = np.random.default_rng(seed)
    nodes = [
        helper.make_node("Transpose", ["x"], ["x_t"], perm=[1, 0, 2]),
        helper.make_node(
            "LSTM", ["x_t", "W", "R", "B", "lengths", "h", "c"], ["Y", "h_out", "c_out"], hidden_size=hidden
        ),
        helper.make_node("Squeeze", ["Y", "one"], ["y_t"]),
        helper.make_node("Transpose", ["y_t"], ["y"], perm=[1, 0, 2]),
    ]
    state: Shape = [1, "N", hidden]
    return model(
        nodes,
        {
            "x": (FLOAT, ["N", "T", WIDTH]),
            "lengths": (INT32, ["N"]),
            "h": (FLOAT, state),
            "c": (FLOAT, state),
        },
        {"y": (FLOAT, ["N", "T", hidden]), "h_out": (FLOAT, state), "c_out": (FLOAT, state)},
        {
            "W": random.normal(size=(1, 4 * hidden, WIDTH)).astype(np.float32),
            "R": random.normal(size=(1, 4 * hidden, hidden)).astype(np.float32) / np.float32(np.sqrt(hidden)),
            "B": np.zeros((1, 8 * hidden), np.float32),
            "one": np.array([1], np.int64),
        },
    )


def _state(name: str = "h", shape: Shape | None = None) -> dict[str, Any]:
    return {"input": name, "output": f"{name}_out", "shape": shape or ["batch", WIDTH]}


X, Y = [{"name": "x", "dims": [WIDTH]}], [{"name": "y", "dims": [WIDTH]}]
ONE_STEP = Kind(
    "one-step",
    one_step,
    {"inputs": X, "outputs": Y, "states": [_state()], "constants": {"scale": 1}, "axes": {"time": None}},
)
BATCH_OF_ONE = Kind(
    "batch-of-one",
    lambda: sums([1, "T", WIDTH], [1, WIDTH], time=1),
    {"inputs": X, "outputs": Y, "states": [_state(shape=[1, WIDTH])], "axes": {"batch_size": 1}},
)
NO_BATCH_AXIS = Kind(
    "no-batch-axis",
    lambda: sums(["T", WIDTH], [WIDTH], time=0),
    {"inputs": X, "outputs": Y, "states": [_state(shape=[WIDTH])], "axes": {"batch": None, "time": 0}},
)
TIME_FIRST = Kind(
    "time-first",
    lambda: sums(["T", "N", WIDTH], ["N", WIDTH], time=0),
    {"inputs": X, "outputs": Y, "states": [_state()], "axes": {"batch": 1, "time": 0}},
)
UNIFORM = Kind(
    "uniform",
    lambda: sums(["N", "T", WIDTH], ["N", WIDTH], time=1),
    {"inputs": X, "outputs": Y, "states": [_state()]},
)
STACKED = Kind(
    "stacked",
    stacked,
    {
        "inputs": X,
        "outputs": [{"name": "y", "dims": [2 * WIDTH]}],
        "states": [_state("state", [2, "batch", WIDTH])],
    },
    lambda x: np.concatenate([np.cumsum(x, axis=0), np.cumsum(x * x, axis=0)], axis=1),
)
LAST_ONLY = Kind(
    "last-only",
    lambda: sums(["N", "T", WIDTH], ["N", WIDTH], time=1, last=True),
    {"inputs": X, "outputs": [Y[0] | {"steps": "last"}], "states": [_state()], "task": "classify"},
)
WHOLE = Kind(
    "whole",
    whole_sequence,
    {"inputs": X, "outputs": Y, "causal": False},
    lambda x: np.broadcast_to(x.sum(axis=0), x.shape),
)
SUMMING = [ONE_STEP, BATCH_OF_ONE, NO_BATCH_AXIS, TIME_FIRST, UNIFORM, STACKED, LAST_ONLY, WHOLE]

LSTM_STATES = [
    {"input": "h", "output": "h_out", "shape": [1, "batch", 3]},
    {"input": "c", "output": "c_out", "shape": [1, "batch", 3]},
]


def write_lstm(folder: Path, **changes: Any) -> tuple[Path, Manifest]:
    """Write the graph of `lstm()`; its path and its manifest, with some fields replaced."""
    path = folder / GRAPH_FILE
    onnx.save(lstm(), path)
    fields = {
        "inputs": X,
        "lengths": "lengths",
        "outputs": [{"name": "y", "dims": [3]}],
        "states": LSTM_STATES,
        "task": "label",
    }
    return path, Manifest.model_validate(fields | changes)


def gated(*, looks_ahead: bool = False) -> onnx.ModelProto:
    """Running sums of x, and two gates: x and -x, or the sum of all steps in the call.

    The nodes of gates come first, and use a constant of the others and one of their own.
    """
    nodes = [
        helper.make_node("Mul", ["x", "minus"], ["negative"]),
        helper.make_node("Concat", ["x", "negative"], ["gates"], axis=2),
        helper.make_node("ReduceSum", ["x", "axis"], ["added"], keepdims=0),
        helper.make_node("Add", ["h", "added"], ["h_out"]),
        helper.make_node("CumSum", ["x", "axis"], ["sums"]),
        helper.make_node("Unsqueeze", ["h", "axis"], ["before"]),
        helper.make_node("Add", ["sums", "before"], ["y"]),
    ]
    if looks_ahead:
        nodes[0] = helper.make_node("CumSum", ["x", "axis"], ["negative"], reverse=1)
    x: Shape = ["N", "T", WIDTH]
    constants: dict[str, Any] = {"axis": np.array([1], np.int64)}
    constants |= {} if looks_ahead else {"minus": np.array(-1, np.float32)}
    outputs: dict[str, tuple[int, Shape]] = {
        "gates": (FLOAT, ["N", "T", 2 * WIDTH]),
        "y": (FLOAT, x),
        "h_out": (FLOAT, ["N", WIDTH]),
    }
    return model(nodes, {"x": (FLOAT, x), "h": (FLOAT, ["N", WIDTH])}, outputs, constants)


GATED = Kind(
    "gated",
    gated,
    {
        "inputs": [{"name": "x", "dims": [WIDTH]}],
        "states": [{"input": "h", "output": "h_out", "shape": ["batch", WIDTH]}],
        "outputs": [
            {"name": "y", "dims": [WIDTH]},
            {"name": "gates", "kind": "gates", "dims": [2 * WIDTH], "gates": {"names": ["open", "shut"]}},
        ],
    },
)
