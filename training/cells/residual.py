"""The Residual LSTM of Kim, El-Khamy and Lee (2017): the input of a layer is added to its output.

in_gate      = sigmoid(W_i x + R_i h + p_i · c + b_i)      c' = forget_gate · c + in_gate · in_transform
forget_gate  = sigmoid(W_f x + R_f h + p_f · c + b_f)
in_transform = tanh(W_c x + R_c h + b_c)
out_gate     = sigmoid(W_o x + R_o h + C_o c' + b_o)       h' = out_gate · (P tanh(c') + S x)

The shortcut connects the layers without passing through the cell, so gradients in depth do not compete with
those in time. S is a matrix in the lowest layer, whose x has another width, and the identity above. P maps
tanh(c') to the width of h, which is also that of out_gate.
"""

import numpy as np
import torch
from torch import Tensor, nn

from training.cells.cell import Inside, Layer, State, gates_and_state, weights_of
from training.cells.scan import write_cell, write_linear, write_product
from training.cells.stepped import StepLayer, Stepped
from training.graph import Graph


class ResidualLayer(StepLayer):
    """One layer; gates are stacked in_gate, forget_gate, in_transform, out_gate, the last as wide as h."""

    def __init__(self, *, features: int, hidden: int, width: int, is_lowest: bool) -> None:
        super().__init__(features=features, hidden=hidden, gates=3 * hidden + width)
        self.width = width
        self.from_h = nn.Linear(width, 3 * hidden + width, bias=False)
        self.peepholes = nn.Parameter(torch.empty(2, hidden))  # of in_gate and forget_gate
        self.out_from_c = nn.Linear(hidden, width, bias=False)
        self.from_shown = nn.Linear(hidden, width, bias=False)
        self.shortcut = nn.Linear(features, width, bias=False) if is_lowest else None

    def project(self, x: Tensor) -> State:
        """See `StepLayer.project`: the gates, and the shortcut."""
        return self.from_x(x), x if self.shortcut is None else self.shortcut(x)

    def inside(self, parts: State, state: State) -> Inside:
        """See `StepLayer.inside`."""
        (from_x, shortcut), (h, c) = parts, state
        sizes = [self.hidden, self.hidden, self.hidden, self.width]
        in_gate, forget_gate, in_transform, out_gate = (from_x + self.from_h(h)).split(sizes, dim=1)
        of_in, of_forget = self.peepholes
        in_gate, forget_gate = (in_gate + of_in * c).sigmoid(), (forget_gate + of_forget * c).sigmoid()
        in_transform = in_transform.tanh()
        c = forget_gate * c + in_gate * in_transform
        out_gate = (out_gate + self.out_from_c(c)).sigmoid()
        h = out_gate * (self.from_shown(c.tanh()) + shortcut)
        return gates_and_state(in_gate, forget_gate, in_transform, out_gate, c, h)

    def write_project(self, graph: Graph, layer: Layer) -> dict[str, int]:
        """See `StepLayer.write_project`."""
        shortcut = layer.x
        if self.shortcut is not None:
            shortcut = write_linear(graph, layer, "shortcut", self.shortcut)
        return super().write_project(graph, layer) | {shortcut: self.width}

    def write_step(self, body: Graph, parts: list[str], state: list[str]) -> tuple[str, list[str]]:
        """See `StepLayer.write_step`."""
        (from_x, shortcut), (h, c) = parts, state
        gates = write_product(body, "gates", weights_of(self.from_h.weight), h, from_x)
        sizes = [2 * self.hidden, self.hidden, self.width]
        in_forget, in_transform, out_gate = body.split(
            gates, ["in_forget", "in_transform", "before_c"], sizes
        )
        peepholes = body.weight("peepholes", weights_of(self.peepholes).ravel().astype(np.float32))
        seen = body.add("Mul", [body.add("Concat", [c, c], ["c_twice"], axis=-1), peepholes], ["seen"])
        c = write_cell(body, body.add("Add", [in_forget, seen], ["in_forget_seeing"]), in_transform, c)
        out_gate = write_product(body, "out_gate", weights_of(self.out_from_c.weight), c, out_gate)
        body.add("Sigmoid", [out_gate], ["out_gate_open"])
        body.add("Tanh", [c], ["shown"])
        shown = write_product(body, "from_shown", weights_of(self.from_shown.weight), "shown", shortcut)
        h = body.add("Mul", ["out_gate_open", shown], ["h_after"])
        return h, [h, c]


class ResidualLSTM(Stepped):
    """The equations above, step by step, and a `Scan`. Without a projection h is as wide as c."""

    states = ("h", "c")
    zones = True
    projects = True

    def new_layer(self, number: int) -> ResidualLayer:
        """See `Stepped.new_layer`."""
        return ResidualLayer(
            features=self.width if number else self.features,
            hidden=self.hidden,
            width=self.width,
            is_lowest=number == 0,
        )


CELL = ResidualLSTM
