"""The minLSTM of Feng et al. (2024, arXiv:2410.01201, section 3.2): gates read x alone, and their sum is 1.

f, i         = sigmoid(W_f x + b_f), sigmoid(W_i x + b_i)
forget_gate  = f / (f + i)
in_gate      = i / (f + i)
in_transform = W_h x + b_h
h ← forget_gate · h + in_gate · in_transform

The paper drops the output gate and tanh, so h is the cell state. The recurrence is linear in h, and training
computes all steps at once (`elementwise`). The quotients stay finite where both sigmoids underflow.
"""

import numpy as np
from torch import Tensor
from torch.nn.functional import softplus

from training.cells.cell import Inside, Layer, State
from training.cells.elementwise import linear_scan
from training.cells.parallel import Parallel, ParallelLayer
from training.cells.scan import write_linear
from training.cells.unit_scan import write_recurrence
from training.graph import Graph


class MinLSTMLayer(ParallelLayer):
    """One layer; `from_x` stacks f, i, in_transform."""

    def __init__(self, *, features: int, hidden: int) -> None:
        super().__init__(features=features, hidden=hidden, parts=3)

    def inside(self, x: Tensor, state: State) -> Inside:
        """See `ParallelLayer.inside`."""
        before_f, before_i, in_transform = self.from_x(x).chunk(3, dim=-1)
        balance = softplus(-before_i) - softplus(-before_f)  # log(f / i)
        forget_gate, in_gate = balance.sigmoid(), (-balance).sigmoid()
        h = linear_scan(forget_gate, in_gate * in_transform, state[0])
        return {"forget_gate": forget_gate, "in_gate": in_gate, "in_transform": in_transform, "h": h}

    def write(self, graph: Graph, layer: Layer) -> str:
        """See `ParallelLayer.write`."""
        from_x = write_linear(graph, layer, "from_x", self.from_x)
        names = [layer.name(name) for name in ("before_f", "before_i", "in_transform")]
        before_f, before_i, in_transform = graph.split(from_x, names, [self.hidden] * 3)
        forget_gate, in_gate = _write_gates(graph, layer, before_f, before_i)
        add = graph.add("Mul", [in_gate, in_transform], [layer.name("add")])
        return write_recurrence(graph, layer, forget_gate, add, self.hidden)


def _write_gates(graph: Graph, layer: Layer, f: str, i: str) -> tuple[str, str]:
    """Write forget_gate and in_gate, from f and i before their sigmoids.

    sigmoid(f) / (sigmoid(f) + sigmoid(i)) = (1 + exp(-i)) / (2 + exp(-i) + exp(-f)). Both sides of the
    quotient are multiplied by exp(lowest): then no exponent is positive and one is 0. ONNX's Softplus would
    be shorter, but in ONNX Runtime the bits of its result depend on the element's place in the tensor.
    """
    zero = graph.weight("zero", np.array(0, np.float32))
    lowest = graph.add("Min", [f, i, zero], [layer.name("lowest")])
    one = graph.add("Exp", [lowest], [layer.name("scaled_one")])
    without = {}
    for key, before in (("f", f), ("i", i)):
        difference = graph.add("Sub", [lowest, before], [layer.name(f"exponent_{key}")])
        inverse = graph.add("Exp", [difference], [layer.name(f"inverse_{key}")])
        without[key] = graph.add("Add", [one, inverse], [layer.name(f"share_without_{key}")])
    total = graph.add("Add", [without["f"], without["i"]], [layer.name("total")])
    forget_gate = graph.add("Div", [without["i"], total], [layer.name("forget_gate")])
    return forget_gate, graph.add("Div", [without["f"], total], [layer.name("in_gate")])


class MinLSTM(Parallel):
    """The equations above, all steps at once, and a `Scan`."""

    states = ("h",)
    layer = MinLSTMLayer
    gate_names = ("in_gate", "forget_gate", "in_transform")


CELL = MinLSTM
