"""The layer between cell and head: what a class is read from. Knows no cell and no task.

    last    y_t
    ends    [ahead_t, back_0]    of a cell of two directions, each where it has read most: at the last step
                                 back_t has read one step, and back_0 all of them

Each is an output at every step, and the class of a sequence is that of its last step.
"""

from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from training.config import PoolName
from training.errors import TrainingError
from training.graph import Graph


class PoolError(TrainingError):
    """The pool does not fit the cell or the task."""


class Pool(nn.Module):
    """`last`: the output of each step as it is; other pools are its subclasses."""

    name: ClassVar[PoolName] = "last"

    def __init__(self, width: int) -> None:
        """`width`: of the cell's output."""
        super().__init__()
        self.width = width

    def forward(self, y: Tensor) -> Tensor:
        """[batch, time, width] → the same shape."""
        return y

    def write(self, graph: Graph, y: str) -> str:  # noqa: ARG002
        """Write `forward`: [time, batch, width] → the same shape."""
        return y


class Ends(Pool):
    """The first half of the width at each step, and the second half at step 0."""

    name = "ends"

    def forward(self, y: Tensor) -> Tensor:
        """See `Pool.forward`."""
        ahead, back = y.chunk(2, dim=-1)
        return torch.cat([ahead, back[:, :1].expand_as(back)], dim=-1)

    def write(self, graph: Graph, y: str) -> str:
        """See `Pool.write`."""
        ahead, back = graph.split(y, ["ahead", "back"], [self.width // 2] * 2)
        start = graph.weight("start_step", np.array([0]))
        at_start = graph.add("Gather", [back, start], ["back_at_start"], axis=0)  # [1, batch, width / 2]
        shape = graph.add("Shape", [ahead], ["ahead_shape"])
        back = graph.add("Expand", [at_start, shape], ["back_at_every_step"])
        return graph.add("Concat", [ahead, back], ["ends"], axis=-1)


def build(name: PoolName | Literal["auto"], *, width: int, both_ways: bool) -> Pool:
    """The pool of this name, for a cell with an output of this width, or of two directions. Raises PoolError.

    `auto`: each direction at its own end, if there are two.
    """
    if name == "auto":
        name = "ends" if both_ways else "last"
    if name == "ends" and not both_ways:
        raise PoolError("the pool 'ends' needs a cell of two directions, such as bidirectional")
    return {pool.name: pool for pool in (Pool, Ends)}[name](width)
