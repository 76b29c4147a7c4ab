"""The mLSTM of xLSTM (Beck et al. 2024, arXiv:2405.04517, section 2.3): a matrix memory.

For each of `heads` memories C [width, width], hidden = heads · width, with queries, keys and values of x:

q = W_q x + b_q      k = (W_k x + b_k) / sqrt(width)      v = W_v x + b_v
in_gate     = exp(I - m')                     I = w_i · x + b_i, F = w_f · x + b_f: a number for each head
forget_gate = sigmoid(F) · exp(m - m')        C' = forget_gate · C + in_gate · v kᵀ
out_gate    = sigmoid(W_o x + b_o)            n' = forget_gate · n + in_gate · k
                                              h  = out_gate · C' q / max(|n'ᵀ q|, exp(-m'))

A step stores v under the key k; a query reads back the values whose keys resemble it. C and n are stored
divided by exp(m), the stabiliser (`exponential`). No gate reads h, so h is no state: a layer alone cannot
compute what depends on its own output, such as a parity; sLSTM can.

There are four heads, or one where hidden is below 16 or no multiple of four. The paper's blocks around the
cell, with convolution, group normalisation and an up-projection, are not part of it.
"""

import numpy as np
import torch
from torch import Tensor

from training.cells.cell import Inside, Layer, State, weights_of
from training.cells.exponential import open_gates, start_open, write_gates
from training.cells.heads import Heads, heads_of, write_flat
from training.cells.scan import write_affine
from training.cells.stepped import StepLayer, Stepped
from training.graph import Graph

LARGEST = 80.0  # of |m| in exp(-m): beyond it a float32 overflows, or the divisor is 0


class MLSTMLayer(StepLayer):
    """One layer; `from_x` stacks q, k, v, out_gate, in_gate, forget_gate."""

    def __init__(self, *, features: int, hidden: int) -> None:
        self.heads: Heads = heads_of(hidden)
        super().__init__(features=features, hidden=hidden, gates=4 * hidden + 2 * self.heads.number)

    def reset(self) -> None:
        """Initialise like PyTorch's own cells, but with open forget gates."""
        super().reset()
        start_open(self.from_x.bias[-self.heads.number :])

    @property
    def sizes(self) -> list[int]:
        """The widths of the parts."""
        return [self.hidden] * 4 + [self.heads.number] * 2

    def project(self, x: Tensor) -> State:
        """See `StepLayer.project`: q, k, v, out_gate, I and F."""
        q, k, v, out_gate, in_gate, forget_gate = self.from_x(x).split(self.sizes, dim=-1)
        return q, k * self.heads.width**-0.5, v, out_gate.sigmoid(), in_gate, forget_gate

    def inside(self, parts: State, state: State) -> Inside:
        """See `StepLayer.inside`."""
        (q, k, v, out_gate, in_gate, forget_gate), (c, n, m) = parts, state
        in_gate, forget_gate, m = open_gates(in_gate, forget_gate, m)
        q, k, v, n = (self.heads.split(each) for each in (q, k, v, n))
        k = in_gate[..., None] * k
        memory = forget_gate[..., None, None] * self.heads.square(c) + v[..., :, None] * k[..., None, :]
        n = forget_gate[..., None] * n + k
        recalled = (memory @ q[..., None])[..., 0]  # [batch, heads, width]
        weight = (n * q).sum(dim=-1).abs()
        divisor = torch.maximum(weight, (-m).clamp(-LARGEST, LARGEST).exp())
        return {
            "in_gate": in_gate,
            "forget_gate": forget_gate,
            "out_gate": out_gate,
            "c": memory.flatten(1),
            "n": n.flatten(1),
            "m": m,
            "h": out_gate * (recalled / divisor[..., None]).flatten(1),
        }

    def write_project(self, graph: Graph, layer: Layer) -> dict[str, int]:
        """See `StepLayer.write_project`."""
        scale = np.ones(self.from_x.out_features)
        scale[self.hidden : 2 * self.hidden] = self.heads.width**-0.5
        weight, bias = weights_of(self.from_x.weight) * scale[:, None], weights_of(self.from_x.bias) * scale
        names = [layer.name(part) for part in ("q", "k", "v", "out_gate", "in_gate", "forget_gate")]
        q, k, v, out_gate, in_gate, forget_gate = graph.split(
            write_affine(graph, layer, "from_x", weight, bias), names, self.sizes
        )
        out_gate = graph.add("Sigmoid", [out_gate], [f"{out_gate}_open"])
        return dict(zip((q, k, v, out_gate, in_gate, forget_gate), self.sizes, strict=True))

    def write_step(self, body: Graph, parts: list[str], state: list[str]) -> tuple[str, list[str]]:
        """See `StepLayer.write_step`."""
        (q, k, v, out_gate, in_gate, forget_gate), (c, n, m), heads = parts, state, self.heads
        in_gate, forget_gate, m = write_gates(body, in_gate, forget_gate, m)
        in_gate, forget_gate = heads.write_single(body, in_gate), heads.write_single(body, forget_gate)
        k = body.add("Mul", [in_gate, heads.write_rows(body, k)], ["key"])
        old = body.add("Mul", [forget_gate, heads.write_square(body, c)], ["c_kept"])
        added = body.add("Mul", [heads.write_columns(body, v), k], ["added"])
        c = body.add("Add", [old, added], ["memory"])
        old = body.add("Mul", [forget_gate, heads.write_rows(body, n)], ["n_kept"])
        n = body.add("Add", [old, k], ["keys"])
        q = heads.write_columns(body, q)
        recalled = body.add("MatMul", [c, q], ["recalled"])  # [batch, heads, width, 1]
        weight = body.add("Abs", [body.add("MatMul", [n, q], ["match"])], ["weight"])
        bounds = [
            body.weight(f"{name}_m", np.array(value, np.float32))
            for name, value in (("least", -LARGEST), ("largest", LARGEST))
        ]
        clipped = body.add("Clip", [body.add("Neg", [m], ["minus_m"]), *bounds], ["bounded"])
        one = heads.write_single(body, body.add("Exp", [clipped], ["size_of_one"]))
        divided = body.add("Div", [recalled, body.add("Max", [weight, one], ["divisor"])], ["divided"])
        h = body.add("Mul", [out_gate, write_flat(body, divided, self.hidden, "read")], ["h_after"])
        c = write_flat(body, c, heads.memory, "c_after")
        return h, [c, write_flat(body, n, self.hidden, "n_after"), m]


class MLSTM(Stepped):
    """The equations above, step by step, and a `Scan`."""

    states = ("c", "n", "m")
    layer = MLSTMLayer

    def state_width(self, name: str) -> int:
        """See `Cell.state_width`: C row by row, n, and a number for each head."""
        heads = heads_of(self.hidden)
        return {"c": heads.memory, "n": self.hidden, "m": heads.number}[name]


CELL = MLSTM
