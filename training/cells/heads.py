"""Several matrix memories side by side: how many a layer has, and how their tensors are laid out.

A head's memory is a square matrix. As a state all of a layer's are one row: [batch, heads · width · width].
"""

from typing import NamedTuple

import numpy as np
from torch import Tensor

from training.graph import Graph

HEADS = 4  # as in the paper of xLSTM; one where `hidden` cannot be divided by it
LEAST_WIDTH = 4  # a layer normalisation of one number is 0, and of two their order


class Heads(NamedTuple):
    """The heads of a layer; `width` is that of a key, a value and a query."""

    number: int
    width: int

    @property
    def memory(self) -> int:
        """The numbers in all memories."""
        return self.number * self.width**2

    def split(self, x: Tensor) -> Tensor:
        """[..., heads · width] → [..., heads, width]."""
        return x.reshape(*x.shape[:-1], self.number, self.width)

    def square(self, memory: Tensor) -> Tensor:
        """[batch, heads · width · width] → [batch, heads, width, width]."""
        return memory.reshape(-1, self.number, self.width, self.width)

    def write_columns(self, body: Graph, x: str) -> str:
        """Write [batch, heads · width] → [batch, heads, width, 1]."""
        return self._write(body, x, "columns", self.width, 1)

    def write_rows(self, body: Graph, x: str) -> str:
        """Write [batch, heads · width] → [batch, heads, 1, width]."""
        return self._write(body, x, "rows", 1, self.width)

    def write_single(self, body: Graph, x: str) -> str:
        """Write [batch, heads] → [batch, heads, 1, 1]."""
        return self._write(body, x, "single", 1, 1)

    def write_square(self, body: Graph, memory: str) -> str:
        """Write `square`."""
        return self._write(body, memory, "square", self.width, self.width)

    def _write(self, body: Graph, x: str, form: str, *dims: int) -> str:
        shape = body.weight(f"{form}_shape", np.array([0, self.number, *dims]))
        return body.add("Reshape", [x, shape], [f"{x}_{form}"])


def heads_of(hidden: int) -> Heads:
    """The heads of a layer of this width."""
    number = HEADS if hidden % HEADS == 0 and hidden >= HEADS * LEAST_WIDTH else 1
    return Heads(number, hidden // number)


def write_flat(body: Graph, x: str, width: int, name: str) -> str:
    """Write [batch, ...] → [batch, width]."""
    return body.add("Reshape", [x, body.weight(f"{name}_shape", np.array([0, width]))], [name])
