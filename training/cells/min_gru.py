"""The minGRU of Feng et al. (2024, arXiv:2410.01201, section 3.1): a GRU whose gate reads x alone.

update_gate  = sigmoid(W_z x + b_z)
in_transform = W_h x + b_h
h ← (1 - update_gate) · h + update_gate · in_transform

Without R h the recurrence is linear in h, so training computes all steps at once (`elementwise`). A layer
remembers by its input alone; layers above see what was remembered below.
"""

from torch import Tensor

from training.cells.cell import Inside, Layer, State
from training.cells.elementwise import linear_scan
from training.cells.parallel import Parallel, ParallelLayer
from training.cells.scan import write_linear
from training.cells.unit_scan import write_recurrence, write_remainder
from training.graph import Graph


class MinGRULayer(ParallelLayer):
    """One layer; `from_x` stacks update_gate, in_transform."""

    def __init__(self, *, features: int, hidden: int) -> None:
        super().__init__(features=features, hidden=hidden, parts=2)

    def inside(self, x: Tensor, state: State) -> Inside:
        """See `ParallelLayer.inside`."""
        update_gate, in_transform = self.from_x(x).chunk(2, dim=-1)
        update_gate = update_gate.sigmoid()
        h = linear_scan(1 - update_gate, update_gate * in_transform, state[0])
        return {"update_gate": update_gate, "in_transform": in_transform, "h": h}

    def write(self, graph: Graph, layer: Layer) -> str:
        """See `ParallelLayer.write`."""
        from_x = write_linear(graph, layer, "from_x", self.from_x)
        names = [layer.name("before_update"), layer.name("in_transform")]
        before_update, in_transform = graph.split(from_x, names, [self.hidden] * 2)
        update_gate = graph.add("Sigmoid", [before_update], [layer.name("update_gate")])
        keep = write_remainder(graph, layer.name("keep"), update_gate)
        add = graph.add("Mul", [update_gate, in_transform], [layer.name("add")])
        return write_recurrence(graph, layer, keep, add, self.hidden)


class MinGRU(Parallel):
    """The equations above, all steps at once, and a `Scan`."""

    states = ("h",)
    layer = MinGRULayer
    gate_names = ("update_gate", "in_transform")


CELL = MinGRU
