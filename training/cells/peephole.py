"""The LSTM with peepholes of Gers and Schmidhuber (2000): a gate reads the state of its own cell only.

in_gate      = sigmoid(W_i x + R_i h + p_i · c + b_i)      c' = forget_gate · c + in_gate · in_transform
forget_gate  = sigmoid(W_f x + R_f h + p_f · c + b_f)
in_transform = tanh(W_c x + R_c h + b_c)
out_gate     = sigmoid(W_o x + R_o h + p_o · c' + b_o)     h' = out_gate · tanh(c')

The p are vectors, that is diagonal matrices: P of ONNX `LSTM`.
"""

import numpy as np
import torch
from torch import nn

from training.cells.cell import Inside, Layer, State, gates_and_state, weights_of
from training.cells.fused import in_order, write_node
from training.cells.gates import LSTM_GATES
from training.cells.scan import write_cell, write_output, write_product
from training.cells.stepped import StepLayer, Stepped
from training.graph import Graph


class PeepholeLayer(StepLayer):
    """One layer; gates are stacked in_gate, forget_gate, in_transform, out_gate."""

    def __init__(self, *, features: int, hidden: int) -> None:
        super().__init__(features=features, hidden=hidden)
        self.from_h = nn.Linear(hidden, 4 * hidden, bias=False)
        self.peepholes = nn.Parameter(torch.empty(3, hidden))  # of in_gate, forget_gate, out_gate

    def inside(self, parts: State, state: State) -> Inside:
        """See `StepLayer.inside`."""
        [from_x], (h, c) = parts, state
        in_gate, forget_gate, in_transform, out_gate = (from_x + self.from_h(h)).chunk(4, dim=1)
        of_in, of_forget, of_out = self.peepholes
        in_gate, forget_gate = (in_gate + of_in * c).sigmoid(), (forget_gate + of_forget * c).sigmoid()
        in_transform = in_transform.tanh()
        c = forget_gate * c + in_gate * in_transform
        out_gate = (out_gate + of_out * c).sigmoid()
        return gates_and_state(in_gate, forget_gate, in_transform, out_gate, c, out_gate * c.tanh())

    def write_step(self, body: Graph, parts: list[str], state: list[str]) -> tuple[str, list[str]]:
        """See `StepLayer.write_step`; for the gates alone."""
        [from_x], (h, c) = parts, state
        before = write_product(body, "before", weights_of(self.from_h.weight), h, from_x)
        sizes = [2 * self.hidden, self.hidden, self.hidden]
        in_forget, in_transform, out_gate = body.split(
            before, ["in_forget", "in_transform", "before_c"], sizes
        )
        of_in, of_forget, of_out = weights_of(self.peepholes).astype(np.float32)
        seen = body.add("Concat", [c, c], ["c_twice"], axis=-1)
        peepholes = body.weight("peepholes", np.concatenate([of_in, of_forget]))
        seen = body.add("Mul", [seen, peepholes], ["seen"])
        c = write_cell(body, body.add("Add", [in_forget, seen], ["in_forget_seeing"]), in_transform, c)
        seen = body.add("Mul", [c, body.weight("out_peephole", of_out)], ["seen_after"])
        h = write_output(body, body.add("Add", [out_gate, seen], ["out_gate"]), c)
        return h, [h, c]


class PeepholeLSTM(Stepped):
    """The equations above, step by step, and ONNX `LSTM` nodes with P."""

    states = ("h", "c")
    zones = True
    layer = PeepholeLayer
    gate_names = LSTM_GATES

    def write_layer(self, graph: Graph, layer: Layer) -> str:
        """See `Cell.write_layer`. ONNX stacks gates i, o, f, c and peepholes i, o, f."""
        if self.zoneout:
            return super().write_layer(graph, layer)
        module = self.step_layer(layer.number)
        assert isinstance(module, PeepholeLayer)
        stacked = (module.from_x.weight, module.from_h.weight, module.from_x.bias)
        w, r, b = (in_order(weights_of(parameter), (0, 3, 1, 2)) for parameter in stacked)
        p = weights_of(module.peepholes)[[0, 2, 1]].ravel()
        weights = {"W": w, "R": r, "B": np.concatenate([b, np.zeros_like(b)]), "P": p}
        return write_node(graph, "LSTM", layer, {key: value[None] for key, value in weights.items()})


CELL = PeepholeLSTM
