"""Cells that PyTorch lacks, whose training computes all steps of a sequence at once; in the graph a `Scan`.

Gates depend on x alone, or on the unit's own state. A row past its length computes on: nothing reads that.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.cells.cell import Cell, Inside, Layer, State
from training.cells.elementwise import at_length
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


class Parallel(Cell):
    """A stack of layers of one kind."""

    layer: ClassVar[Callable[..., ParallelLayer]]

    def __init__(self, **size: Any) -> None:
        super().__init__(**size)
        layers = [self.new_layer(number) for number in range(self.layers)]
        for layer in layers:
            layer.reset()
        self.stack = nn.ModuleList(layers)

    def new_layer(self, number: int) -> ParallelLayer:
        """Layer `number`, 0 being the lowest."""
        return self.layer(features=self.hidden if number else self.features, hidden=self.hidden)

    def forward(self, x: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        """See `Cell.forward`."""
        lengths = lengths.to(x.device)
        is_alive = (torch.arange(x.shape[1], device=x.device) < lengths[:, None])[..., None]
        ends = []
        for number in range(self.layers):
            if number:
                x = functional.dropout(x, self.dropout, self.training)
            start = tuple(part[number] for part in state)
            inside = self.layer_at(number).inside(x.masked_fill(~is_alive, 0), start)
            x = inside["h"].masked_fill(~is_alive, 0)
            pairs = zip(self.states, start, strict=True)
            ends.append([at_length(inside[name], before, lengths) for name, before in pairs])
        return x, tuple(torch.stack(parts) for parts in zip(*ends, strict=True))

    def trace(self, number: int, x: Tensor, state: State) -> tuple[Inside, Tensor]:
        """See `Cell.trace`."""
        inside = {name: values[0] for name, values in self.layer_at(number).inside(x[None], state).items()}
        return inside, inside["h"]

    def write_layer(self, graph: Graph, layer: Layer) -> str:
        """See `Cell.write_layer`."""
        return self.layer_at(layer.number).write(graph, layer)

    def layer_at(self, number: int) -> ParallelLayer:
        """Layer `number`, 0 being the lowest."""
        layer = self.stack[number]
        assert isinstance(layer, ParallelLayer)
        return layer
