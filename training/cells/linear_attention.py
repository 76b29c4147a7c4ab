"""Layers whose memory is a matrix that grows by key and value: their step, and their nodes.

    S' = decay · S + k vᵀ                                  o = S'ᵀ q        rule gated
    S' = decay · S + beta · k (v - (decay · S)ᵀ k)ᵀ        o = S'ᵀ q        rule gated_delta

S is [width of a key, width of a value] for each head. The output is layer-normalised for each head, and
multiplied by an output gate: h = LN(o) · silu(gate).

In the graph ONNX Runtime's kernel `LinearAttention` (domain com.microsoft) takes all steps at once; a
portable graph has a `Scan` of standard nodes instead. The kernel knows no lengths: at a step past its length
a row has key and value 0 and decay 1, which leave S as it is.
"""

from typing import ClassVar

import numpy as np
from torch import Tensor, nn
from torch.nn.functional import silu

from training.cells.cell import Inside, Layer, State
from training.cells.exponential import start_open
from training.cells.heads import Heads, heads_of, write_flat
from training.cells.layer_norm import write_norm
from training.cells.scan import write_is_alive, write_linear, write_scan
from training.cells.stepped import StepLayer, Stepped
from training.graph import CONTRIB, Graph

ONE = np.array(1, np.float32)


class MemoryLayer(StepLayer):
    """One layer; `from_x` stacks q, k, v, out_gate, decay and, for the rule gated_delta, beta."""

    rule: ClassVar[str]
    decays: ClassVar[str]  # "each key": a decay for each number of a key; "each head": one for each head

    def __init__(self, *, features: int, hidden: int) -> None:
        self.heads: Heads = heads_of(hidden)
        self.decay_width = hidden if self.decays == "each key" else self.heads.number
        self.sizes = [hidden] * 4 + [self.decay_width]
        if self.rule == "gated_delta":
            self.sizes.append(self.heads.number)
        super().__init__(features=features, hidden=hidden, gates=sum(self.sizes))
        self.norm = nn.LayerNorm(self.heads.width)

    def reset(self) -> None:
        """Initialise like PyTorch's own cells, but with slow decays, and a plain normalisation."""
        super().reset()
        self.norm.reset_parameters()
        start_open(self.from_x.bias[4 * self.hidden : 4 * self.hidden + self.decay_width])

    def open(self, parts: list[Tensor]) -> list[Tensor]:
        """The parts of `from_x` after their activations, without out_gate: q, k, v, log decay, beta."""
        raise NotImplementedError

    def write_open(self, graph: Graph, layer: Layer, parts: list[str]) -> list[str]:
        """Write `open`."""
        raise NotImplementedError

    def project(self, x: Tensor) -> State:
        """See `StepLayer.project`: the output gate, q, k, v, log decay and, if the rule has it, beta."""
        q, k, v, out_gate, *others = self.from_x(x).split(self.sizes, dim=-1)
        return silu(out_gate), *self.open([q, k, v, *others])

    def inside(self, parts: State, state: State) -> Inside:
        """See `StepLayer.inside`."""
        (out_gate, q, k, v, log_decay, *beta), [s] = parts, state
        q, k, v = (self.heads.split(each) for each in (q, k, v))
        decay = log_decay.exp()
        by_head = decay.reshape(len(decay), self.heads.number, -1)  # [batch, heads, width or 1]
        memory = by_head[..., None] * self.heads.square(s)
        if beta:
            v = beta[0][..., None] * (v - (k[..., None, :] @ memory)[..., 0, :])
        memory = memory + k[..., :, None] * v[..., None, :]
        read = (q[..., None, :] @ memory)[..., 0, :]  # [batch, heads, width]
        inside = {"forget_gate": decay, "s": memory.flatten(1), "h": self.norm(read).flatten(1) * out_gate}
        return inside | ({"in_gate": beta[0]} if beta else {})

    def write_parts(self, graph: Graph, layer: Layer) -> tuple[str, dict[str, int]]:
        """Write `project`: the name of the output gate, and those of the parts of a step, with widths."""
        names = [layer.name(part) for part in ("q", "k", "v", "out_gate", "decay", "beta")][: len(self.sizes)]
        q, k, v, out_gate, *others = graph.split(
            write_linear(graph, layer, "from_x", self.from_x), names, self.sizes
        )
        parts = self.write_open(graph, layer, [q, k, v, *others])
        widths = [*self.sizes[:3], *self.sizes[4:]]
        return write_silu(graph, out_gate), dict(zip(parts, widths, strict=True))

    def write_step(self, body: Graph, parts: list[str], state: list[str]) -> tuple[str, list[str]]:
        """See `StepLayer.write_step`: o instead of h, whose normalisation and gate follow for all steps."""
        (q, k, v, log_decay, *beta), heads = parts, self.heads
        decay = body.add("Exp", [log_decay], ["decay"])
        to_each = heads.write_columns if self.decays == "each key" else heads.write_single
        memory = body.add("Mul", [to_each(body, decay), heads.write_square(body, state[0])], ["kept"])
        value = heads.write_rows(body, v)
        if beta:
            found = body.add("MatMul", [heads.write_rows(body, k), memory], ["found"])
            wrong = body.add("Sub", [value, found], ["wrong"])
            value = body.add("Mul", [heads.write_single(body, beta[0]), wrong], ["correction"])
        added = body.add("Mul", [heads.write_columns(body, k), value], ["added"])
        memory = body.add("Add", [memory, added], ["memory"])
        read = body.add("MatMul", [heads.write_rows(body, q), memory], ["read_rows"])
        return write_flat(body, read, self.hidden, "read"), [
            write_flat(body, memory, heads.memory, "memory_after")
        ]

    def write_kernel(self, graph: Graph, layer: Layer, parts: list[str]) -> str:
        """Write the kernel over parts [batch, time, width]; return the name of o, likewise."""
        q, k, v, log_decay, *beta = parts
        zero, is_alive = graph.weight("nothing", np.zeros(1, np.float32)), _write_alive_by_row(graph, layer)
        k, v, log_decay = (
            graph.add("Where", [is_alive, part, zero], [f"{part}_alive"]) for part in (k, v, log_decay)
        )
        count, width = self.heads
        square = graph.weight("square_shape", np.array([-1, count, width, width]))
        before = graph.add("Reshape", [layer.start[0], square], [layer.name("s_square")])
        after = layer.name("s_square_after")
        o = graph.add(
            "LinearAttention",
            [q, k, v, before, log_decay, *beta],
            [layer.name("o"), after],
            domain=CONTRIB,
            update_rule=self.rule,
            q_num_heads=count,
            kv_num_heads=count,
            scale=1.0,
        )
        flat = graph.weight("memory_shape", np.array([1, -1, self.heads.memory]))
        graph.add("Reshape", [after, flat], layer.end)
        return o

    def write_output(self, graph: Graph, layer: Layer, o: str, out_gate: str) -> str:
        """Write the normalisation of o [.., .., hidden], and the output gate."""
        by_head = graph.weight("heads_shape", np.array([0, 0, *self.heads]))
        split = graph.add("Reshape", [o, by_head], [layer.name("o_by_head")])
        norm = write_norm(graph, layer.name("norm"), self.norm, split)
        joined = graph.weight("joined_heads_shape", np.array([0, 0, self.hidden]))
        flat = graph.add("Reshape", [norm, joined], [layer.name("o_normalised")])
        return graph.add("Mul", [flat, out_gate], [layer.name("gated")])


class LinearAttention(Stepped):
    """Layers of one kind: step by step in PyTorch, in the graph the kernel or a `Scan`."""

    states = ("s",)
    layer: ClassVar[type[MemoryLayer]]

    def state_width(self, name: str) -> int:
        """See `Cell.state_width`: S of each head, row by row."""
        return {"s": heads_of(self.hidden).memory}[name]

    def write_layer(self, graph: Graph, layer: Layer) -> str:
        """See `Cell.write_layer`."""
        module = self.stack[layer.number]
        assert isinstance(module, MemoryLayer)
        if graph.is_portable:
            out_gate, parts = module.write_parts(graph, layer)
            o = write_scan(graph, layer, parts, self.width, [module.heads.memory], module.write_step)
            return module.write_output(graph, layer, o, out_gate)
        by_row = graph.add("Transpose", [layer.x], [layer.name("by_row")], perm=[1, 0, 2])
        out_gate, parts = module.write_parts(graph, layer._replace(x=by_row))
        o = module.write_kernel(graph, layer, list(parts))
        h = module.write_output(graph, layer, o, out_gate)
        return graph.add("Transpose", [h], [layer.name("hidden")], perm=[1, 0, 2])


def write_silu(graph: Graph, x: str) -> str:
    """Write x · sigmoid(x)."""
    return graph.add("Div", [x, _write_divisor(graph, x)], [f"{x}_silu"])


def write_sigmoid(graph: Graph, x: str) -> str:
    """Write sigmoid(x); of ONNX Runtime's `Sigmoid`, a small value is inexact, and never below 1.5e-8."""
    return graph.add("Div", [graph.weight("number_1", ONE), _write_divisor(graph, x)], [f"{x}_open"])


def _write_divisor(graph: Graph, x: str) -> str:
    """Write 1 + exp(-x)."""
    closing = graph.add("Exp", [graph.add("Neg", [x], [f"{x}_minus"])], [f"{x}_closing"])
    return graph.add("Add", [closing, graph.weight("number_1", ONE)], [f"{x}_divisor"])


def _write_alive_by_row(graph: Graph, layer: Layer) -> str:
    """[batch, time, 1]: whether the row has this step."""
    name = "is_alive_batch_first"
    if not layer.number:
        graph.add("Transpose", [write_is_alive(graph, layer)], [name], perm=[1, 0, 2])
    return name
