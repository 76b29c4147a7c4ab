"""The QRNN of Bradbury et al. (2017) with fo-pooling: gates read the input of this step and the one before.

in_transform = tanh(W_z x + V_z x₋ + b_z)          c ← forget_gate · c + (1 - forget_gate) · in_transform
forget_gate  = sigmoid(W_f x + V_f x₋ + b_f)       h = out_gate · c
out_gate     = sigmoid(W_o x + V_o x₋ + b_o)

A convolution over time with a window of 2, and a recurrence without weights. x₋, the input of the step
before, is the state `previous_x` beside c, and zero before the first step. h is not a state. The recurrence
is linear in c, so training computes all steps at once (`elementwise`).

All layers store x₋ in one tensor, as wide as the widest input of a layer; after a narrower one zeros stay.
"""

import numpy as np
import torch
from torch import Tensor, nn

from training.cells.cell import Inside, Layer, State, weights_of
from training.cells.elementwise import delayed, linear_scan
from training.cells.parallel import Parallel, ParallelLayer
from training.cells.scan import write_affine
from training.cells.unit_scan import (
    write_delayed,
    write_joined,
    write_last,
    write_recurrence,
    write_remainder,
)
from training.graph import Graph


class QRNNLayer(ParallelLayer):
    """One layer; products are stacked in_transform, forget_gate, out_gate."""

    def __init__(self, *, features: int, hidden: int, widest: int) -> None:
        super().__init__(features=features, hidden=hidden, parts=3)
        self.from_previous = nn.Linear(features, 3 * hidden, bias=False)  # V
        self.unused = widest - features  # numbers of the state previous_x that this layer leaves zero

    def inside(self, x: Tensor, state: State) -> Inside:
        """See `ParallelLayer.inside`."""
        c, previous = state
        from_previous = self.from_previous(delayed(x, previous[:, : self.features]))
        in_transform, forget_gate, out_gate = (self.from_x(x) + from_previous).chunk(3, dim=-1)
        in_transform = in_transform.tanh()
        forget_gate, out_gate = forget_gate.sigmoid(), out_gate.sigmoid()
        c = linear_scan(forget_gate, (1 - forget_gate) * in_transform, c)
        unused = previous[:, None, self.features :].expand(-1, x.shape[1], -1)
        return {
            "in_transform": in_transform,
            "forget_gate": forget_gate,
            "out_gate": out_gate,
            "c": c,
            "previous_x": torch.cat([x, unused], dim=-1),
            "h": out_gate * c,
        }

    def write(self, graph: Graph, layer: Layer) -> str:
        """See `ParallelLayer.write`."""
        window = layer._replace(x=self._write_window(graph, layer))
        weight = np.concatenate(
            [weights_of(self.from_previous.weight), weights_of(self.from_x.weight)], axis=1
        )
        from_x = write_affine(graph, window, "from_x", weight, weights_of(self.from_x.bias))
        names = [layer.name(name) for name in ("before_tanh", "before_gates")]
        before_tanh, before_gates = graph.split(from_x, names, [self.hidden, 2 * self.hidden])
        in_transform = graph.add("Tanh", [before_tanh], [layer.name("in_transform")])
        gates = graph.add("Sigmoid", [before_gates], [layer.name("gates")])
        names = [layer.name("forget_gate"), layer.name("out_gate")]
        forget_gate, out_gate = graph.split(gates, names, [self.hidden] * 2)
        in_gate = write_remainder(graph, layer.name("in_gate"), forget_gate)
        add = graph.add("Mul", [in_gate, in_transform], [layer.name("add")])
        of_c = layer._replace(start=layer.start[:1], end=layer.end[:1])
        c = write_recurrence(graph, of_c, forget_gate, add, self.hidden)
        return graph.add("Mul", [out_gate, c], [layer.name("output")])

    def _write_window(self, graph: Graph, layer: Layer) -> str:
        """Write x₋ beside x [time, batch, 2 · features], and the new state previous_x."""
        first, end, unused = layer.start[1], layer.end[1], []
        if self.unused:
            names = [layer.name("read_x"), layer.name("unused")]
            first, *unused = graph.split(first, names, [self.features, self.unused])
        joined = write_joined(graph, layer.name("x"), first, layer.x)
        if unused:
            last = write_last(graph, layer, joined, layer.name("last_x"))
            graph.add("Concat", [last, *unused], [end], axis=-1)
        else:
            write_last(graph, layer, joined, end)
        delayed = write_delayed(graph, joined)
        return graph.add("Concat", [delayed, layer.x], [layer.name("window")], axis=-1)


class QRNN(Parallel):
    """The equations above, all steps at once, and a `Scan`."""

    states = ("c", "previous_x")
    layer = QRNNLayer

    def new_layer(self, number: int) -> QRNNLayer:
        """See `Parallel.new_layer`."""
        features = self.hidden if number else self.features
        return QRNNLayer(features=features, hidden=self.hidden, widest=self.state_width("previous_x"))

    def state_width(self, name: str) -> int:
        """See `Cell.state_width`; previous_x is as wide as the widest input of a layer."""
        if name == "previous_x":
            return max(self.features, self.hidden) if self.layers > 1 else self.features
        return super().state_width(name)


CELL = QRNN
