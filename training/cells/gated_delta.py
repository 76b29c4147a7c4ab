"""Gated DeltaNet of Yang, Kautz and Hatamizadeh (2025, arXiv:2412.06464), as a recurrent cell.

q = unit(silu(W_q x + b_q))     decay = sigmoid(w_d · x + b_d)     S' = D + beta · k (v - Dᵀ k)ᵀ
k = unit(silu(W_k x + b_k))     beta  = sigmoid(w_b · x + b_b)     h  = LN(S'ᵀ q) · silu(W_o x + b_o)
v = silu(W_v x + b_v)           D     = decay · S

The delta rule: a step replaces the value stored under its key by v, to the degree beta, instead of adding to
it. decay and beta are numbers for each head. unit(z) = z / sqrt(z · z + 1e-6), for each head.

Nothing reads h, so h is no state. There are four heads, or one where hidden is below 16 or no multiple of
four. The paper has short convolutions before silu, which are left out, and an RMS normalisation, here LN, the
layer normalisation. Its decay is exp(-a · softplus(.)), here with a = 1.
"""

import numpy as np
from torch import Tensor
from torch.nn.functional import logsigmoid, silu

from training.cells.cell import Layer
from training.cells.linear_attention import LinearAttention, MemoryLayer, write_sigmoid, write_silu
from training.cells.log_sigmoid import write_log_sigmoid
from training.graph import Graph

EPSILON = 1e-6


class GatedDeltaLayer(MemoryLayer):
    """One layer; see `MemoryLayer`."""

    rule = "gated_delta"
    decays = "each head"

    def open(self, parts: list[Tensor]) -> list[Tensor]:
        """See `MemoryLayer.open`."""
        q, k, v, decay, beta = parts
        return [self._unit(silu(q)), self._unit(silu(k)), silu(v), logsigmoid(decay), beta.sigmoid()]

    def write_open(self, graph: Graph, layer: Layer, parts: list[str]) -> list[str]:
        """See `MemoryLayer.write_open`."""
        q, k, v, decay, beta = parts
        q, k, v = (write_silu(graph, part) for part in (q, k, v))
        log_decay = write_log_sigmoid(graph, layer.name("log_decay"), decay)
        beta = write_sigmoid(graph, beta)
        return [self._write_unit(graph, q), self._write_unit(graph, k), v, log_decay, beta]

    def _unit(self, z: Tensor) -> Tensor:
        by_head = self.heads.split(z)
        return (by_head / (by_head.square().sum(dim=-1, keepdim=True) + EPSILON).sqrt()).flatten(-2)

    def _write_unit(self, graph: Graph, z: str) -> str:
        by_head = graph.weight("heads_shape", np.array([0, 0, *self.heads]))
        joined = graph.weight("joined_heads_shape", np.array([0, 0, self.hidden]))
        split = graph.add("Reshape", [z, by_head], [f"{z}_by_head"])
        square = graph.add("ReduceSumSquare", [split], [f"{z}_square"], axes=[-1], keepdims=1)
        epsilon = graph.weight("unit_epsilon", np.array(EPSILON, np.float32))
        length = graph.add("Sqrt", [graph.add("Add", [square, epsilon], [f"{z}_above"])], [f"{z}_length"])
        return graph.add(
            "Reshape", [graph.add("Div", [split, length], [f"{z}_unit"]), joined], [f"{z}_unit_flat"]
        )


class GatedDelta(LinearAttention):
    """The equations above."""

    layer = GatedDeltaLayer


CELL = GatedDelta
