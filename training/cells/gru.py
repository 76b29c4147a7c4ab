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
from training.cells.gates import joined
from training.graph import Graph


class GRU(Fused):
    """PyTorch's GRU, and ONNX `GRU` nodes."""

    states = ("h",)
    module = nn.GRU
    operator = "GRU"
    gates = (1, 0, 2)  # PyTorch stacks r, z, n; ONNX z, r, h
    attributes: ClassVar[dict[str, Any]] = {"linear_before_reset": 1}
    gate_names = ("update_gate", "reset_gate", "in_transform")  # as ONNX stacks them

    def inside(self, weights: list[Tensor], x: Tensor, state: State) -> Inside:
        """See `Fused.inside`."""
        w, r, b_w, b_r = weights
        [h] = state
        from_x, from_h = linear(x, w, b_w).chunk(3, dim=1), linear(h, r, b_r).chunk(3, dim=1)
        reset_gate, update_gate = (from_x[0] + from_h[0]).sigmoid(), (from_x[1] + from_h[1]).sigmoid()
        in_transform = (from_x[2] + reset_gate * from_h[2]).tanh()
        h = (1 - update_gate) * in_transform + update_gate * h
        return {"reset_gate": reset_gate, "update_gate": update_gate, "in_transform": in_transform, "h": h}

    def write_activations(self, graph: Graph, name: str, from_x: str, from_h: str) -> str:
        """See `Fused.write_activations`."""
        sizes = [2 * self.hidden, self.hidden]
        from_x, x_transform = graph.split(from_x, [f"{name}_x_gates", f"{name}_x_transform"], sizes)
        from_h, h_transform = graph.split(from_h, [f"{name}_h_gates", f"{name}_h_transform"], sizes)
        gates = graph.add("Sigmoid", [graph.add("Add", [from_x, from_h], [f"{name}_sum"])], [f"{name}_open"])
        _, reset = graph.split(gates, [f"{name}_update", f"{name}_reset"], [self.hidden] * 2)
        seen = graph.add("Mul", [reset, h_transform], [f"{name}_seen"])
        before = graph.add("Add", [x_transform, seen], [f"{name}_before_tanh"])
        return joined(graph, name, [gates, graph.add("Tanh", [before], [f"{name}_transform"])])


CELL = GRU
