"""The SRU of Lei et al. (2018), equations 1 to 4: gates read x and the unit's own c, never another unit's.

forget_gate  = sigmoid(W_f x + v_f · c + b_f)      c' = forget_gate · c + (1 - forget_gate) · in_transform
reset_gate   = sigmoid(W_r x + v_r · c + b_r)      h' = reset_gate · c' + (1 - reset_gate) · a · x
in_transform = W x

All products with matrices are computed for the whole sequence at once; only the forget_gate and c go step by
step. h is not a state. a = sqrt(1 + 2 exp(b_r)), with b_r at the start, keeps the variance of x through a
stack of layers. In the lowest layer, whose x has another width, S x replaces a · x.
"""

from math import sqrt

import numpy as np
import torch
from torch import Tensor, nn

from training.cells.cell import Inside, Layer, State, Weights, weights_of
from training.cells.elementwise import delayed, elementwise_scan
from training.cells.parallel import Parallel, ParallelLayer
from training.cells.scan import write_affine
from training.cells.unit_scan import write_delayed, write_unit_scan
from training.graph import Graph

SCALE = sqrt(3)  # a, for biases that start at 0


class SRULayer(ParallelLayer):
    """One layer; `from_x` stacks forget_gate, reset_gate, in_transform, and in the lowest layer S."""

    def __init__(self, *, features: int, hidden: int, is_lowest: bool) -> None:
        super().__init__(features=features, hidden=hidden, parts=4 if is_lowest else 3, bias=False)
        self.is_lowest = is_lowest
        self.bias = nn.Parameter(torch.empty(2, hidden))  # of forget_gate and reset_gate
        self.from_own = nn.Parameter(torch.empty(2, hidden))  # v, likewise

    def reset(self) -> None:
        """Initialise as the paper does: a variance of 1 / width, and biases of 0."""
        for parameter in (self.from_x.weight, self.from_own):
            bound = sqrt(3 / parameter.shape[1])
            nn.init.uniform_(parameter, -bound, bound)
        nn.init.zeros_(self.bias)

    def inside(self, x: Tensor, state: State) -> Inside:
        """See `ParallelLayer.inside`."""
        from_x = self.from_x(x).split(self.hidden, dim=-1)
        of_forget, of_reset = self.from_own
        before_forget, before_reset = from_x[0] + self.bias[0], from_x[1] + self.bias[1]
        in_transform = from_x[2].to(before_forget.dtype)  # of a product in bfloat16, which lerp does not mix

        def update(parts: State, c: Tensor) -> Tensor:
            forget_gate = torch.addcmul(parts[0], of_forget, c).sigmoid()
            return torch.lerp(parts[1], c, forget_gate)  # forget_gate · c + (1 - forget_gate) · in_transform

        c = elementwise_scan(update, (before_forget, in_transform), state[0])
        before = delayed(c, state[0])
        reset_gate = (before_reset + of_reset * before).sigmoid()
        shortcut = from_x[3] if self.is_lowest else SCALE * x
        return {
            "forget_gate": (before_forget + of_forget * before).sigmoid(),
            "reset_gate": reset_gate,
            "in_transform": in_transform,
            "c": c,
            "h": reset_gate * c + (1 - reset_gate) * shortcut,
        }

    def write(self, graph: Graph, layer: Layer) -> str:
        """See `ParallelLayer.write`."""
        weight, of_forget, of_reset = weights_of(self.from_x.weight), *weights_of(self.from_own)
        bias = np.zeros(len(weight))
        bias[: 2 * self.hidden] = weights_of(self.bias).ravel()
        names = ["before_forget", "before_reset", "in_transform", "shortcut"][: len(weight) // self.hidden]
        parts = [layer.name(name) for name in names]
        graph.split(write_affine(graph, layer, "from_x", weight, bias), parts, [self.hidden] * len(parts))

        def write_step(body: Graph, read: list[str], c: str) -> str:
            forget_gate = _write_gate(body, "forget_gate", of_forget, c, read[0])
            return _write_mix(body, "after", forget_gate, c, read[1])

        c, joined = write_unit_scan(graph, layer, [parts[0], parts[2]], self.hidden, write_step)
        before = write_delayed(graph, joined)
        reset_gate = _write_gate(graph, layer.name("reset_gate"), of_reset, before, parts[1])
        if self.is_lowest:
            shortcut = parts[3]
        else:
            scale = graph.weight("shortcut_scale", np.array(SCALE, np.float32))
            shortcut = graph.add("Mul", [layer.x, scale], [layer.name("shortcut")])
        return _write_mix(graph, layer.name("output"), reset_gate, c, shortcut)


def _write_gate(graph: Graph, name: str, own: Weights, c: str, before: str) -> str:
    """Write sigmoid(before + own · c)."""
    stored = graph.weight(f"{name}_own", own.astype(np.float32))
    seen = graph.add("Mul", [stored, c], [f"{name}_seen"])
    return graph.add("Sigmoid", [graph.add("Add", [before, seen], [f"{name}_sum"])], [name])


def _write_mix(graph: Graph, name: str, gate: str, kept: str, new: str) -> str:
    """Write gate · kept + (1 - gate) · new, as new + gate · (kept - new)."""
    change = graph.add("Sub", [kept, new], [f"{name}_change"])
    return graph.add("Add", [new, graph.add("Mul", [gate, change], [f"{name}_part"])], [name])


class SRU(Parallel):
    """The equations above, products of x for all steps at once, and a `Scan`."""

    states = ("c",)
    layer = SRULayer

    def new_layer(self, number: int) -> SRULayer:
        """See `Parallel.new_layer`."""
        return SRULayer(
            features=self.hidden if number else self.features, hidden=self.hidden, is_lowest=number == 0
        )


CELL = SRU
