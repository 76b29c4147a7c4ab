"""The simple recurrent network of Elman (1990): no gates, so its memory fades or explodes.

h ← tanh(W x + R h + b)

ONNX has a node for it. In ONNX Runtime the bits of that node's output depend on the batch, and from 8 rows on
it is three to four times slower than an equal `Scan` (hidden 128). One step of one row is faster in the node:
9 µs instead of 15.
"""

from torch import Tensor, nn
from torch.nn.functional import linear

from training.cells.cell import Inside, Layer, State
from training.cells.fused import Fused
from training.cells.scan import write_affine, write_product, write_scan
from training.graph import Graph


class RNN(Fused):
    """PyTorch's RNN with tanh, and a `Scan`."""

    states = ("h",)
    module = nn.RNN

    def inside(self, weights: list[Tensor], x: Tensor, state: State) -> Inside:
        """See `Fused.inside`."""
        w, r, b_w, b_r = weights
        return {"h": (linear(x, w, b_w) + linear(state[0], r, b_r)).tanh()}

    def write_layer(self, graph: Graph, layer: Layer) -> str:
        """See `Cell.write_layer`."""
        w, r, b_w, b_r = self.layer_weights(layer.number)
        from_x = write_affine(graph, layer, "from_x", w, b_w + b_r)

        def write_step(body: Graph, parts: list[str], state: list[str]) -> tuple[str, list[str]]:
            h = body.add("Tanh", [write_product(body, "before_tanh", r, state[0], parts[0])], ["h_after"])
            return h, [h]

        return write_scan(graph, layer, {from_x: self.hidden}, self.hidden, [self.hidden], write_step)


CELL = RNN
