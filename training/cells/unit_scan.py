"""Writes layers in which a unit reads no state but its own, as a `Scan` of elementwise operators.

    parts [time, batch, width] ──── step by step ┐
    state [1, batch, width] ──── Squeeze ─────── Scan ─ y [time, batch, width]: the state after each step
    state [1, batch, width] ─────────────────────────── Concat(state, y) ─ GatherND ─ state at each length

A row runs on past its length, whatever the padding: no row reads another one, its y there is not read, and
its state is gathered at its length. A `Where` in each step, as in `scan`, would take a quarter more time (32
steps, minGRU of 128 units).
"""

from collections.abc import Callable

import numpy as np
from onnx import TensorProto

from training.cells.cell import Layer
from training.graph import Graph

# (body, parts, state before) → state after, all names of [batch, width]
WriteUnitStep = Callable[[Graph, list[str], str], str]


def write_unit_scan(
    graph: Graph, layer: Layer, parts: list[str], width: int, write_step: WriteUnitStep
) -> tuple[str, str]:
    """Write a layer with one state: the names of y, and of y joined to the state before it (`write_joined`).

    `parts`: the tensors [time, batch, width] that a step reads.
    """
    [start], [end], y = layer.start, layer.end, layer.name("hidden")
    body = Graph("step")
    before = body.input("state", ["batch", width])
    read = [body.input(f"part_{row}", ["batch", width]) for row in range(len(parts))]
    after = write_step(body, read, before)
    for name in (after, body.add("Identity", [after], ["y_of_step"])):
        body.output(name, ["batch", width])
    squeezed = graph.add("Squeeze", [start, first_axis(graph)], [layer.name("before")])
    graph.add(
        "Scan", [squeezed, *parts], [layer.name("run_on"), y], body=body.proto(), num_scan_inputs=len(parts)
    )
    joined = write_joined(graph, y, start, y)
    write_last(graph, layer, joined, end)
    return y, joined


def write_recurrence(graph: Graph, layer: Layer, keep: str, add: str, width: int) -> str:
    """Write state ← keep · state + add; return the name of the state after each step.

    `keep` and `add`: tensors [time, batch, width].
    """

    def write_step(body: Graph, parts: list[str], state: str) -> str:
        return body.add("Add", [body.add("Mul", [parts[0], state], ["kept"]), parts[1]], ["after"])

    return write_unit_scan(graph, layer, [keep, add], width, write_step)[0]


def write_joined(graph: Graph, name: str, first: str, x: str) -> str:
    """Write `first` [1, batch, width] and then x [time, batch, width]: [1 + time, batch, width]."""
    return graph.add("Concat", [first, x], [f"{name}_joined"], axis=0)


def write_delayed(graph: Graph, joined: str) -> str:
    """Write x one step later, from `write_joined`: [time, batch, width]."""
    last = graph.weight("last_row", np.array([-1]))
    return graph.add("Slice", [joined, first_axis(graph), last, first_axis(graph)], [f"{joined}_delayed"])


def write_last(graph: Graph, layer: Layer, joined: str, name: str) -> str:
    """Write x at each row's last step as tensor `name` [1, batch, width], from `write_joined`."""
    places = "last_places"  # [1, batch, 2]: each row's length, and its number
    if not graph.has(places):
        rows = [graph.weight(key, np.array(value)) for key, value in (("first_row", 0), ("one_row", 1))]
        count = graph.add("Squeeze", [graph.add("Shape", [layer.lengths], ["rows_shape"])], ["num_rows"])
        numbers = graph.add("Range", [rows[0], count, rows[1]], ["rows"])
        lengths = graph.add("Cast", [layer.lengths], ["row_lengths"], to=TensorProto.INT64)
        axes = graph.weight("place_axes", np.array([0, -1]))
        both = [graph.add("Unsqueeze", [each, axes], [f"{each}_placed"]) for each in (lengths, numbers)]
        graph.add("Concat", both, [places], axis=-1)
    return graph.add("GatherND", [joined, places], [name])


def write_remainder(graph: Graph, name: str, gate: str) -> str:
    """Write 1 - gate."""
    return graph.add("Sub", [graph.weight("one", np.array(1, np.float32)), gate], [name])


def first_axis(graph: Graph) -> str:
    """The constant [0]: the axis of time, and its first row."""
    return graph.weight("layer_axis", np.array([0]))
