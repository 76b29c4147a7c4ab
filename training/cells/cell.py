"""The interface of a recurrent cell: a torch module with explicit state, and its ONNX nodes."""

from typing import ClassVar, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.errors import TrainingError
from training.graph import Graph

State = tuple[Tensor, ...]  # each [layers, batch, width of the state]; of one layer, each [batch, width]
Weights = NDArray[np.float64]
Direction = Literal["forward", "backward"]
Inside = dict[str, Tensor]  # gates and states by name; of one step each [batch, width]


class CellError(TrainingError):
    """No cell has this name, or it does not accept this argument."""


class Layout(NamedTuple):
    """What the channels of x are, for the cells that need to know (`Cell.reads`)."""

    elapsed: int | None = None  # the channel with the time since the previous step; None: equally spaced
    frame: tuple[int, int] | None = None  # height and width, of channels that are a frame, row by row


PLAIN = Layout()
DIRECTIONS: tuple[Direction, ...] = ("forward", "backward")


class Layer(NamedTuple):
    """One layer in the graph: its inputs, and the names of its new states."""

    number: int  # 0 is the lowest
    x: str  # [time, batch, features]
    lengths: str  # [batch]
    start: list[str]  # per state [1, batch, width]
    end: list[str]  # likewise; "": it is not wanted
    purpose: str = ""  # why the layer is written again, if it is: a part of its names

    def name(self, tensor: str) -> str:
        """The name of a tensor, unique to this layer."""
        return f"{tensor}{self.purpose}_{self.number}"


class Gates(NamedTuple):
    """The gates of one layer in one direction, side by side in one tensor of the graph."""

    tensor: str  # [time, batch, names · units]
    names: tuple[str, ...]
    units: int
    layer: int
    direction: Direction = "forward"


def in_time(steps: list[Inside]) -> Inside:
    """Steps of a batch of one, each [1, width], as [time, width]."""
    return {name: torch.cat([step[name] for step in steps]) for name in steps[0]}


def gates_and_state(
    in_gate: Tensor, forget_gate: Tensor, in_transform: Tensor, out_gate: Tensor, c: Tensor, h: Tensor
) -> Inside:
    """Gates and states of an LSTM at one step, by name."""
    return {
        "in_gate": in_gate,
        "forget_gate": forget_gate,
        "in_transform": in_transform,
        "out_gate": out_gate,
        "c": c,
        "h": h,
    }


def state_out(name: str) -> str:
    """The graph's name for the new value of a state."""
    return f"{name}_out"


class Cell(nn.Module):
    """A stack of recurrent layers.

    `projection` is the width of h where that is not `hidden`; 0: the cell's default. `dropout` is the share
    dropped between layers in training. `zoneout` is the share of the state that a step leaves as it was.
    """

    states: ClassVar[tuple[str, ...]]  # the recurrent tensors, as the graph names them
    causal: ClassVar[bool] = True  # False: an output depends on later steps
    both_ways: ClassVar[bool] = False  # the output is that of two directions, the one from the end second
    projects: ClassVar[bool] = False  # whether it accepts a projection
    zones: ClassVar[bool] = False  # whether it accepts zoneout
    compiles: ClassVar[bool] = False  # its steps are one operator of PyTorch, so torch.compile accepts it
    reads: ClassVar[tuple[str, ...]] = ()  # the fields of `Layout` that it needs
    gate_names: ClassVar[tuple[str, ...]] = ()  # the gates that `write_gates` writes; (): none

    def __init__(
        self,
        *,
        features: int,
        hidden: int,
        layers: int,
        dropout: float = 0.0,
        projection: int = 0,
        layout: Layout = PLAIN,
        zoneout: float = 0.0,
    ) -> None:
        super().__init__()
        self.zoneout = zoneout
        self.features, self.hidden, self.layers = features, hidden, layers
        self.dropout, self.projection, self.layout = dropout, projection, layout

    @property
    def width(self) -> int:
        """The width of the output."""
        return self.projection or self.hidden

    def state_width(self, name: str) -> int:
        """The width of a state: for h the width of the output, for any other `hidden`."""
        return self.width if name == "h" else self.hidden

    def initial_state(self, batch: int) -> State:
        """The state at the start of a sequence: zeros."""
        like = next(self.parameters())
        return tuple(like.new_zeros(self.layers, batch, self.state_width(name)) for name in self.states)

    def forward(self, x: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        """[batch, time, features] → [batch, time, width], zero past each length; the state at the length."""
        raise NotImplementedError

    def layer_input(self, number: int, below: Tensor, x: Tensor) -> Tensor:
        """What layer `number` reads: x, or above the lowest layer `below`, the output of the one below."""
        return below if number else x

    def trace(self, number: int, x: Tensor, state: State) -> tuple[Inside, Tensor]:
        """Gates and states inside layer `number`, step by step; slow.

        x [time, features] (`layer_input`) and the layer's state, each [1, width] → every gate and state by
        name, and the output of the layer, each [time, width].
        """
        raise NotImplementedError

    def trace_layers(self, x: Tensor) -> tuple[list[Inside], Tensor]:
        """`trace` of every layer from zeros: x [time, features] → each layer's, and the last one's output."""
        layers, y = [], x
        for number in range(self.layers):
            state = tuple(x.new_zeros(1, self.state_width(name)) for name in self.states)
            inside, y = self.trace(number, self.layer_input(number, y, x), state)
            layers.append(inside)
        return layers, y

    def write_layer(self, graph: Graph, layer: Layer) -> str:
        """Write one layer and its new states; return the name of its output [time, batch, width]."""
        raise NotImplementedError

    def write_gates(self, graph: Graph, layer: Layer) -> list[str]:
        """Write the gates of a layer that `write_layer` has written: `gate_names` side by side.

        Returns the name of [time, batch, gates · units] for each direction.
        """
        raise NotImplementedError

    def write(
        self, graph: Graph, x: str, lengths: str, gates: list[Gates] | None = None
    ) -> tuple[str, tuple[str, ...]]:
        """Write all layers: x [time, batch, features] → [time, batch, width], and the new states.

        One layer reads the state directly; a stack splits it and joins it again. `gates`: a list that gets
        those of each layer. Raises CellError if the cell has none.
        """
        if gates is not None and not self.gate_names:
            raise CellError(f"{type(self).__name__} has no gates that a graph can show")
        starts = [self._rows(name) for name in self.states]  # per state, its name in each layer
        ends = [self._rows(state_out(name)) for name in self.states]
        if self.layers > 1:
            for name, rows in zip(self.states, starts, strict=True):
                graph.add("Split", [name], rows, axis=0)
        for number in range(self.layers):
            start, end = ([rows[number] for rows in names] for names in (starts, ends))
            layer = Layer(number, x, lengths, start, end)
            x = self.write_layer(graph, layer)
            if gates is not None:
                tensors = zip(self.write_gates(graph, layer), DIRECTIONS, strict=False)
                gates += [Gates(tensor, self.gate_names, self.hidden, number, way) for tensor, way in tensors]
        if self.layers > 1:
            for name, rows in zip(self.states, ends, strict=True):
                graph.add("Concat", rows, [state_out(name)], axis=0)
        return x, tuple(state_out(name) for name in self.states)

    def _rows(self, name: str) -> list[str]:
        return [name] if self.layers == 1 else [f"{name}_{layer}" for layer in range(self.layers)]


def weights_of(parameter: Tensor) -> Weights:
    """A parameter in float64, so that numbers computed from weights are rounded once, at the end."""
    return parameter.detach().cpu().double().numpy()
