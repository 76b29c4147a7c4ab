"""Gated linear attention of Yang, Wang, Shen, Panda and Kim (2024, arXiv:2312.06635), as a recurrent cell.

q = W_q x + b_q    k = W_k x + b_k    v = W_v x + b_v        S' = Diag(decay) S + k vᵀ
decay = sigmoid(W_d x + b_d)^(1/16)                          h  = LN(S'ᵀ q) · silu(W_o x + b_o)

Each row of the matrix memory S, that is each number of a key, decays at its own pace, which x decides.
Nothing reads h, so h is no state. There are four heads, or one where hidden is below 16 or no multiple of
four. The paper computes the decay through a narrow layer; here W_d is one matrix, with a bias. LN is the
layer normalisation.
"""

import numpy as np
from torch import Tensor
from torch.nn.functional import logsigmoid

from training.cells.cell import Layer
from training.cells.linear_attention import LinearAttention, MemoryLayer
from training.cells.log_sigmoid import write_log_sigmoid
from training.graph import Graph

SLOWER = 1 / 16  # the exponent of the decay


class GLALayer(MemoryLayer):
    """One layer; see `MemoryLayer`."""

    rule = "gated"
    decays = "each key"

    def open(self, parts: list[Tensor]) -> list[Tensor]:
        """See `MemoryLayer.open`."""
        q, k, v, decay = parts
        return [q, k, v, SLOWER * logsigmoid(decay)]

    def write_open(self, graph: Graph, layer: Layer, parts: list[str]) -> list[str]:
        """See `MemoryLayer.write_open`."""
        q, k, v, decay = parts
        log_sigmoid = write_log_sigmoid(graph, layer.name("log_sigmoid"), decay)
        slower = graph.weight("slower", np.array(SLOWER, np.float32))
        return [q, k, v, graph.add("Mul", [log_sigmoid, slower], [layer.name("log_decay")])]


class GLA(LinearAttention):
    """The equations above."""

    layer = GLALayer


CELL = GLA
