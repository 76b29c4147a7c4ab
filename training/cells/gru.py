"""The GRU of Cho et al. (2014), in the form of PyTorch and cuDNN: reset_gate after the product.

reset_gate   = sigmoid(W_r x + R_r h + b_r)
update_gate  = sigmoid(W_z x + R_z h + b_z)
in_transform = tanh(W_n x + b_n + reset_gate · (R_n h + b_hn))
h ← (1 - update_gate) · in_transform + update_gate · h

Cho's own form has R_n (reset_gate · h); ONNX calls the difference `linear_before_reset`.
"""

from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn.functional import linear

from training.cells.cell import Inside, State
from training.cells.fused import Fused


class GRU(Fused):
    """PyTorch's GRU, and ONNX `GRU` nodes."""

    states = ("h",)
    module = nn.GRU
    operator = "GRU"
    gates = (1, 0, 2)  # PyTorch stacks r, z, n; ONNX z, r, h
    attributes: ClassVar[dict[str, Any]] = {"linear_before_reset": 1}

    def inside(self, weights: list[Tensor], x: Tensor, state: State) -> Inside:
        """See `Fused.inside`."""
        w, r, b_w, b_r = weights
        [h] = state
        from_x, from_h = linear(x, w, b_w).chunk(3, dim=1), linear(h, r, b_r).chunk(3, dim=1)
        reset_gate, update_gate = (from_x[0] + from_h[0]).sigmoid(), (from_x[1] + from_h[1]).sigmoid()
        in_transform = (from_x[2] + reset_gate * from_h[2]).tanh()
        h = (1 - update_gate) * in_transform + update_gate * h
        return {"reset_gate": reset_gate, "update_gate": update_gate, "in_transform": in_transform, "h": h}


CELL = GRU
