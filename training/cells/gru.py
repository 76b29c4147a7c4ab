"""The GRU of Cho et al. (2014), in the form that PyTorch and cuDNN compute: reset_gate after the product.

reset_gate   = sigmoid(W_r x + R_r h + b_r)
update_gate  = sigmoid(W_z x + R_z h + b_z)
in_transform = tanh(W_n x + b_n + reset_gate · (R_n h + b_hn))
h ← (1 - update_gate) · in_transform + update_gate · h

Cho's own form has R_n (reset_gate · h); ONNX calls the difference `linear_before_reset`.
"""

from typing import Any, ClassVar

from torch import nn

from training.cells.fused import Fused


class GRU(Fused):
    """PyTorch's GRU, and ONNX `GRU` nodes."""

    states = ("h",)
    module = nn.GRU
    operator = "GRU"
    gates = (1, 0, 2)  # PyTorch stacks r, z, n; ONNX z, r, h
    attributes: ClassVar[dict[str, Any]] = {"linear_before_reset": 1}


CELL = GRU
