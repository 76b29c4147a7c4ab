"""Cells that PyTorch lacks: one step in Python, run over padded batches; in the graph a `Scan`.

All products of x alone are computed for the whole sequence at once. A row past its length keeps its state.
"""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.cells.cell import Cell, Inside, Layer, State, in_time
from training.cells.scan import write_linear, write_scan
from training.graph import Graph


class StepLayer(nn.Module):
    """One layer, whose step a subclass defines. Its output is h, which need not be a state.

    `from_x` computes the part of all gates that depends on x; `gates` is their total width, by default 4 ·
    hidden.
    """

    def __init__(self, *, features: int, hidden: int, gates: int | None = None, bias: bool = True) -> None:
        super().__init__()
        self.features, self.hidden = features, hidden
        self.from_x = nn.Linear(features, gates or 4 * hidden, bias=bias)

    def reset(self) -> None:
        """Initialise all weights like PyTorch's own cells."""
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -(self.hidden**-0.5), self.hidden**-0.5)

    def project(self, x: Tensor) -> State:
        """The parts of a step that need no state: [batch, time, features] → each [batch, time, width]."""
        return (self.from_x(x),)

    def inside(self, parts: State, state: State) -> Inside:
        """One step of a batch: parts and state, each [batch, width] → gates, h, and the state after it."""
        raise NotImplementedError

    def write_project(self, graph: Graph, layer: Layer) -> dict[str, int]:
        """Write `project`: the names of the parts [time, batch, width], with their widths."""
        return {write_linear(graph, layer, "from_x", self.from_x): self.from_x.out_features}

    def write_step(self, body: Graph, parts: list[str], state: list[str]) -> tuple[str, list[str]]:
        """Write `inside`: the names of h and of the state after it."""
        raise NotImplementedError


class Stepped(Cell):
    """A stack of layers of one kind."""

    layer: ClassVar[type[StepLayer]]

    def __init__(self, **size: Any) -> None:
        super().__init__(**size)
        layers = [self.new_layer(number) for number in range(self.layers)]
        for layer in layers:
            layer.reset()
        self.stack = nn.ModuleList(layers)

    def new_layer(self, number: int) -> StepLayer:
        """Layer `number`, 0 being the lowest."""
        return self.layer(features=self.width if number else self.features, hidden=self.hidden)

    def forward(self, x: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        """See `Cell.forward`."""
        steps = torch.arange(x.shape[1], device=x.device)
        is_alive = (steps < lengths.to(x.device)[:, None])[..., None]  # [batch, time, 1]
        y, ends = x, []
        for number in range(self.layers):
            if number:
                y = functional.dropout(y, self.dropout, self.training)
            start, read = tuple(part[number] for part in state), self.layer_input(number, y, x)
            y, end = run_layer(self.step_layer(number), self.states, read, is_alive, start)
            ends.append(end)
        return y, tuple(torch.stack(parts) for parts in zip(*ends, strict=True))

    def trace(self, number: int, x: Tensor, state: State) -> tuple[Inside, Tensor]:
        """See `Cell.trace`."""
        layer, steps = self.step_layer(number), []
        parts = layer.project(x[None])
        for step in range(len(x)):
            steps.append(layer.inside(tuple(part[:, step] for part in parts), state))
            state = tuple(steps[-1][name] for name in self.states)
        inside = in_time(steps)
        return inside, inside["h"]

    def write_layer(self, graph: Graph, layer: Layer) -> str:
        """See `Cell.write_layer`."""
        module = self.step_layer(layer.number)
        widths = [self.state_width(name) for name in self.states]
        parts = module.write_project(graph, layer)
        return write_scan(graph, layer, parts, self.width, widths, module.write_step)

    def step_layer(self, number: int) -> StepLayer:
        """Layer `number`."""
        layer = self.stack[number]
        assert isinstance(layer, StepLayer)
        return layer


def run_layer(
    layer: StepLayer, states: tuple[str, ...], x: Tensor, is_alive: Tensor, state: State
) -> tuple[Tensor, State]:
    """A layer's output over [batch, time, features], zero past each length; the state at the length."""
    parts = layer.project(x.masked_fill(~is_alive, 0))  # a NaN in the padding would reach the gradients
    y = []
    for step in range(x.shape[1]):
        inside = layer.inside(tuple(part[:, step] for part in parts), state)
        y.append(inside["h"])
        after = (inside[name] for name in states)
        state = tuple(torch.where(is_alive[:, step], new, old) for new, old in zip(after, state, strict=True))
    return torch.stack(y, dim=1).masked_fill(~is_alive, 0), state
