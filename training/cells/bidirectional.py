"""Two LSTMs a layer, one from each end, side by side (Schuster, Paliwal 1997; Graves, Schmidhuber 2005).

What it says of a step depends on all steps after it. So it has no state to carry: it reads whole sequences.
"""

from typing import Any, ClassVar

from torch import nn

from training.cells.fused import Fused


class BidirectionalLSTM(Fused):
    """PyTorch's bidirectional LSTM, and bidirectional ONNX `LSTM` nodes; the output is 2 · hidden wide."""

    states = ()
    causal = False
    module = nn.LSTM
    operator = "LSTM"
    gates = (0, 3, 1, 2)  # PyTorch stacks i, f, g, o; ONNX i, o, f, c
    attributes: ClassVar[dict[str, Any]] = {"direction": "bidirectional"}
    directions = ("", "_reverse")

    @property
    def width(self) -> int:
        """See `Cell.width`."""
        return 2 * self.hidden


CELL = BidirectionalLSTM
