"""Cells that PyTorch lacks: one step in Python, run over padded batches; in the graph a `Scan`.

All products of x alone are computed for the whole sequence at once. A row past its length keeps its state.
"""

from collections.abc import Callable
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from training.cells.cell import Inside, Layer, State, in_time
from training.cells.gates import write_step_gates
from training.cells.scan import WriteStep, write_linear, write_scan
from training.cells.stack import Stack
from training.graph import Graph


class AnyStepLayer(nn.Module):
    """One layer, whose step a subclass defines. Its output is h, which need not be a state."""

    def __init__(self, *, features: int, hidden: int) -> None:
        super().__init__()
        self.features, self.hidden = features, hidden

    def reset(self) -> None:
        """Initialise all weights like PyTorch's own cells."""
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -(self.hidden**-0.5), self.hidden**-0.5)

    def project(self, x: Tensor) -> State:
        """The parts of a step that need no state: [batch, time, features] → each [batch, time, width]."""
        raise NotImplementedError

    def inside(self, parts: State, state: State) -> Inside:
        """One step of a batch: parts and state, each [batch, width] → gates, h, and the state after it."""
        raise NotImplementedError

    def write_project(self, graph: Graph, layer: Layer) -> dict[str, int]:
        """Write `project`: the names of the parts [time, batch, width], with their widths."""
        raise NotImplementedError

    def write_step(self, body: Graph, parts: list[str], state: list[str]) -> tuple[str, list[str]]:
        """Write `inside`: the names of h and of the state after it."""
        raise NotImplementedError


class StepLayer(AnyStepLayer):
    """A layer with products of x: `from_x` computes the part of all gates that depends on x.

    `gates` is their total width, by default 4 · hidden.
    """

    def __init__(self, *, features: int, hidden: int, gates: int | None = None, bias: bool = True) -> None:
        super().__init__(features=features, hidden=hidden)
        self.from_x = nn.Linear(features, gates or 4 * hidden, bias=bias)

    def project(self, x: Tensor) -> State:
        """See `AnyStepLayer.project`."""
        return (self.from_x(x),)

    def write_project(self, graph: Graph, layer: Layer) -> dict[str, int]:
        """See `AnyStepLayer.write_project`."""
        return {write_linear(graph, layer, "from_x", self.from_x): self.from_x.out_features}


class Stepped(Stack):
    """A stack of layers that run step by step."""

    layer: ClassVar[Callable[..., AnyStepLayer]]

    def run_layer(self, number: int, x: Tensor, is_alive: Tensor, state: State) -> tuple[Tensor, State]:
        """See `Stack.run_layer`."""
        layer, y = self.step_layer(number), []
        parts = layer.project(x)
        for step in range(x.shape[1]):
            inside = self._zoned(layer.inside(tuple(part[:, step] for part in parts), state), state)
            y.append(inside["h"])
            after = (inside[name] for name in self.states)
            alive = is_alive[:, step]
            state = tuple(torch.where(alive, new, old) for new, old in zip(after, state, strict=True))
        return torch.stack(y, dim=1), state

    def trace(self, number: int, x: Tensor, state: State) -> tuple[Inside, Tensor]:
        """See `Cell.trace`."""
        layer, steps = self.step_layer(number), []
        parts = layer.project(x[None])
        for step in range(len(x)):
            steps.append(self._zoned(layer.inside(tuple(part[:, step] for part in parts), state), state))
            state = tuple(steps[-1][name] for name in self.states)
        inside = in_time(steps)
        return inside, inside["h"]

    def write_layer(self, graph: Graph, layer: Layer) -> str:
        """See `Cell.write_layer`."""
        module = self.step_layer(layer.number)
        widths = [self.state_width(name) for name in self.states]
        parts = module.write_project(graph, layer)
        return write_scan(graph, layer, parts, self.width, widths, self._zoned_step(module))

    def write_gates(self, graph: Graph, layer: Layer) -> list[str]:
        """See `Cell.write_gates`: the layer runs again, since its gates read states that are not outputs."""
        module = self.step_layer(layer.number)
        again = layer._replace(purpose="_traced")
        parts = module.write_project(graph, again)
        widths = [self.state_width(name) for name in self.states]
        return [write_step_gates(graph, again, parts, widths, self._zoned_step(module), self.hidden)]

    def _zoned(self, inside: Inside, before: State) -> Inside:
        """Leave a share of the state as it was (zoneout: Krueger et al. 2017), or in evaluation its mean."""
        if not self.zoneout:
            return inside
        return inside | {
            name: self._mix(inside[name], old) for name, old in zip(self.states, before, strict=True)
        }

    def _mix(self, new: Tensor, old: Tensor) -> Tensor:
        if self.training:
            return torch.where(torch.rand_like(new) < self.zoneout, old, new)
        return new + self.zoneout * (old - new)

    def _zoned_step(self, module: AnyStepLayer) -> WriteStep:
        """The step of a layer in a graph."""
        if not self.zoneout:
            return module.write_step

        def write_step(body: Graph, parts: list[str], state: list[str]) -> tuple[str, list[str]]:
            _, after = module.write_step(body, parts, state)
            share = body.weight("zoneout", np.array(self.zoneout, np.float32))
            mixed = []
            for new, old in zip(after, state, strict=True):
                change = body.add("Sub", [old, new], [f"{new}_change"])
                back = body.add("Mul", [share, change], [f"{new}_back"])
                mixed.append(body.add("Add", [new, back], [f"{new}_zoned"]))
            return mixed[0], mixed  # h, which is the first state, is the output too

        return write_step

    def step_layer(self, number: int) -> AnyStepLayer:
        """Layer `number`."""
        layer = self.stack[number]
        assert isinstance(layer, AnyStepLayer)
        return layer
