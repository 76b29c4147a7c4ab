"""Cells that PyTorch lacks, whose training computes all steps of a sequence at once; in the graph a `Scan`.

Gates depend on x alone, or on the unit's own state. A row past its length computes on: nothing reads that.
"""

from collections.abc import Callable
from typing import ClassVar

from torch import Tensor, nn

from training.cells.cell import Inside, Layer, State
from training.cells.elementwise import at_length
from training.cells.gates import joined
from training.cells.stack import Stack
from training.graph import Graph


class ParallelLayer(nn.Module):
    """One layer. `from_x` computes all products of x, of the width `parts` · hidden."""

    def __init__(self, *, features: int, hidden: int, parts: int, bias: bool = True) -> None:
        super().__init__()
        self.features, self.hidden = features, hidden
        self.from_x = nn.Linear(features, parts * hidden, bias=bias)

    def reset(self) -> None:
        """Initialise all weights like PyTorch's own cells."""
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -(self.hidden**-0.5), self.hidden**-0.5)

    def inside(self, x: Tensor, state: State) -> Inside:
        """All steps of a batch: x [batch, time, features], the state before, each [batch, width].

        Returns gates, states and the output h by name, each [batch, time, width].
        """
        raise NotImplementedError

    def write(self, graph: Graph, layer: Layer) -> str:
        """See `Cell.write_layer`."""
        raise NotImplementedError


class Parallel(Stack):
    """A stack of layers that run all steps at once."""

    layer: ClassVar[Callable[..., ParallelLayer]]

    def run_layer(self, number: int, x: Tensor, is_alive: Tensor, state: State) -> tuple[Tensor, State]:
        """See `Stack.run_layer`."""
        inside, lengths = self.layer_at(number).inside(x, state), is_alive[..., 0].sum(dim=1)
        pairs = zip(self.states, state, strict=True)
        return inside["h"], tuple(at_length(inside[name], start, lengths) for name, start in pairs)

    def trace(self, number: int, x: Tensor, state: State) -> tuple[Inside, Tensor]:
        """See `Cell.trace`."""
        inside = {name: values[0] for name, values in self.layer_at(number).inside(x[None], state).items()}
        return inside, inside["h"]

    def write_layer(self, graph: Graph, layer: Layer) -> str:
        """See `Cell.write_layer`."""
        return self.layer_at(layer.number).write(graph, layer)

    def write_gates(self, graph: Graph, layer: Layer) -> list[str]:
        """See `Cell.write_gates`: tensors of the layer's own nodes."""
        return [joined(graph, layer.name("gates"), [layer.name(name) for name in self.gate_names])]

    def layer_at(self, number: int) -> ParallelLayer:
        """Layer `number`, 0 being the lowest."""
        layer = self.stack[number]
        assert isinstance(layer, ParallelLayer)
        return layer
