"""What every recurrent cell offers: to torch a module with its state in and out, to ONNX its nodes."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from training.graph import Graph

State = tuple[Tensor, ...]  # each [layers, batch, hidden]


class Affine(NamedTuple):
    """x → (x - shift) · scale, feature by feature."""

    shift: NDArray[np.float64]  # [features]
    scale: NDArray[np.float64]  # [features]


def state_out(name: str) -> str:
    """What the graph calls the new value of a state."""
    return f"{name}_out"


class Cell(nn.Module):
    """A stack of equal recurrent layers. `states` names its recurrent tensors, as the graph will."""

    states: tuple[str, ...]

    def __init__(self, *, features: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.features, self.hidden, self.layers = features, hidden, layers

    def initial_state(self, batch: int) -> State:
        """Zeros: what a sequence starts from."""
        zeros = next(self.parameters()).new_zeros(self.layers, batch, self.hidden)
        return tuple(zeros for _ in self.states)

    def forward(self, x: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        """[batch, time, features] → [batch, time, hidden], zero past each length; the state at the length."""
        raise NotImplementedError

    def write(
        self, graph: Graph, x: str, lengths: str, state: tuple[str, ...], normalise: Affine
    ) -> tuple[str, tuple[str, ...]]:
        """Write the layers: x [time, batch, features] → [time, batch, hidden], and the new states.

        `normalise` happens to x before the first layer: a cell folds it into its weights where it can.
        """
        raise NotImplementedError
