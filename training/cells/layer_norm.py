"""The LSTM with layer normalisation of Ba, Kiros and Hinton (2016), equations 20 to 22 of their supplement.

gates = LN(W x) + LN(R h)               the four gates of a layer normalised together
c' = sigmoid(forget_gate) · c + sigmoid(in_gate) · tanh(in_transform)
h' = sigmoid(out_gate) · tanh(LN(c'))

LN(z) = gain · (z - mean) / sqrt(variance + epsilon) + bias, over the units of one layer at one step. Of the
three biases that the paper adds up in the gates, only that of LN(W x) remains.

The gains of the gates start at 0.1 (Cooijmans et al. 2017). At 1 the gates are saturated, and a stack of
three amplifies the rounding of float32 to about 1e-5, more than an export allows between two correct
computations.
"""

import numpy as np
from torch import Tensor, nn

from training.cells.cell import Inside, Layer, State, gates_and_state, weights_of
from training.cells.gates import LSTM_GATES
from training.cells.scan import write_cell, write_linear, write_output, write_product
from training.cells.stepped import StepLayer, Stepped
from training.graph import Graph

GATE_GAIN = 0.1


class LayerNormLayer(StepLayer):
    """One layer; gates are stacked in_gate, forget_gate, in_transform, out_gate."""

    def __init__(self, *, features: int, hidden: int) -> None:
        super().__init__(features=features, hidden=hidden, bias=False)
        self.from_h = nn.Linear(hidden, 4 * hidden, bias=False)
        self.norm_x = nn.LayerNorm(4 * hidden)
        self.norm_h = nn.LayerNorm(4 * hidden, bias=False)
        self.norm_c = nn.LayerNorm(hidden)

    def reset(self) -> None:
        """Initialise like PyTorch's own cells, except gains and biases."""
        super().reset()
        for norm, gain in ((self.norm_x, GATE_GAIN), (self.norm_h, GATE_GAIN), (self.norm_c, 1.0)):
            norm.reset_parameters()
            nn.init.constant_(norm.weight, gain)

    def project(self, x: Tensor) -> State:
        """See `StepLayer.project`."""
        return (self.norm_x(self.from_x(x)),)

    def inside(self, parts: State, state: State) -> Inside:
        """See `StepLayer.inside`."""
        [from_x], (h, c) = parts, state
        gates = from_x + self.norm_h(self.from_h(h))
        in_gate, forget_gate, in_transform, out_gate = gates.chunk(4, dim=1)
        in_gate, forget_gate, out_gate = in_gate.sigmoid(), forget_gate.sigmoid(), out_gate.sigmoid()
        in_transform = in_transform.tanh()
        c = forget_gate * c + in_gate * in_transform
        h = out_gate * self.norm_c(c).tanh()
        return gates_and_state(in_gate, forget_gate, in_transform, out_gate, c, h)

    def write_project(self, graph: Graph, layer: Layer) -> dict[str, int]:
        """See `StepLayer.write_project`."""
        from_x = write_linear(graph, layer, "from_x", self.from_x)
        return {write_norm(graph, layer.name("norm_x"), self.norm_x, from_x): 4 * self.hidden}

    def write_step(self, body: Graph, parts: list[str], state: list[str]) -> tuple[str, list[str]]:
        """See `StepLayer.write_step`."""
        [from_x], (h, c) = parts, state
        from_h = write_product(body, "from_h", weights_of(self.from_h.weight), h)
        gates = body.add("Add", [from_x, write_norm(body, "norm_h", self.norm_h, from_h)], ["gates"])
        sizes = [2 * self.hidden, self.hidden, self.hidden]
        in_forget, in_transform, out_gate = body.split(
            gates, ["in_forget", "in_transform", "out_gate"], sizes
        )
        c = write_cell(body, in_forget, in_transform, c)
        h = write_output(body, out_gate, write_norm(body, "norm_c", self.norm_c, c))
        return h, [h, c]


def write_norm(graph: Graph, name: str, norm: nn.LayerNorm, x: str) -> str:
    """Write a normalisation of the last axis."""
    parameters = {"gain": norm.weight, "bias": norm.bias}  # a norm without bias has None
    inputs = [
        graph.weight(f"{name}_{key}", weights_of(value).astype(np.float32))
        for key, value in parameters.items()
        if value is not None
    ]
    return graph.add("LayerNormalization", [x, *inputs], [name], axis=-1, epsilon=norm.eps)


class LayerNormLSTM(Stepped):
    """The equations above, step by step, and a `Scan`."""

    states = ("h", "c")
    zones = True
    layer = LayerNormLayer
    gate_names = LSTM_GATES


CELL = LayerNormLSTM
