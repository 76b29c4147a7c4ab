"""Standard LSTMs; each but the lowest adds its input to its output (Wu et al. 2016, section 3.1).

y_0 = LSTM_0(x)        y_n = LSTM_n(y_(n-1)) + y_(n-1)

The simplest deep stack: fused cells, and a direct path for gradients. `residual` has the shortcut inside the
cell, where the output gate controls it.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.cells.cell import Cell, Inside, Layer, State
from training.cells.lstm import LSTM
from training.graph import Graph


class SkipLSTM(Cell):
    """One-layer LSTMs of PyTorch, and ONNX `LSTM` and `Add` nodes."""

    states = ("h", "c")
    gate_names = LSTM.gate_names

    def __init__(self, **size: Any) -> None:
        super().__init__(**size)
        widths = [self.features] + [self.hidden] * (self.layers - 1)
        self.stack = nn.ModuleList(LSTM(features=width, hidden=self.hidden, layers=1) for width in widths)

    def forward(self, x: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        """See `Cell.forward`."""
        ends = []
        for number, lstm in enumerate(self.stack):
            read = functional.dropout(x, self.dropout, self.training) if number else x
            y, end = lstm(read, lengths, tuple(part[number : number + 1] for part in state))
            x = y + x if number else y
            ends.append(end)
        return x, tuple(torch.cat(parts) for parts in zip(*ends, strict=True))

    def trace(self, number: int, x: Tensor, state: State) -> tuple[Inside, Tensor]:
        """See `Cell.trace`."""
        lstm = self.stack[number]
        assert isinstance(lstm, LSTM)
        inside, y = lstm.trace(0, x, state)
        return inside, y + x if number else y

    def write_layer(self, graph: Graph, layer: Layer) -> str:
        """See `Cell.write_layer`."""
        lstm = self.stack[layer.number]
        assert isinstance(lstm, LSTM)
        y = lstm.write_row(graph, layer, 0)
        return graph.add("Add", [y, layer.x], [layer.name("sum")]) if layer.number else y

    def write_gates(self, graph: Graph, layer: Layer) -> list[str]:
        """See `Cell.write_gates`."""
        lstm = self.stack[layer.number]
        assert isinstance(lstm, LSTM)
        return lstm.write_gates(graph, layer)


CELL = SkipLSTM
