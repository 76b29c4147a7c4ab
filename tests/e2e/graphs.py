"""Models of a few ONNX nodes, made by hand: every answer can be computed by heart.

`write_all` writes them in the layout of a models directory.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto as T
from onnx import helper, numpy_helper

from service.sequence import Array

Shape = Sequence[int | str]
Tensors = dict[str, tuple[int, Shape]]  # by name: the ONNX dtype, and the shape
node, value = helper.make_node, helper.make_tensor_value_info
STEP: list[int | str] = ["batch", "time"]
ONE: tuple[int, Shape] = (T.FLOAT, ["batch", 1])
TWO: list[int | str] = ["batch", 2]
THREE: tuple[int, Shape] = (T.FLOAT, ["batch", 3])


def write_all(root: Path) -> None:
    """Every model, as version 1."""
    for name, (graph, manifest) in MODELS.items():
        folder = root / name / "1"
        folder.mkdir(parents=True)
        onnx.save(graph, folder / "model.onnx")
        (folder / "model.json").write_text(json.dumps(manifest))


def state(name: str, shape: Shape, dtype: str = "float32") -> dict[str, Any]:
    return {"input": name, "output": f"{name}_out", "shape": list(shape), "dtype": dtype}


def graph_of(
    nodes: list[onnx.NodeProto], inputs: Tensors, outputs: Tensors,
    **constants: Array | int | list[int],
) -> onnx.ModelProto:  # fmt: skip
    """A graph from its nodes, its tensors by name (ONNX dtype, shape), and its constants."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [value(name, *spec) for name, spec in inputs.items()],
        [value(name, *spec) for name, spec in outputs.items()],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def look(size: int | None) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """A table of four rows, read by id, and the sum so far: [0, 1, 2] gives 111."""
    nodes = [
        node("Gather", ["table", "code"], ["found"]),
        node("CumSum", ["found", "axis"], ["sums"]),
        node("Unsqueeze", ["total", "axes"], ["old"]),
        node("Add", ["sums", "old"], ["value"]),
        node("ReduceSum", ["found", "axes"], ["all"], keepdims=0),
        node("Add", ["total", "all"], ["total_out"]),
    ]
    graph = graph_of(
        nodes,
        {"code": (T.INT64, STEP), "total": (T.FLOAT, ["batch", 1])},
        {"value": (T.FLOAT, [*STEP, 1]), "total_out": (T.FLOAT, ["batch", 1])},
        table=np.array([[1], [10], [100], [1000]], np.float32), axis=1, axes=[1],
    )  # fmt: skip
    return graph, {
        "task": "label",
        "inputs": [{"name": "code", "kind": "token", "dtype": "int64", "size": size}],
        "states": [state("total", ["batch", 1])],
        "outputs": [{"name": "value", "dims": [1]}],
        "example": {"steps": [0, 1, 2], "output": [111]},
    }


def week() -> tuple[onnx.ModelProto, dict[str, Any]]:
    """Exactly seven steps, no state: the largest minus the mean."""
    nodes = [
        node("ReduceMax", ["days", "axes"], ["top"], keepdims=0),
        node("ReduceMean", ["days", "axes"], ["mean"], keepdims=0),
        node("Sub", ["top", "mean"], ["spread"]),
    ]
    graph = graph_of(
        nodes,
        {"days": (T.FLOAT, ["batch", 7, 2])},
        {"spread": (T.FLOAT, ["batch", 2])},
        axes=[1],
    )
    return graph, {
        "task": "forecast",
        "causal": False,
        "axes": {"time_size": 7},
        "inputs": [{"name": "days", "dims": [2]}],
        "outputs": [{"name": "spread", "dims": [2], "steps": "last"}],
        "example": {"steps": [[day, 0] for day in range(7)], "output": [3, 0]},
    }


def scalar() -> tuple[onnx.ModelProto, dict[str, Any]]:
    """One plain number a step: the sum of all numbers so far."""
    nodes = [
        node("ReduceSum", ["x", "last"], ["level"], keepdims=0),
        node("CumSum", ["level", "axis"], ["sums"]),
        node("Unsqueeze", ["sum", "one"], ["old"]),
        node("Add", ["sums", "old"], ["y"]),
        node("ReduceSum", ["level", "one"], ["more"], keepdims=0),
        node("Add", ["sum", "more"], ["sum_out"]),
    ]
    graph = graph_of(
        nodes,
        {"x": (T.FLOAT, [*STEP, 2]), "sum": (T.FLOAT, ["batch"])},
        {"y": (T.FLOAT, STEP), "sum_out": (T.FLOAT, ["batch"])},
        last=[2], axis=1, one=[1],
    )  # fmt: skip
    return graph, {
        "task": "label",
        "inputs": [{"name": "x", "dims": [2]}],
        "states": [state("sum", ["batch"])],
        "outputs": [{"name": "y", "dims": []}],
        "example": {"steps": [[1, 1], [1, 1]], "output": 4},
    }


def share(non_finite: str) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """x / sum(x), which is 0/0 for a row of zeros."""
    nodes = [node("ReduceSum", ["x", "last"], ["sum"], keepdims=1), node("Div", ["x", "sum"], ["share"])]
    graph = graph_of(
        nodes, {"x": (T.FLOAT, [*STEP, 3])}, {"share": (T.FLOAT, [*STEP, 3])}, last=[2]
    )  # fmt: skip
    return graph, {
        "task": "classify",
        "causal": False,
        "non_finite": non_finite,
        "inputs": [{"name": "x", "dims": [3]}],
        "outputs": [{"name": "share", "kind": "probabilities", "dims": [3], "labels": ["a", "b", "c"]}],
        "example": {"steps": [[1, 3, 0]], "output": [0.25, 0.75, 0]},
    }


def mean(non_finite: str) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """The weighted mean so far of steps [value, weight]: 0/0 while the weights are 0, and ever after."""
    nodes = [
        node("Split", ["x", "parts"], ["number", "share"], axis=1),
        node("Mul", ["number", "share"], ["part"]),
        node("Add", ["weight", "share"], ["weight_out"]),
        node("Mul", ["mean", "weight"], ["old"]),
        node("Add", ["old", "part"], ["top"]),
        node("Div", ["top", "weight_out"], ["mean_out"]),
        node("Identity", ["mean_out"], ["y"]),
    ]
    graph = graph_of(
        nodes,
        {"x": (T.FLOAT, ["batch", 2]), "mean": ONE, "weight": ONE},
        {"y": ONE, "mean_out": ONE, "weight_out": ONE},
        parts=[1, 1],
    )
    return graph, {
        "task": "label",
        "non_finite": non_finite,
        "axes": {"batch": 0, "time": None},
        "inputs": [{"name": "x", "dims": [2]}],
        "states": [state("mean", ["batch", 1]), state("weight", ["batch", 1])],
        "outputs": [{"name": "y", "dims": [1]}],
        "example": {"steps": [[1, 1], [3, 1]], "output": [2]},
    }


def agent() -> tuple[onnx.ModelProto, dict[str, Any]]:
    """A policy: the action with the largest score so far, its scores, and their sum as its value."""
    nodes = [
        node("Add", ["scores", "seen"], ["seen_out"]),
        node("Softmax", ["seen_out"], ["odds"], axis=1),
        node("ArgMax", ["seen_out"], ["action"], axis=1, keepdims=0),
        node("ReduceSum", ["seen_out", "one"], ["value"], keepdims=0),
    ]
    graph = graph_of(
        nodes,
        {"scores": THREE, "seen": THREE},
        {"action": (T.INT64, ["batch"]), "odds": THREE, "value": (T.FLOAT, ["batch"]), "seen_out": THREE},
        one=[1],
    )
    return graph, {
        "task": "label",
        "axes": {"batch": 0, "time": None},
        "inputs": [{"name": "scores", "dims": [3]}],
        "states": [state("seen", ["batch", 3])],
        "outputs": [
            {"name": "action", "dtype": "int64"},
            {"name": "odds", "kind": "probabilities", "dims": [3], "labels": ["stay", "left", "right"]},
            {"name": "value"},
        ],
        "example": {"steps": [[0, 1, 0], [3, 0, 0]], "output": 0},
    }


def voice() -> tuple[onnx.ModelProto, dict[str, Any]]:
    """The sum so far of x · speaker: a vector of the speaker weights each step."""
    nodes = [
        node("Mul", ["x", "speaker"], ["weighted"]),
        node("ReduceSum", ["weighted", "one"], ["part"], keepdims=1),
        node("Add", ["sum", "part"], ["sum_out"]),
    ]
    graph = graph_of(
        nodes,
        {"x": (T.FLOAT, ["batch", 2]), "speaker": (T.FLOAT, ["batch", 2]), "sum": ONE},
        {"sum_out": ONE},
        one=[1],
    )
    return graph, {
        "task": "label",
        "axes": {"batch": 0, "time": None},
        "inputs": [{"name": "x", "dims": [2]}, {"name": "speaker", "dims": [2], "per": "sequence"}],
        "states": [state("sum", ["batch", 1])],
        "outputs": [{"name": "sum_out", "dims": [1]}],
        "example": {"steps": {"x": [[1, 2], [3, 4]], "speaker": [10, 1]}, "output": [46]},
    }


def buttons() -> tuple[onnx.ModelProto, dict[str, Any]]:
    """How often each of two buttons was pressed so far, where the level (a byte) was above 100."""
    nodes = [
        node("Greater", ["level", "limit"], ["is_loud"]),
        node("And", ["pressed", "is_loud"], ["counts"]),
        node("Cast", ["counts"], ["more"], to=T.INT64),
        node("Add", ["count", "more"], ["count_out"]),
    ]
    graph = graph_of(
        nodes,
        {"pressed": (T.BOOL, TWO), "level": (T.UINT8, TWO), "count": (T.INT64, TWO)},
        {"count_out": (T.INT64, TWO)},
        limit=np.array(100, np.uint8),
    )
    return graph, {
        "task": "label",
        "axes": {"batch": 0, "time": None},
        "inputs": [
            {"name": "pressed", "dtype": "bool", "dims": [2]},
            {"name": "level", "dtype": "uint8", "dims": [2]},
        ],
        "states": [state("count", TWO, "int64")],
        "outputs": [{"name": "count_out", "dtype": "int64", "dims": [2]}],
        "example": {
            "steps": {"pressed": [[True, True], [True, False]], "level": [[200, 50], [255, 255]]},
            "output": [2, 0],
        },
    }


def recent() -> tuple[onnx.ModelProto, dict[str, Any]]:
    """The sum of a number and the three before it, from a cache that is empty at step 0."""
    cache: tuple[int, Shape] = (T.FLOAT, ["batch", "entries"])
    nodes = [
        node("Concat", ["cache", "x"], ["seen"], axis=1),
        node("ReduceSum", ["seen", "one"], ["y"], keepdims=1),
        node("Slice", ["seen", "start", "end", "one"], ["cache_out"]),
    ]
    graph = graph_of(
        nodes, {"x": ONE, "cache": cache}, {"y": ONE, "cache_out": cache}, one=[1], start=[-3], end=[2**40]
    )
    return graph, {
        "task": "label",
        "axes": {"batch": 0, "time": None},
        "inputs": [{"name": "x", "dims": [1]}],
        "states": [state("cache", ["batch", 3]) | {"grows": 1}],
        "outputs": [{"name": "y", "dims": [1]}],
        "example": {"steps": [[1], [2], [3], [4], [5]], "output": [14]},
    }


def weather() -> tuple[onnx.ModelProto, dict[str, Any]]:
    """Two labels that are true or not independently: the sigmoid of the sum so far of each number."""
    nodes = [
        node("Add", ["sum", "x"], ["sum_out"]),
        node("Sigmoid", ["sum_out"], ["y"]),
    ]
    graph = graph_of(
        nodes, {"x": (T.FLOAT, TWO), "sum": (T.FLOAT, TWO)}, {"y": (T.FLOAT, TWO), "sum_out": (T.FLOAT, TWO)}
    )
    return graph, {
        "task": "multilabel",
        "axes": {"batch": 0, "time": None},
        "inputs": [{"name": "x", "dims": [2]}],
        "states": [state("sum", TWO)],
        "outputs": [
            {"name": "y", "kind": "labels", "dims": [2], "labels": ["wind", "rain"], "thresholds": [0.5, 0.6]}
        ],
        "example": {"steps": [[1, 0], [-1, 0]], "output": [0.5, 0.5]},
    }


MODELS = {
    "recent": recent(),
    "look": look(4),
    "open-look": look(None),
    "week": week(),
    "scalar": scalar(),
    "share": share("refuse"),
    "open-share": share("allow"),
    "mean": mean("refuse"),
    "open-mean": mean("allow"),
    "agent": agent(),
    "voice": voice(),
    "buttons": buttons(),
    "weather": weather(),
}
