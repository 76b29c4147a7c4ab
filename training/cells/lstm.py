"""The LSTM of Hochreiter and Schmidhuber (1997) with the forget gate of Gers et al. (2000), no peepholes.

in_gate      = sigmoid(W_i x + R_i h + b_i)        c ← forget_gate · c + in_gate · in_transform
forget_gate  = sigmoid(W_f x + R_f h + b_f)        h ← out_gate · tanh(c)
out_gate     = sigmoid(W_o x + R_o h + b_o)
in_transform = tanh(W_g x + R_g h + b_g)
"""

from torch import Tensor, nn
from torch.nn.functional import linear

from training.cells.cell import Inside, State, gates_and_state
from training.cells.fused import Fused
from training.cells.gates import LSTM_GATES


class LSTM(Fused):
    """PyTorch's LSTM, and ONNX `LSTM` nodes."""

    states = ("h", "c")
    module = nn.LSTM
    operator = "LSTM"
    gates = (0, 3, 1, 2)  # PyTorch stacks i, f, g, o; ONNX i, o, f, c
    gate_names = LSTM_GATES

    def inside(self, weights: list[Tensor], x: Tensor, state: State) -> Inside:
        """See `Fused.inside`."""
        return lstm_step(weights, x, state)


def lstm_step(weights: list[Tensor], x: Tensor, state: State) -> Inside:
    """One step by the equations above; a fifth matrix projects h (Sak, Senior, Beaufays 2014)."""
    w, r, b_w, b_r, *projection = weights
    h, c = state
    gates = linear(x, w, b_w) + linear(h, r, b_r)
    in_gate, forget_gate, in_transform, out_gate = gates.chunk(4, dim=1)
    in_gate, forget_gate, out_gate = in_gate.sigmoid(), forget_gate.sigmoid(), out_gate.sigmoid()
    in_transform = in_transform.tanh()
    c = forget_gate * c + in_gate * in_transform
    h = out_gate * c.tanh()
    for p in projection:
        h = linear(h, p)
    return gates_and_state(in_gate, forget_gate, in_transform, out_gate, c, h)


CELL = LSTM
