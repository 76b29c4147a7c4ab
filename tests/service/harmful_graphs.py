"""Graphs that would end a server that loads them, or that read their weights from another file."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from service.manifest import GRAPH_FILE, MANIFEST_FILE

Shape = list[int | str]
X: Shape = ["batch", "time", 1]


def write(folder: Path, graph: onnx.GraphProto, **fields: Any) -> Path:
    """A version folder; the manifest is that of a graph from x to y without state, changed by `fields`."""
    folder.mkdir(parents=True)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / GRAPH_FILE)
    manifest = {
        "task": "label",
        "inputs": [{"name": "x", "dims": [1]}],
        "outputs": [{"name": "y", "dims": [1]}],
        "example": {"steps": [[1.0]], "output": [1.0]},
    }
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest | fields))
    return folder


def info(name: str, shape: Shape, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def graph(
    nodes: list[onnx.NodeProto], constants: dict[str, Any], inputs: list[Any], outputs: list[Any]
) -> onnx.GraphProto:
    weights = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    return helper.make_graph(nodes, "g", inputs, outputs, weights)


def endless(folder: Path) -> Path:
    """A loop whose condition never changes."""
    body = graph(
        [helper.make_node("Identity", ["c"], ["again"]), helper.make_node("Add", ["a", "one"], ["more"])],
        {"one": np.float32(1)},
        [info("i", [], TensorProto.INT64), info("c", [], TensorProto.BOOL), info("a", X)],
        [info("again", [], TensorProto.BOOL), info("more", X)],
    )
    loop = helper.make_node("Loop", ["", "true", "x"], ["y"], body=body)
    return write(folder, graph([loop], {"true": np.array(True)}, [info("x", X)], [info("y", X)]))


def huge(folder: Path) -> Path:
    """One step needs 40 GB."""
    nodes = [
        helper.make_node("Expand", ["x", "shape"], ["large"]),
        helper.make_node("ReduceSum", ["large"], ["sum"], keepdims=0),
        helper.make_node("Add", ["x", "sum"], ["y"]),
    ]
    shape = np.array([10_000, 1000, 1000])
    return write(folder, graph(nodes, {"shape": shape}, [info("x", X)], [info("y", X)]))


def half_lstm(folder: Path) -> Path:
    """A float16 LSTM and a dense layer, which ONNX Runtime 1.32 crashes on with all its optimizations."""
    features, hidden, out = 4, 8, 3
    rng = np.random.default_rng(0)
    sizes = {"W": (1, 4 * hidden, features), "R": (1, 4 * hidden, hidden), "B": (1, 8 * hidden)}
    sizes |= {"dense": (hidden, out), "bias": (out,)}
    weights = {name: (rng.normal(size=size) * 0.4).astype(np.float16) for name, size in sizes.items()}
    nodes = [
        helper.make_node("Transpose", ["x"], ["x_t"], perm=[1, 0, 2]),
        helper.make_node("LSTM", ["x_t", "W", "R", "B", "", "h", "c"], ["a", "hn", "cn"], hidden_size=hidden),
        helper.make_node("Squeeze", ["a", "axis"], ["b"]),
        helper.make_node("Transpose", ["b"], ["d"], perm=[1, 0, 2]),
        helper.make_node("MatMul", ["d", "dense"], ["e"]),
        helper.make_node("Add", ["bias", "e"], ["y"]),
    ]
    kind = TensorProto.FLOAT16
    states: dict[str, Shape] = {name: [1, "batch", hidden] for name in ("h", "c")}
    content = graph(
        nodes,
        weights | {"axis": np.array([1])},
        [info("x", ["batch", "time", features], kind), *(info(n, s, kind) for n, s in states.items())],
        [info("y", ["batch", "time", out], kind), *(info(f"{n}n", s, kind) for n, s in states.items())],
    )
    return write(
        folder,
        content,
        inputs=[{"name": "x", "dims": [features], "dtype": "float16"}],
        outputs=[{"name": "y", "dims": [out], "dtype": "float16"}],
        states=[
            {"input": n, "output": f"{n}n", "shape": list(s), "dtype": "float16"} for n, s in states.items()
        ],
        example={"steps": [[0.0] * features], "output": [0.0] * out, "tolerance": 9},
    )


def scaled(folder: Path, weight: float) -> Path:
    """y = the running sum of x times a weight, which is in `weights.bin`."""
    nodes = [
        helper.make_node("Mul", ["x", "weight"], ["wide"]),
        helper.make_node("ReduceMax", ["wide"], ["y_"], axes=[-1]),
        helper.make_node("CumSum", ["y_", "one"], ["sums"]),
        helper.make_node("Unsqueeze", ["s", "axes"], ["before"]),
        helper.make_node("Add", ["sums", "before"], ["y"]),
        helper.make_node("ReduceSum", ["y_", "axes"], ["more"], keepdims=0),
        helper.make_node("Add", ["s", "more"], ["s_out"]),
    ]
    constants = {"weight": np.full((1, 512), weight, np.float32), "one": np.array(1), "axes": np.array([1])}
    state: Shape = ["batch", 1]
    content = graph(nodes, constants, [info("x", X), info("s", state)], [info("y", X), info("s_out", state)])
    write(
        folder,
        content,
        states=[{"input": "s", "output": "s_out", "shape": state}],
        example={"steps": [[1.0], [1.0]], "output": [2 * weight]},
    )
    model = onnx.load(folder / GRAPH_FILE)
    onnx.save(
        model, folder / GRAPH_FILE, save_as_external_data=True, location="weights.bin", size_threshold=1000
    )
    return folder
