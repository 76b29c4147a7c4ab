"""Small graphs as other people export them, for proposals. Each function saves one and returns its path."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from service.manifest import Manifest
from service.repository import Draft, Options, propose
from service.sequence import Array
from tests.service.graphs import Shape

FEATURES, HIDDEN, CLASSES, TOKENS = 4, 8, 3, 20
N: Callable[..., onnx.NodeProto] = helper.make_node
Port = tuple[str, int, Shape]
F32, I64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
X: Port = ("x", F32, ["batch", "time", FEATURES])
H: Port = ("h", F32, [1, "batch", HIDDEN])
HN: Port = ("hn", F32, [1, "batch", HIDDEN])
Y: Port = ("y", F32, ["batch", "time", HIDDEN])

CELL: Port = ("h", F32, ["batch", HIDDEN])
ROW: Port = ("x", F32, ["batch", FEATURES])


def proposed(path: Path, **options: Any) -> Manifest:
    """The manifest of a draft that must be complete."""
    draft = propose(path, Options(**options))
    assert draft.manifest is not None, draft.open
    return draft.manifest


def opened(path: Path, **options: Any) -> Draft:
    """A draft that must not be complete."""
    draft = propose(path, Options(**options))
    assert draft.manifest is None
    return draft


def pairs(manifest: Manifest) -> dict[str, str]:
    """The new values of states, by input."""
    return {state.input: state.output for state in manifest.states}


def save(
    folder: Path,
    nodes: list[onnx.NodeProto],
    inputs: list[Port],
    outputs: list[Port],
    metadata: dict[str, str] | None = None,
    **constants: Any,
) -> Path:
    """Save a graph as x.onnx. `constants` become initializers, beside the weights of a GRU."""
    values = weights() | {name: np.asarray(value) for name, value in constants.items()}
    read = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "foreign",
        [helper.make_tensor_value_info(*port) for port in inputs],
        [helper.make_tensor_value_info(*port) for port in outputs],
        [numpy_helper.from_array(value, name) for name, value in values.items() if name in read],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, metadata or {})
    onnx.save(model, folder / "x.onnx")
    return folder / "x.onnx"


def weights() -> dict[str, Array]:
    """Of GRUs, LSTMs (with the prefix L) and linear cells."""
    random = np.random.default_rng(0)

    def draw(*shape: int) -> Array:
        return (random.normal(size=shape) * 0.4).astype(np.float32)

    return {
        "W": draw(1, 3 * HIDDEN, FEATURES), "R": draw(1, 3 * HIDDEN, HIDDEN), "B": draw(1, 6 * HIDDEN),
        "LW": draw(1, 4 * HIDDEN, FEATURES), "LR": draw(1, 4 * HIDDEN, HIDDEN), "LB": draw(1, 8 * HIDDEN),
        "w": draw(FEATURES, HIDDEN), "r": draw(HIDDEN, HIDDEN), "v": draw(HIDDEN, CLASSES),
        "E": draw(TOKENS, FEATURES), "zero": np.array([0]), "one": np.array([1]), "two": np.array([2]),
    }  # fmt: skip


def gru(x: str = "x", h: str = "h", y: str = "y", hn: str = "hn", **attributes: Any) -> list[onnx.NodeProto]:
    """Batch first: x [batch, time, FEATURES] → y [batch, time, HIDDEN], hn."""
    return [
        N("Transpose", [x], [f"{y}_x"], perm=[1, 0, 2]),
        N("GRU", [f"{y}_x", "W", "R", "B", "", h], [f"{y}_0", hn], hidden_size=HIDDEN, **attributes),
        N("Squeeze", [f"{y}_0", "one"], [f"{y}_1"]),
        N("Transpose", [f"{y}_1"], [y], perm=[1, 0, 2]),
    ]


def lstm(states: tuple[str, str] = ("h", "c"), after: tuple[str, str] = ("hn", "cn")) -> list[onnx.NodeProto]:
    """As `gru`."""
    return [
        N("Transpose", ["x"], ["x_t"], perm=[1, 0, 2]),
        N("LSTM", ["x_t", "LW", "LR", "LB", "", *states], ["Y0", *after], hidden_size=HIDDEN),
        N("Squeeze", ["Y0", "one"], ["Y1"]),
        N("Transpose", ["Y1"], ["y"], perm=[1, 0, 2]),
    ]


def cell(new: str = "new") -> list[onnx.NodeProto]:
    """One step: x [batch, FEATURES], h [batch, HIDDEN] → the new state."""
    return [
        N("Gemm", ["x", "w"], ["a"]),
        N("Gemm", ["h", "r"], ["b"]),
        N("Add", ["a", "b"], ["sum"]),
        N("Tanh", ["sum"], [new]),
    ]


def port(of: Port, name: str = "", shape: Shape | None = None, dtype: int = 0) -> Port:
    """Another name, shape or dtype."""
    return (name or of[0], dtype or of[1], shape or of[2])
