"""The LSTM of Hochreiter and Schmidhuber (1997) with the forget gate of Gers et al. (2000), no peepholes.

in_gate      = sigmoid(W_i x + R_i h + b_i)        c ← forget_gate · c + in_gate · in_transform
forget_gate  = sigmoid(W_f x + R_f h + b_f)        h ← out_gate · tanh(c)
out_gate     = sigmoid(W_o x + R_o h + b_o)
in_transform = tanh(W_g x + R_g h + b_g)
"""

from torch import nn

from training.cells.fused import Fused


class LSTM(Fused):
    """PyTorch's LSTM, and ONNX `LSTM` nodes."""

    states = ("h", "c")
    module = nn.LSTM
    operator = "LSTM"
    gates = (0, 3, 1, 2)  # PyTorch stacks i, f, g, o; ONNX i, o, f, c


CELL = LSTM
