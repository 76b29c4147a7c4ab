"""The sLSTM of xLSTM (Beck et al. 2024, arXiv:2405.04517, section 2.2): an exponential gate, a normaliser.

in_gate      = exp(I - m')                           I = W_i x + R_i h + b_i
forget_gate  = sigmoid(F) · exp(m - m')              F = W_f x + R_f h + b_f
in_transform = tanh(W_z x + R_z h + b_z)             c' = forget_gate · c + in_gate · in_transform
out_gate     = sigmoid(W_o x + R_o h + b_o)          n' = forget_gate · n + in_gate
                                                     h' = out_gate · c' / n'

c / n is a weighted mean of all candidates so far, so a later step with a large in_gate revises what is
stored. m is the stabiliser (`exponential`): c and n are stored divided by exp(m), which cancels in h and
keeps both gates at most 1. Before the first step n is 0, and the state has no scale yet: there m' = I.

R is a full matrix (the paper's with one head). The paper's blocks around the cell, with convolution, group
normalisation and an up-projection, are not part of it.
"""

import numpy as np
import torch
from torch import nn

from training.cells.cell import Inside, State, weights_of
from training.cells.exponential import open_gates, start_open, write_gates
from training.cells.scan import write_product
from training.cells.stepped import StepLayer, Stepped
from training.graph import Graph


class SLSTMLayer(StepLayer):
    """One layer; gates are stacked in_gate, forget_gate, in_transform, out_gate."""

    def __init__(self, *, features: int, hidden: int) -> None:
        super().__init__(features=features, hidden=hidden)
        self.from_h = nn.Linear(hidden, 4 * hidden, bias=False)

    def reset(self) -> None:
        """Initialise like PyTorch's own cells, but with open forget gates."""
        super().reset()
        start_open(self.from_x.bias[self.hidden : 2 * self.hidden])

    def inside(self, parts: State, state: State) -> Inside:
        """See `StepLayer.inside`."""
        [from_x], (h, c, n, m) = parts, state
        in_gate, forget_gate, in_transform, out_gate = (from_x + self.from_h(h)).chunk(4, dim=1)
        in_gate, forget_gate, m = open_gates(in_gate, forget_gate, torch.where(n > 0, m, in_gate.detach()))
        in_transform, out_gate = in_transform.tanh(), out_gate.sigmoid()
        c = forget_gate * c + in_gate * in_transform
        n = forget_gate * n + in_gate
        return {
            "in_gate": in_gate,
            "forget_gate": forget_gate,
            "in_transform": in_transform,
            "out_gate": out_gate,
            "c": c,
            "n": n,
            "m": m,
            "h": out_gate * c / n,
        }

    def write_step(self, body: Graph, parts: list[str], state: list[str]) -> tuple[str, list[str]]:
        """See `StepLayer.write_step`."""
        [from_x], (h, c, n, m) = parts, state
        gates = write_product(body, "gates", weights_of(self.from_h.weight), h, from_x)
        names = ["in_gate", "forget_gate", "in_transform", "out_gate"]
        in_gate, forget_gate, in_transform, out_gate = body.split(gates, names, [self.hidden] * 4)
        has_begun = body.add("Greater", [n, body.weight("zero", np.zeros(1, np.float32))], ["has_begun"])
        m = body.add("Where", [has_begun, m, in_gate], ["scale"])
        in_gate, forget_gate, m = write_gates(body, in_gate, forget_gate, m)
        candidate = body.add("Tanh", [in_transform], ["candidate"])
        old = body.add("Mul", [forget_gate, c], ["c_kept"])
        c = body.add("Add", [old, body.add("Mul", [in_gate, candidate], ["added"])], ["c_after"])
        n = body.add("Add", [body.add("Mul", [forget_gate, n], ["n_kept"]), in_gate], ["n_after"])
        shown = body.add("Mul", [body.add("Sigmoid", [out_gate], ["out_gate_open"]), c], ["shown"])
        h = body.add("Div", [shown, n], ["h_after"])
        return h, [h, c, n, m]


class SLSTM(Stepped):
    """The equations above, step by step, and a `Scan`."""

    states = ("h", "c", "n", "m")
    layer = SLSTMLayer


CELL = SLSTM
