"""The convolutional LSTM of Shi et al. (2015, arXiv:1506.04214), for a frame at each step: h and c are maps.

in_gate      = sigmoid(W_i * x + R_i * h + b_i)        c' = forget_gate · c + in_gate · in_transform
forget_gate  = sigmoid(W_f * x + R_f * h + b_f)        h' = out_gate · tanh(c')
in_transform = tanh(W_c * x + R_c * h + b_c)
out_gate     = sigmoid(W_o * x + R_o * h + b_o)

with * a convolution of 3 by 3, and zeros around the frame. `hidden` is the number of maps, each as large as
the frame; h and c are stored map by map, row by row. So their width, and that of the output, is hidden ·
height · width. The paper's peepholes, which are weights for each place, are left out.

Numbers that are no frame are a frame of one row: the cell is then an LSTM whose weights neighbouring numbers
share.
"""

from typing import Any

import numpy as np
from torch import Tensor, nn

from training.cells.cell import Inside, Layer, State, gates_and_state, weights_of
from training.cells.scan import write_cell, write_output
from training.cells.stepped import AnyStepLayer, Stepped
from training.graph import Graph

KERNEL = 3
Frame = tuple[int, int]


class ConvLayer(AnyStepLayer):
    """One layer; gates are stacked in_gate, forget_gate, in_transform, out_gate, each `hidden` maps."""

    def __init__(self, *, maps: int, hidden: int, frame: Frame) -> None:
        super().__init__(features=maps * frame[0] * frame[1], hidden=hidden)
        self.frame = frame
        kernel = min(KERNEL, 2 * frame[0] - 1), min(KERNEL, 2 * frame[1] - 1)  # 1 across a single row
        self.pads = [size // 2 for size in kernel]
        self.from_x = nn.Conv2d(maps, 4 * hidden, kernel, padding="same")
        self.from_h = nn.Conv2d(hidden, 4 * hidden, kernel, padding="same", bias=False)

    @property
    def size(self) -> int:
        """The width of h and of c."""
        return self.hidden * self.frame[0] * self.frame[1]

    def project(self, x: Tensor) -> State:
        """See `AnyStepLayer.project`."""
        maps = self.from_x(x.reshape(-1, self.from_x.in_channels, *self.frame))
        return (maps.reshape(*x.shape[:2], 4 * self.size),)

    def inside(self, parts: State, state: State) -> Inside:
        """See `AnyStepLayer.inside`."""
        [from_x], (h, c) = parts, state
        from_h = self.from_h(h.reshape(-1, self.hidden, *self.frame)).flatten(1)
        in_gate, forget_gate, in_transform, out_gate = (from_x + from_h).chunk(4, dim=1)
        in_gate, forget_gate, out_gate = in_gate.sigmoid(), forget_gate.sigmoid(), out_gate.sigmoid()
        in_transform = in_transform.tanh()
        c = forget_gate * c + in_gate * in_transform
        return gates_and_state(in_gate, forget_gate, in_transform, out_gate, c, out_gate * c.tanh())

    def write_project(self, graph: Graph, layer: Layer) -> dict[str, int]:
        """See `AnyStepLayer.write_project`."""
        shape = graph.weight(layer.name("maps_shape"), np.array([-1, self.from_x.in_channels, *self.frame]))
        maps = graph.add("Reshape", [layer.x, shape], [layer.name("maps")])
        convolved = self._write_conv(graph, layer.name("from_x"), self.from_x, maps)
        steps = graph.add("Shape", [layer.x], [layer.name("steps_and_rows")], end=2)
        width = graph.weight("gates_width", np.array([4 * self.size]))
        shape = graph.add("Concat", [steps, width], [layer.name("gates_shape")], axis=0)
        return {graph.add("Reshape", [convolved, shape], [layer.name("from_x_flat")]): 4 * self.size}

    def write_step(self, body: Graph, parts: list[str], state: list[str]) -> tuple[str, list[str]]:
        """See `AnyStepLayer.write_step`."""
        [from_x], (h, c) = parts, state
        shape = body.weight("maps_shape", np.array([-1, self.hidden, *self.frame]))
        maps = body.add("Reshape", [h, shape], ["maps"])
        flat = body.weight("flat_shape", np.array([-1, 4 * self.size]))
        convolved = body.add("Reshape", [self._write_conv(body, "from_h", self.from_h, maps), flat], ["flat"])
        gates = body.add("Add", [from_x, convolved], ["gates"])
        sizes = [2 * self.size, self.size, self.size]
        in_forget, in_transform, out_gate = body.split(
            gates, ["in_forget", "in_transform", "out_gate"], sizes
        )
        c = write_cell(body, in_forget, in_transform, c)
        h = write_output(body, out_gate, c)
        return h, [h, c]

    def _write_conv(self, graph: Graph, name: str, conv: nn.Conv2d, maps: str) -> str:
        weights = [graph.weight(f"{name}_weight", weights_of(conv.weight).astype(np.float32))]
        if conv.bias is not None:
            weights.append(graph.weight(f"{name}_bias", weights_of(conv.bias).astype(np.float32)))
        return graph.add("Conv", [maps, *weights], [name], pads=self.pads * 2)


class ConvLSTM(Stepped):
    """The equations above, step by step, and a `Scan`."""

    states = ("h", "c")
    reads = ("frame",)

    def __init__(self, **size: Any) -> None:
        self.frame: Frame = size["layout"].frame or (1, size["features"])
        super().__init__(**size)

    @property
    def width(self) -> int:
        """See `Cell.width`."""
        return self.hidden * self.frame[0] * self.frame[1]

    def state_width(self, name: str) -> int:
        """See `Cell.state_width`: all maps."""
        return {"h": self.width, "c": self.width}[name]

    def new_layer(self, number: int) -> ConvLayer:
        """See `Stepped.new_layer`."""
        return ConvLayer(maps=self.hidden if number else 1, hidden=self.hidden, frame=self.frame)


CELL = ConvLSTM
