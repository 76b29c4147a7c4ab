"""The LSTM of Hochreiter and Schmidhuber (1997) with the forget gate of Gers et al. (2000), without peepholes.

in_gate      = σ(W_i x + R_i h + b_i)        c ← forget_gate · c + in_gate · in_transform
forget_gate  = σ(W_f x + R_f h + b_f)        h ← out_gate · tanh(c)
out_gate     = σ(W_o x + R_o h + b_o)
in_transform = tanh(W_g x + R_g h + b_g)
"""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from training.cells.cell import Affine, Cell, State
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
        h_in, c_in = (self._split(graph, name) for name in state)
        one = graph.weight("direction_axis", np.array([1]))
        h_out, c_out = [], []
        for layer in range(self.layers):
            last = layer == self.layers - 1
            y, h, c = f"y_{layer}", f"h_out_{layer}", f"c_out_{layer}"
            if self.layers == 1:
                h, c = "h_out", "c_out"
            weights = self._weights(graph, layer, normalise if layer == 0 else None)
            inputs = [x, *weights, lengths, h_in[layer], c_in[layer]]
            graph.add("LSTM", inputs, [y, h, c], hidden_size=self.hidden)  # y [time, 1, batch, hidden]
            x = graph.add("Squeeze", [y, one], ["hidden" if last else f"hidden_{layer}"])
            h_out.append(h)
            c_out.append(c)
        if self.layers > 1:
            graph.add("Concat", h_out, ["h_out"], axis=0)
            graph.add("Concat", c_out, ["c_out"], axis=0)
        return x, ("h_out", "c_out")

    def _split(self, graph: Graph, name: str) -> list[str]:
        if self.layers == 1:
            return [name]
        parts = [f"{name}_{layer}" for layer in range(self.layers)]
        graph.add("Split", [name], parts, axis=0)
        return parts

    def _weights(self, graph: Graph, layer: int, normalise: Affine | None) -> list[str]:
        """Names of W, R and B, in ONNX's gate order and with the input's normalisation folded in.

        W · ((x - shift) · scale) + b = (W · scale) · x + (b - (W · scale) · shift): exact but for rounding, and no
        node is left to run. Folded in float64, rounded once.
        """
        w, r, b_w, b_r = (
            self._parameter(f"{kind}_l{layer}") for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        if normalise is not None:
            w = w * normalise.scale
            b_w = b_w - w @ normalise.shift
        values = {
            "W": _onnx_order(w),
            "R": _onnx_order(r),
            "B": np.concatenate([_onnx_order(b_w), _onnx_order(b_r)]),
        }
        return [
            graph.weight(f"{key}_{layer}", value[None].astype(np.float32)) for key, value in values.items()
        ]

    def _parameter(self, name: str) -> Weights:
        parameter: Tensor = getattr(self.lstm, name)
        return parameter.detach().cpu().double().numpy()


def _onnx_order(weights: Weights) -> Weights:
    """PyTorch stacks the gates as i, f, g, o; ONNX as i, o, f, c."""
    in_gate, forget_gate, in_transform, out_gate = np.split(weights, 4)
    return np.concatenate([in_gate, out_gate, forget_gate, in_transform])


CELL = LSTM
