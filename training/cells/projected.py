"""The LSTM with a projection of Sak, Senior and Beaufays (2014): a narrow h from a wide c.

in_gate      = sigmoid(W_i x + R_i h + b_i)        c' = forget_gate · c + in_gate · in_transform
forget_gate  = sigmoid(W_f x + R_f h + b_f)
in_transform = tanh(W_g x + R_g h + b_g)
out_gate     = sigmoid(W_o x + R_o h + b_o)        h' = P (out_gate · tanh(c'))

R is 4 · hidden by projection instead of 4 · hidden by hidden. ONNX `LSTM` has no P of this kind.
"""

from typing import Any

from torch import Tensor, nn

from training.cells.cell import CellError, Inside, Layer, State, weights_of
from training.cells.fused import Fused, in_order
from training.cells.gates import LSTM_GATES
from training.cells.lstm import LSTM, lstm_step
from training.cells.scan import write_affine, write_cell, write_output, write_product, write_scan
from training.graph import Graph


class ProjectedLSTM(Fused):
    """PyTorch's LSTM with `proj_size`, and a `Scan`. The default projection is half of hidden."""

    states = ("h", "c")
    projects = True
    module = nn.LSTM
    gate_names = LSTM_GATES

    def __init__(self, *, hidden: int, projection: int = 0, **size: Any) -> None:
        projection = projection or hidden // 2
        if not 0 < projection < hidden:
            raise CellError(
                f"the projection must be narrower than hidden: {projection} is not below {hidden}"
            )
        super().__init__(hidden=hidden, projection=projection, **size)

    def inside(self, weights: list[Tensor], x: Tensor, state: State) -> Inside:
        """See `Fused.inside`."""
        return lstm_step(weights, x, state)

    def write_layer(self, graph: Graph, layer: Layer) -> str:
        """See `Cell.write_layer`."""
        w, r, b_w, b_r = self.layer_weights(layer.number)
        p = weights_of(getattr(self.rnn, f"weight_hr_l{layer.number}"))
        from_x = write_affine(graph, layer, "from_x", w, b_w + b_r)

        def write_step(body: Graph, parts: list[str], state: list[str]) -> tuple[str, list[str]]:
            [from_x], (h, c) = parts, state
            gates = write_product(body, "gates", r, h, from_x)
            names, sizes = ["in_forget", "in_transform", "out_gate"], [2, 1, 1]
            names = body.split(gates, names, [size * self.hidden for size in sizes])
            in_forget, in_transform, out_gate = names
            c = write_cell(body, in_forget, in_transform, c)
            h = write_product(body, "projected", p, write_output(body, out_gate, c))
            return h, [h, c]

        widths = [self.projection, self.hidden]
        return write_scan(graph, layer, {from_x: 4 * self.hidden}, self.projection, widths, write_step)

    def write_products(
        self,
        graph: Graph,
        layer: Layer,
        name: str,
        before: str,
        direction: int,  # noqa: ARG002
    ) -> tuple[str, str]:
        """See `Fused.write_products`; there is no node with the weights."""
        w, r, b_w, b_r = (in_order(each, LSTM.gates) for each in self.layer_weights(layer.number))
        of_h = layer._replace(x=before)
        return write_affine(graph, layer, f"{name}_x", w, b_w), write_affine(graph, of_h, f"{name}_h", r, b_r)


CELL = ProjectedLSTM
