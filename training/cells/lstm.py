"""The LSTM of Hochreiter and Schmidhuber (1997) with the forget gate of Gers et al. (2000), no peepholes.

in_gate      = sigmoid(W_i x + R_i h + b_i)        c ← forget_gate · c + in_gate · in_transform
forget_gate  = sigmoid(W_f x + R_f h + b_f)        h ← out_gate · tanh(c)
out_gate     = sigmoid(W_o x + R_o h + b_o)
in_transform = tanh(W_g x + R_g h + b_g)
"""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from training.cells.cell import Affine, Cell, State, state_out
from training.graph import Graph

Weights = NDArray[np.float64]


class LSTM(Cell):
    """PyTorch's LSTM on packed sequences, and ONNX `LSTM` nodes."""

    states = ("h", "c")

    def __init__(self, *, features: int, hidden: int, layers: int) -> None:
        super().__init__(features=features, hidden=hidden, layers=layers)
        self.lstm = nn.LSTM(features, hidden, layers, batch_first=True)

    def forward(self, x: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        """See `Cell.forward`."""
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        y, (h, c) = self.lstm(packed, state)
        y, _ = pad_packed_sequence(y, batch_first=True, total_length=x.shape[1])
        return y, (h, c)

    def write(
        self, graph: Graph, x: str, lengths: str, state: tuple[str, ...], normalise: Affine
    ) -> tuple[str, tuple[str, ...]]:
        """See `Cell.write`. One layer takes the state as it is; a stack splits it and joins it again."""
        starts = [self._rows(name) for name in state]  # per state, its name in each layer
        ends = [self._rows(state_out(name)) for name in state]
        direction = graph.weight("direction_axis", np.array([1]))
        if self.layers > 1:
            for name, rows in zip(state, starts, strict=True):
                graph.add("Split", [name], rows, axis=0)
        for layer in range(self.layers):
            start, end = ([rows[layer] for rows in names] for names in (starts, ends))
            weights = self._weights(graph, layer, normalise if layer == 0 else None)
            directed = f"directed_{layer}"  # [time, 1, batch, hidden]
            inputs = [x, *weights, lengths, *start]
            graph.add("LSTM", inputs, [directed, *end], hidden_size=self.hidden)
            x = graph.add("Squeeze", [directed, direction], [f"hidden_{layer}"])
        if self.layers > 1:
            for name, rows in zip(state, ends, strict=True):
                graph.add("Concat", rows, [state_out(name)], axis=0)
        return x, tuple(state_out(name) for name in state)

    def _rows(self, name: str) -> list[str]:
        return [name] if self.layers == 1 else [f"{name}_{layer}" for layer in range(self.layers)]

    def _weights(self, graph: Graph, layer: int, normalise: Affine | None) -> list[str]:
        """Names of W, R and B, in ONNX's gate order and with the input's normalisation folded in.

        W · ((x - shift) · scale) + b = (W · scale) · x + (b - (W · scale) · shift):
        the same but for rounding, and no node is left to run. Folded in float64, rounded once.
        """
        w, r = self._parameter("weight_ih", layer), self._parameter("weight_hh", layer)
        b_w, b_r = self._parameter("bias_ih", layer), self._parameter("bias_hh", layer)
        if normalise is not None:
            w = w * normalise.scale
            b_w = b_w - w @ normalise.shift
        b = np.concatenate([_onnx_order(b_w), _onnx_order(b_r)])
        named = {"W": _onnx_order(w), "R": _onnx_order(r), "B": b}
        return [
            graph.weight(f"{key}_{layer}", value[None].astype(np.float32)) for key, value in named.items()
        ]

    def _parameter(self, kind: str, layer: int) -> Weights:
        parameter: Tensor = getattr(self.lstm, f"{kind}_l{layer}")
        return parameter.detach().cpu().double().numpy()


def _onnx_order(weights: Weights) -> Weights:
    """PyTorch stacks the gates as i, f, g, o; ONNX as i, o, f, c."""
    in_gate, forget_gate, in_transform, out_gate = np.split(weights, 4)
    return np.concatenate([in_gate, out_gate, forget_gate, in_transform])


CELL = LSTM
