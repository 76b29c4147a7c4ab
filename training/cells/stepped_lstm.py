"""The LSTM of `lstm`, step by step, and a `Scan`: for zoneout, which no operator of PyTorch or ONNX has."""

from torch import nn

from training.cells.cell import Inside, State, gates_and_state, weights_of
from training.cells.gates import LSTM_GATES
from training.cells.scan import write_cell, write_output, write_product
from training.cells.stepped import StepLayer, Stepped
from training.graph import Graph


class SteppedLayer(StepLayer):
    """One layer; gates are stacked in_gate, forget_gate, in_transform, out_gate."""

    def __init__(self, *, features: int, hidden: int) -> None:
        super().__init__(features=features, hidden=hidden)
        self.from_h = nn.Linear(hidden, 4 * hidden, bias=False)

    def inside(self, parts: State, state: State) -> Inside:
        """See `StepLayer.inside`."""
        [from_x], (h, c) = parts, state
        in_gate, forget_gate, in_transform, out_gate = (from_x + self.from_h(h)).chunk(4, dim=1)
        in_gate, forget_gate, out_gate = in_gate.sigmoid(), forget_gate.sigmoid(), out_gate.sigmoid()
        in_transform = in_transform.tanh()
        c = forget_gate * c + in_gate * in_transform
        return gates_and_state(in_gate, forget_gate, in_transform, out_gate, c, out_gate * c.tanh())

    def write_step(self, body: Graph, parts: list[str], state: list[str]) -> tuple[str, list[str]]:
        """See `StepLayer.write_step`."""
        [from_x], (h, c) = parts, state
        before = write_product(body, "before", weights_of(self.from_h.weight), h, from_x)
        sizes = [2 * self.hidden, self.hidden, self.hidden]
        in_forget, in_transform, out_gate = body.split(
            before, ["in_forget", "in_transform", "out_gate"], sizes
        )
        c = write_cell(body, in_forget, in_transform, c)
        h = write_output(body, out_gate, c)
        return h, [h, c]


class SteppedLSTM(Stepped):
    """The equations of `lstm`."""

    states = ("h", "c")
    layer = SteppedLayer
    gate_names = LSTM_GATES
    zones = True
