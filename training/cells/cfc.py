"""The closed-form continuous-time cell, CfC, of Hasani et al. (2022, Nature Machine Intelligence 4:992-1003).

time_gate = sigmoid(A t + B)        h' = (1 - time_gate) · before + time_gate · after
before = tanh(W_g x + R_g h + b_g)              A = W_a x + R_a h + b_a
after  = tanh(W_k x + R_k h + b_k)              B = W_b x + R_b h + b_b

t is the time since the previous step, a column of x (`Input.elapsed`). The cell solves a liquid time-constant
network in closed form: between two inputs h moves from `before` to `after`, at a pace that x and h decide. t
is normalised like every number; A and B absorb its scale and its origin. Where steps are equally spaced there
is no such column, and t is 1.

All layers read t. The network of the paper that all four parts share, before their own matrices, is left out.
"""

import numpy as np
import torch
from torch import Tensor, nn

from training.cells.cell import Inside, Layer, State, weights_of
from training.cells.scan import write_product
from training.cells.stepped import StepLayer, Stepped
from training.graph import Graph

ELAPSED = "elapsed"  # t in the graph: [time, batch, 1]


class CfCLayer(StepLayer):
    """One layer; `from_x` and `from_h` stack A, B, before, after. `elapsed` is the column of t in x."""

    def __init__(self, *, features: int, hidden: int, elapsed: int | None) -> None:
        super().__init__(features=features, hidden=hidden)
        self.from_h = nn.Linear(hidden, 4 * hidden, bias=False)
        self.elapsed = elapsed

    def project(self, x: Tensor) -> State:
        """See `StepLayer.project`: the parts of x, and t."""
        t = torch.ones_like(x[..., :1]) if self.elapsed is None else x[..., self.elapsed, None]
        return self.from_x(x), t

    def inside(self, parts: State, state: State) -> Inside:
        """See `StepLayer.inside`."""
        (from_x, t), [h] = parts, state
        pace, offset, before, after = (from_x + self.from_h(h)).chunk(4, dim=1)
        time_gate, before, after = (pace * t + offset).sigmoid(), before.tanh(), after.tanh()
        h = before + time_gate * (after - before)
        return {"time_gate": time_gate, "before": before, "after": after, "h": h}

    def write_project(self, graph: Graph, layer: Layer) -> dict[str, int]:
        """See `StepLayer.write_project`."""
        parts = super().write_project(graph, layer)
        if self.elapsed is None:
            return parts
        if not layer.number:
            column = graph.weight("elapsed_column", np.array([self.elapsed]))
            graph.add("Gather", [layer.x, column], [ELAPSED], axis=2)
        return parts | {ELAPSED: 1}

    def write_step(self, body: Graph, parts: list[str], state: list[str]) -> tuple[str, list[str]]:
        """See `StepLayer.write_step`."""
        from_x, *t = parts
        gates = write_product(body, "gates", weights_of(self.from_h.weight), state[0], from_x)
        sizes = [self.hidden, self.hidden, 2 * self.hidden]
        pace, offset, ends = body.split(gates, ["pace", "offset", "ends"], sizes)
        moved = body.add("Mul", [pace, *t], ["moved"]) if t else pace
        time_gate = body.add("Sigmoid", [body.add("Add", [moved, offset], ["when"])], ["time_gate"])
        body.add("Split", [body.add("Tanh", [ends], ["both"])], ["before", "after"], axis=-1)
        way = body.add("Mul", [time_gate, body.add("Sub", ["after", "before"], ["way"])], ["part_of_way"])
        h = body.add("Add", ["before", way], ["h_after"])
        return h, [h]


class CfC(Stepped):
    """The equations above, step by step, and a `Scan`."""

    states = ("h",)
    reads = ("elapsed",)

    def new_layer(self, number: int) -> CfCLayer:
        """See `Stepped.new_layer`. Above the lowest layer t is the last column."""
        if number == 0 or self.layout.elapsed is None:
            features = self.width if number else self.features
            return CfCLayer(features=features, hidden=self.hidden, elapsed=self.layout.elapsed)
        return CfCLayer(features=self.width + 1, hidden=self.hidden, elapsed=self.width)

    def layer_input(self, number: int, below: Tensor, x: Tensor) -> Tensor:
        """See `Cell.layer_input`: with t."""
        if number == 0 or self.layout.elapsed is None:
            return below
        return torch.cat([below, x[..., self.layout.elapsed, None]], dim=-1)

    def write_layer(self, graph: Graph, layer: Layer) -> str:
        """See `Cell.write_layer`."""
        if layer.number and self.layout.elapsed is not None:
            joined = graph.add("Concat", [layer.x, ELAPSED], [layer.name("with_elapsed")], axis=2)
            layer = layer._replace(x=joined)
        return super().write_layer(graph, layer)


CELL = CfC
