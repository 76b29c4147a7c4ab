"""A stack of layers of one kind that PyTorch lacks. Knows nothing of how a layer runs its steps."""

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.cells.cell import Cell, State


class Stack(Cell):
    """Layers one above the other, with dropout between them; `layer` creates one."""

    layer: ClassVar[Callable[..., Any]]

    def __init__(self, **size: Any) -> None:
        super().__init__(**size)
        layers = [self.new_layer(number) for number in range(self.layers)]
        for layer in layers:
            layer.reset()
        self.stack = nn.ModuleList(layers)

    def new_layer(self, number: int) -> Any:
        """Layer `number`, 0 being the lowest: a module with `reset`."""
        return self.layer(features=self.width if number else self.features, hidden=self.hidden)

    def run_layer(self, number: int, x: Tensor, is_alive: Tensor, state: State) -> tuple[Tensor, State]:
        """A layer over x [batch, time, features], zero past each length, from its state, each [batch, width].

        Returns y [batch, time, width] and the state at the length; `is_alive` [batch, time, 1].
        """
        raise NotImplementedError

    def forward(self, x: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        """See `Cell.forward`."""
        steps = torch.arange(x.shape[1], device=x.device)
        is_alive = (steps < lengths.to(x.device)[:, None])[..., None]  # [batch, time, 1]
        y, ends = x, []
        for number in range(self.layers):
            if number:
                y = functional.dropout(y, self.dropout, self.training)
            read = self.layer_input(number, y, x).masked_fill(~is_alive, 0)  # NaN would reach the gradients
            y, end = self.run_layer(number, read, is_alive, tuple(part[number] for part in state))
            y = y.masked_fill(~is_alive, 0)
            ends.append(end)
        return y, tuple(torch.stack(parts) for parts in zip(*ends, strict=True))
