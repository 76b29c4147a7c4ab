"""Writes layers that no ONNX node computes, or none exactly, as a `Scan` whose body is one step.

    x [time, batch, features] ─ all products of x alone, at once ───────┐ step by step
    is_alive [time, batch, 1]: step < lengths ──────────────────────────┤
    state: h, … [batch, width] ──────────────────────────────────────── Scan ─ state at each row's length
                                                                        └───── y [time, batch, width]

A row past its length keeps its state, whatever the padding; its y there is undefined, and nothing reads it.
Products are `Gemm`s with constant weights, which ONNX Runtime packs at load: then the bits of a row do not
depend on the other rows of the batch.
"""

from collections.abc import Callable

import numpy as np
from onnx import TensorProto
from torch import nn

from training.cells.cell import Layer, Weights, weights_of
from training.graph import Graph

IS_ALIVE = "is_alive"

# (body, parts, state before) → y, state after; all names of [batch, width]
WriteStep = Callable[[Graph, list[str], list[str]], tuple[str, list[str]]]


def write_scan(
    graph: Graph, layer: Layer, parts: dict[str, int], width: int, widths: list[int], write_step: WriteStep
) -> str:
    """Write a layer; return the name of its y [time, batch, width].

    `parts`: the tensors [time, batch, width] that a step reads, with their widths. `widths`: those of the
    states.
    """
    alive = IS_ALIVE if layer.number else write_is_alive(graph, layer)
    axis = graph.weight("layer_axis", np.array([0]))
    before = [graph.add("Squeeze", [name, axis], [f"{name}_before_{layer.number}"]) for name in layer.start]
    after = [f"{name}_after_{layer.number}" for name in layer.end]
    y = layer.name("hidden")
    graph.add(
        "Scan",
        [*before, *parts, alive],
        [*after, y],
        body=_body(list(parts.values()), width, widths, write_step).proto(),
        num_scan_inputs=len(parts) + 1,
    )
    for name, end in zip(after, layer.end, strict=True):
        graph.add("Unsqueeze", [name, axis], [end])
    return y


def write_recurrence(graph: Graph, layer: Layer, keep: str, add: str, width: int) -> str:
    """Write state ← keep · state + add, unit by unit; return the name of the state at every step.

    `keep` and `add`: tensors [time, batch, width].
    """

    def write_step(body: Graph, parts: list[str], state: list[str]) -> tuple[str, list[str]]:
        kept = body.add("Mul", [parts[0], state[0]], ["kept"])
        after = body.add("Add", [kept, parts[1]], ["state_after"])
        return after, [after]

    return write_scan(graph, layer, {keep: width, add: width}, width, [width], write_step)


def write_joined(graph: Graph, name: str, first: str, x: str) -> str:
    """Write `first` [1, batch, width] and then x [time, batch, width]: [1 + time, batch, width]."""
    return graph.add("Concat", [first, x], [f"{name}_joined"], axis=0)


def write_delayed(graph: Graph, name: str, joined: str) -> str:
    """Write x one step later, from `write_joined`: [time, batch, width]."""
    keys = (("layer_axis", 0), ("last_row", -1))  # from, to, axes
    start, end = (graph.weight(key, np.array([value])) for key, value in keys)
    return graph.add("Slice", [joined, start, end, start], [f"{name}_delayed"])


def write_last(graph: Graph, layer: Layer, name: str, joined: str) -> str:
    """Write x at each row's last step, from `write_joined`: [1, batch, width]."""
    last = graph.add("GatherND", [joined, _write_last_steps(graph, layer)], [f"{name}_last"])
    return graph.add("Unsqueeze", [last, graph.weight("layer_axis", np.array([0]))], [f"{name}_end"])


def write_remainder(graph: Graph, name: str, gate: str) -> str:
    """Write 1 - gate."""
    return graph.add("Sub", [graph.weight("one", np.array(1, np.float32)), gate], [name])


def write_linear(graph: Graph, layer: Layer, name: str, linear: nn.Linear) -> str:
    """Write `linear` over the layer's x: [time, batch, out]."""
    weight = weights_of(linear.weight)
    bias = np.zeros(len(weight)) if linear.bias is None else weights_of(linear.bias)
    return write_affine(graph, layer, name, weight, bias)


def write_affine(graph: Graph, layer: Layer, name: str, weight: Weights, bias: Weights) -> str:
    """Write W x + b over the layer's x: [time, batch, out]."""
    stored = graph.weight(layer.name(f"{name}_weight"), weight.T.astype(np.float32))
    product = graph.add("MatMul", [layer.x, stored], [layer.name(f"{name}_product")])
    stored = graph.weight(layer.name(f"{name}_bias"), bias.astype(np.float32))
    return graph.add("Add", [product, stored], [layer.name(name)])


def write_product(body: Graph, name: str, weight: Weights, x: str, plus: str = "") -> str:
    """Write W x + plus over a step's x [batch, width]: [batch, out]."""
    stored = body.weight(f"{name}_weight", weight.astype(np.float32))
    return body.add("Gemm", [x, stored, plus] if plus else [x, stored], [name], transB=1)


def write_cell(body: Graph, in_forget: str, in_transform: str, c: str) -> str:
    """Write sigmoid(forget_gate) · c + sigmoid(in_gate) · tanh(in_transform): the new c.

    `in_forget` holds both gates [batch, 2 · hidden], the in_gate first. All arguments are before their
    activations.
    """
    body.add("Sigmoid", [in_forget], ["in_forget_open"])
    body.add("Split", ["in_forget_open"], ["in_gate", "forget_gate"], axis=-1)
    body.add("Tanh", [in_transform], ["candidate"])
    body.add("Mul", ["forget_gate", c], ["remembered"])
    body.add("Mul", ["in_gate", "candidate"], ["added"])
    return body.add("Add", ["remembered", "added"], ["c_after"])


def write_output(body: Graph, out_gate: str, c: str) -> str:
    """Write sigmoid(out_gate) · tanh(c): the new h."""
    body.add("Sigmoid", [out_gate], ["out_gate_open"])
    body.add("Tanh", [c], ["shown"])
    return body.add("Mul", ["out_gate_open", "shown"], ["h_after"])


def _body(part_widths: list[int], width: int, state_widths: list[int], write_step: WriteStep) -> Graph:
    """State, parts, `alive` → the state after the step, and y."""
    body = Graph("step")
    before = [body.input(f"state_{row}", ["batch", width]) for row, width in enumerate(state_widths)]
    parts = [body.input(f"part_{row}", ["batch", width]) for row, width in enumerate(part_widths)]
    alive = body.input("alive", ["batch", 1], kind=TensorProto.BOOL)
    y, after = write_step(body, parts, before)
    for new, old, state_width in zip(after, before, state_widths, strict=True):
        body.output(body.add("Where", [alive, new, old], [f"{old}_kept"]), ["batch", state_width])
    body.output(y, ["batch", width])
    return body


def write_is_alive(graph: Graph, layer: Layer) -> str:
    """Write `IS_ALIVE` [time, batch, 1], once for all layers: whether the row has this step."""
    first, one = graph.weight("first_step", np.array(0)), graph.weight("one_step", np.array(1))
    time = graph.add("Squeeze", [graph.add("Shape", [layer.x], ["time_shape"], end=1)], ["time"])
    steps = graph.add("Range", [first, time, one], ["steps"])
    last = graph.weight("last_axis", np.array([-1]))
    by_time = graph.add("Unsqueeze", [steps, last], ["steps_by_time"])  # [time, 1]
    lengths = _write_lengths(graph, layer)
    is_alive = graph.add("Less", [by_time, lengths], ["is_alive_by_row"])  # [time, batch]
    return graph.add("Unsqueeze", [is_alive, last], [IS_ALIVE])


def _write_lengths(graph: Graph, layer: Layer) -> str:
    """The lengths as int64, once in a graph."""
    name = "lengths_int64"
    if graph.has(name):
        return name
    return graph.add("Cast", [layer.lengths], [name], to=TensorProto.INT64)


def _write_last_steps(graph: Graph, layer: Layer) -> str:
    """[batch, 2]: each row's length and number, the place of its last step in x after one more step."""
    name = "last_steps"
    if graph.has(name):
        return name
    first, one = graph.weight("first_step", np.array(0)), graph.weight("one_step", np.array(1))
    count = graph.add("Squeeze", [graph.add("Shape", [layer.lengths], ["rows_shape"])], ["num_rows"])
    rows = graph.add("Range", [first, count, one], ["rows"])
    last = graph.weight("last_axis", np.array([-1]))
    by_row = [
        graph.add("Unsqueeze", [index, last], [f"{index}_by_row"])
        for index in (_write_lengths(graph, layer), rows)
    ]
    return graph.add("Concat", by_row, [name], axis=-1)
