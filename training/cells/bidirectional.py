"""Two LSTMs a layer, one from each end, side by side (Schuster, Paliwal 1997; Graves, Schmidhuber 2005).

The output at a step depends on all later steps. So the cell has no state, and needs whole sequences. Its
second half has read all steps at step 0, and one step at the last: a class is read from both ends
(`training.pooling`).
"""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from training.cells.cell import Inside, State
from training.cells.fused import Fused
from training.cells.gates import LSTM_GATES
from training.cells.lstm import lstm_step


class BidirectionalLSTM(Fused):
    """PyTorch's bidirectional LSTM, and bidirectional ONNX `LSTM` nodes; the output is 2 · hidden wide."""

    states = ()
    causal = False
    both_ways = True
    module = nn.LSTM
    operator = "LSTM"
    gates = (0, 3, 1, 2)  # PyTorch stacks i, f, g, o; ONNX i, o, f, c
    attributes: ClassVar[dict[str, Any]] = {"direction": "bidirectional"}
    directions = ("", "_reverse")
    gate_names = LSTM_GATES

    def inside(self, weights: list[Tensor], x: Tensor, state: State) -> Inside:
        """See `Fused.inside`."""
        return lstm_step(weights, x, state)

    def trace(self, number: int, x: Tensor, state: State) -> tuple[Inside, Tensor]:
        """See `Cell.trace`: both directions in the order of time, from zeros; `state` is empty."""
        assert state == ()
        zeros = (x.new_zeros(1, self.hidden),) * 2
        ahead = self.trace_one_way(number, x, zeros)
        back = self.trace_one_way(number, x.flip(0), zeros, "_reverse")
        inside = {f"{name}_ahead": values for name, values in ahead.items()}
        inside |= {f"{name}_back": values.flip(0) for name, values in back.items()}
        return inside, torch.cat([inside["h_ahead"], inside["h_back"]], dim=1)

    @property
    def width(self) -> int:
        """See `Cell.width`."""
        return 2 * self.hidden


CELL = BidirectionalLSTM
