"""The IndRNN of Li et al. (2018): a unit reads its own h only, through one weight, and relu replaces tanh.

h ← relu(W x + u · h + b)

The gradient over a step is u where the unit is active: neither tanh nor a matrix shrinks it. The units of a
layer meet in the layer above. The paper bounds |u| by 2^(1/T) for sequences of T steps, and clips u after
each update. A session has no last step, so here the bound is 1: h grows at most linearly.
"""

import numpy as np
import torch
from torch import Tensor, nn

from training.cells.cell import Inside, Layer, State, weights_of
from training.cells.elementwise import elementwise_scan
from training.cells.parallel import Parallel, ParallelLayer
from training.cells.scan import write_linear
from training.cells.unit_scan import write_unit_scan
from training.graph import Graph


class IndRNNLayer(ParallelLayer):
    """One layer."""

    def __init__(self, *, features: int, hidden: int) -> None:
        super().__init__(features=features, hidden=hidden, parts=1)
        self.from_own = nn.Parameter(torch.empty(hidden))  # u

    def reset(self) -> None:
        """Initialise like PyTorch's own cells, and u between 0 and 1, as the paper does."""
        super().reset()
        nn.init.uniform_(self.from_own, 0, 1)

    def inside(self, x: Tensor, state: State) -> Inside:
        """See `ParallelLayer.inside`. In training, clips u as the last update left it."""
        if self.training:
            self.from_own.data.clamp_(-1, 1)
        from_own = self.from_own.clamp(-1, 1)

        def update(parts: State, h: Tensor) -> Tensor:
            return torch.addcmul(parts[0], from_own, h).relu()

        return {"h": elementwise_scan(update, (self.from_x(x),), state[0])}

    def write(self, graph: Graph, layer: Layer) -> str:
        """See `ParallelLayer.write`."""
        from_x = write_linear(graph, layer, "from_x", self.from_x)

        def write_step(body: Graph, parts: list[str], state: str) -> str:
            own = body.weight("own", weights_of(self.from_own).clip(-1, 1).astype(np.float32))
            seen = body.add("Mul", [own, state], ["seen"])
            return body.add("Relu", [body.add("Add", [parts[0], seen], ["before_relu"])], ["after"])

        return write_unit_scan(graph, layer, [from_x], self.hidden, write_step)[0]


class IndRNN(Parallel):
    """The equation above, products of x for all steps at once, and a `Scan`."""

    states = ("h",)
    layer = IndRNNLayer


CELL = IndRNN
