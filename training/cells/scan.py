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
    alive = write_is_alive(graph, layer)
    axis = graph.weight("layer_axis", np.array([0]))
    before = [graph.add("Squeeze", [name, axis], [layer.name(f"{name}_before")]) for name in layer.start]
    after = [layer.name(f"{end or start}_after") for start, end in zip(layer.start, layer.end, strict=True)]
    y = layer.name("hidden")
    graph.add(
        "Scan",
        [*before, *parts, alive],
        [*after, y],
        body=_body(list(parts.values()), width, widths, write_step).proto(),
        num_scan_inputs=len(parts) + 1,
    )
    for name, end in zip(after, layer.end, strict=True):
        if end:
            graph.add("Unsqueeze", [name, axis], [end])
    return y


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
    if graph.has(IS_ALIVE):
        return IS_ALIVE
    first, one = graph.weight("first_step", np.array(0)), graph.weight("one_step", np.array(1))
    time = graph.add("Squeeze", [graph.add("Shape", [layer.x], ["time_shape"], end=1)], ["time"])
    steps = graph.add("Range", [first, time, one], ["steps"])
    last = graph.weight("last_axis", np.array([-1]))
    by_time = graph.add("Unsqueeze", [steps, last], ["steps_by_time"])  # [time, 1]
    lengths = graph.add("Cast", [layer.lengths], ["lengths_int64"], to=TensorProto.INT64)
    is_alive = graph.add("Less", [by_time, lengths], ["is_alive_by_row"])  # [time, batch]
    return graph.add("Unsqueeze", [is_alive, last], [IS_ALIVE])
