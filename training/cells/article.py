"""The LSTM with full peephole matrices: every gate, and the candidate too, reads the whole cell state.

in_gate      = sigmoid(W_i x + R_i h + C_i c + b_i)      c' = forget_gate · c + in_gate · in_transform
forget_gate  = sigmoid(W_f x + R_f h + C_f c + b_f)
in_transform = tanh(W_c x + R_c h + C_c c + b_c)
out_gate     = sigmoid(W_o x + R_o h + C_o c' + b_o)     h' = out_gate · tanh(c')

Many articles print the LSTM like this, with a matrix for each C; Gers and Schmidhuber's are diagonal, and the
candidate has none (`peephole`). ONNX `LSTM` has no such matrices.
"""

from torch import nn

from training.cells.cell import Inside, State, gates_and_state, weights_of
from training.cells.gates import LSTM_GATES
from training.cells.scan import write_cell, write_output, write_product
from training.cells.stepped import StepLayer, Stepped
from training.graph import Graph


class ArticleLayer(StepLayer):
    """One layer; gates are stacked in_gate, forget_gate, in_transform, out_gate."""

    def __init__(self, *, features: int, hidden: int) -> None:
        super().__init__(features=features, hidden=hidden)
        self.from_h = nn.Linear(hidden, 4 * hidden, bias=False)
        self.from_c = nn.Linear(hidden, 3 * hidden, bias=False)  # c before the step
        self.out_from_c = nn.Linear(hidden, hidden, bias=False)  # c after it

    def inside(self, parts: State, state: State) -> Inside:
        """See `StepLayer.inside`."""
        [from_x], (h, c) = parts, state
        before_c, before_out = (from_x + self.from_h(h)).split([3 * self.hidden, self.hidden], dim=1)
        in_gate, forget_gate, in_transform = (before_c + self.from_c(c)).chunk(3, dim=1)
        in_gate, forget_gate, in_transform = in_gate.sigmoid(), forget_gate.sigmoid(), in_transform.tanh()
        c = forget_gate * c + in_gate * in_transform
        out_gate = (before_out + self.out_from_c(c)).sigmoid()
        return gates_and_state(in_gate, forget_gate, in_transform, out_gate, c, out_gate * c.tanh())

    def write_step(self, body: Graph, parts: list[str], state: list[str]) -> tuple[str, list[str]]:
        """See `StepLayer.write_step`."""
        [from_x], (h, c) = parts, state
        from_h, from_c, out_from_c = (
            weights_of(linear.weight) for linear in (self.from_h, self.from_c, self.out_from_c)
        )
        gates = write_product(body, "gates", from_h, h, from_x)
        before_c, before_out = body.split(gates, ["before_c", "before_out"], [3 * self.hidden, self.hidden])
        with_c = write_product(body, "with_c", from_c, c, before_c)
        in_forget, in_transform = body.split(
            with_c, ["in_forget", "in_transform"], [2 * self.hidden, self.hidden]
        )
        c = write_cell(body, in_forget, in_transform, c)
        h = write_output(body, write_product(body, "out_gate", out_from_c, c, before_out), c)
        return h, [h, c]


class ArticleLSTM(Stepped):
    """The equations above, step by step, and a `Scan`."""

    states = ("h", "c")
    zones = True
    layer = ArticleLayer
    gate_names = LSTM_GATES


CELL = ArticleLSTM
