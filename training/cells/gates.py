"""Writes the gates of a layer as outputs of a graph, computed again from the states. Knows no cell.

    x, lengths, state ──→ layer ──┬──→ h, new state          as without gates
    x, h one step earlier ────────┴──→ gates                 computed only where they are requested

A layer's own nodes keep their gates to themselves, and must not change: the answers of a graph with gates are
those of the graph without, bit for bit.
"""

from collections.abc import Sequence

import numpy as np

from training.cells.cell import Layer
from training.cells.scan import WriteStep, write_scan
from training.graph import Graph

LSTM_GATES = ("in_gate", "out_gate", "forget_gate", "in_transform")  # as ONNX stacks them
OPENED = ("in_gate", "out_gate_open", "forget_gate", "candidate")  # in a step of `scan.write_cell`, likewise


def write_lstm_gates(graph: Graph, name: str, before: str, hidden: int) -> str:
    """Write `LSTM_GATES` side by side, from the same before their activations."""
    sigmoids, tanh = graph.split(before, [f"{name}_gates", f"{name}_transform"], [3 * hidden, hidden])
    opened = graph.add("Sigmoid", [sigmoids], [f"{name}_open"])
    return joined(graph, name, [opened, graph.add("Tanh", [tanh], [f"{name}_candidate"])])


def write_step_gates(
    graph: Graph, layer: Layer, parts: dict[str, int], widths: list[int], write_step: WriteStep, hidden: int
) -> str:
    """Run a layer again as a `Scan` whose output are `LSTM_GATES`: the name of [time, batch, 4 · hidden].

    `parts`, `widths`, `write_step`: those of `scan.write_scan`; the step names its gates as `OPENED`.
    """

    def write_gates(body: Graph, read: list[str], state: list[str]) -> tuple[str, list[str]]:
        _, after = write_step(body, read, state)
        return body.add("Concat", list(OPENED), ["gates_of_step"], axis=-1), after

    again = layer._replace(end=[""] * len(layer.end), purpose="_traced")
    return write_scan(graph, again, parts, len(OPENED) * hidden, widths, write_gates)


def write_shifted(graph: Graph, name: str, h: str, *, is_backward: bool) -> str:
    """Write h of the step that was computed before, zeros at the first: [time, batch, width]."""
    pads = [-1, 0, 0, 1, 0, 0] if is_backward else [1, 0, 0, -1, 0, 0]
    stored = graph.weight("one_step_back" if is_backward else "one_step_ahead", np.array(pads))
    return graph.add("Pad", [h, stored], [name])


def joined(graph: Graph, name: str, tensors: Sequence[str]) -> str:
    """Write tensors [time, batch, units] side by side."""
    return graph.add("Concat", list(tensors), [name], axis=-1)
