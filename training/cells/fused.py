"""Cells that PyTorch and ONNX both have: one torch module for the stack, one ONNX node for each layer."""

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from training.cells.cell import Cell, Inside, Layer, State, Weights, in_time, weights_of
from training.cells.gates import write_lstm_gates, write_shifted
from training.cells.unit_scan import first_axis, write_delayed, write_joined
from training.graph import Graph

KINDS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")  # of a layer's parameters, as PyTorch names them


class Fused(Cell):
    """PyTorch's own stack on packed sequences; `operator` is the ONNX node of a layer."""

    compiles = True
    module: ClassVar[Callable[..., nn.RNNBase]]
    operator: ClassVar[str]
    gates: ClassVar[tuple[int, ...]]  # the index in PyTorch's order of each of ONNX's gates
    attributes: ClassVar[dict[str, Any]] = {}
    directions: ClassVar[tuple[str, ...]] = ("",)  # PyTorch's suffixes of parameter names

    def __init__(self, **size: Any) -> None:
        super().__init__(**size)
        self.rnn = self.module(
            self.features,
            self.hidden,
            self.layers,
            batch_first=True,
            dropout=self.dropout if self.layers > 1 else 0,
            bidirectional=len(self.directions) > 1,
            **({"proj_size": self.projection} if self.projection else {}),
        )

    def forward(self, x: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        """See `Cell.forward`."""
        return run_packed(self.rnn, x, lengths, state)

    def inside(self, weights: list[Tensor], x: Tensor, state: State) -> Inside:
        """One step of a batch, from weight_ih, weight_hh, bias_ih, bias_hh: gates, and the state after it."""
        raise NotImplementedError

    def trace(self, number: int, x: Tensor, state: State) -> tuple[Inside, Tensor]:
        """See `Cell.trace`."""
        inside = self.trace_one_way(number, x, state)
        return inside, inside["h"]

    def trace_one_way(self, number: int, x: Tensor, state: State, direction: str = "") -> Inside:
        """`trace` in the order of x, with the weights of one direction."""
        weights = [getattr(self.rnn, f"{kind}_l{number}{direction}") for kind in KINDS]
        if self.projection:
            weights.append(getattr(self.rnn, f"weight_hr_l{number}"))
        steps = []
        for row in x[:, None]:
            steps.append(self.inside(weights, row, state))
            state = tuple(steps[-1][name] for name in self.states or ("h", "c"))
        return in_time(steps)

    def write_layer(self, graph: Graph, layer: Layer) -> str:
        """See `Cell.write_layer`."""
        return self.write_row(graph, layer, layer.number)

    def write_row(self, graph: Graph, layer: Layer, number: int) -> str:
        """Write a layer with the weights of layer `number` of this module."""
        sides = []
        for direction in self.directions:
            w, r, b_w, b_r = self.layer_weights(number, direction)
            sides.append([in_order(w, self.gates), in_order(r, self.gates)])
            sides[-1].append(np.concatenate([in_order(b_w, self.gates), in_order(b_r, self.gates)]))
        weights = {key: np.stack(parts) for key, parts in zip("WRB", zip(*sides, strict=True), strict=True)}
        return write_node(
            graph, self.operator, layer, weights, is_both_ways=len(self.directions) > 1, **self.attributes
        )

    def write_gates(self, graph: Graph, layer: Layer) -> list[str]:
        """See `Cell.write_gates`: from x and h one step earlier, with the weights of the layer's node."""
        h = [layer.name("hidden")]
        if len(self.directions) > 1:
            h = graph.split(h[0], [layer.name(f"h{way}") for way in self.directions], [self.hidden] * 2)
        gates = []
        for direction, states in enumerate(h):
            name = layer.name(f"gates{self.directions[direction]}")
            before = self._write_before(graph, layer, f"{name}_h", states, is_backward=direction == 1)
            from_x, from_h = self.write_products(graph, layer, name, before, direction)
            gates.append(self.write_activations(graph, name, from_x, from_h))
        return gates

    def write_products(
        self, graph: Graph, layer: Layer, name: str, before: str, direction: int
    ) -> tuple[str, str]:
        """Write the products of x and of `before`, with their biases: gates stacked as in ONNX's nodes."""
        size = len(self.gates) * self.hidden
        chosen, axis = graph.weight(f"direction_{direction}", np.array([direction])), first_axis(graph)

        def own(key: str) -> str:
            rows = graph.add("Gather", [layer.name(key), chosen], [f"{name}_{key}_directed"], axis=0)
            return graph.add("Squeeze", [rows, axis], [f"{name}_{key}"])

        biases_of = graph.split(own("B"), [f"{name}_bias_x", f"{name}_bias_h"], [size, size])
        products = []
        for key, x, bias in zip("WR", (layer.x, before), biases_of, strict=True):
            weight = graph.add("Transpose", [own(key)], [f"{name}_{key}_turned"], perm=[1, 0])
            product = graph.add("MatMul", [x, weight], [f"{name}_{key}_product"])
            products.append(graph.add("Add", [product, bias], [f"{name}_{key}_sum"]))
        return products[0], products[1]

    def _write_before(self, graph: Graph, layer: Layer, name: str, h: str, *, is_backward: bool) -> str:
        """Write h of the step that was computed before [time, batch, hidden]."""
        if self.states:
            return write_delayed(graph, write_joined(graph, name, layer.start[0], h))
        return write_shifted(graph, name, h, is_backward=is_backward)

    def write_activations(self, graph: Graph, name: str, from_x: str, from_h: str) -> str:
        """Write the gates side by side as tensor `name`, from `write_products`: those of an LSTM."""
        return write_lstm_gates(graph, name, graph.add("Add", [from_x, from_h], [f"{name}_sum"]), self.hidden)

    def layer_weights(self, number: int, direction: str = "") -> list[Weights]:
        """W, R, the bias beside W and the one beside R of a layer, as PyTorch stacks their gates."""
        return [weights_of(getattr(self.rnn, f"{kind}_l{number}{direction}")) for kind in KINDS]


def run_packed(module: nn.RNNBase, x: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
    """Run a torch module over ragged sequences; returns as many states as it gets."""
    packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
    start = (state if len(state) > 1 else state[0]) if state else None
    y, end = module(packed, start)
    y, _ = pad_packed_sequence(y, batch_first=True, total_length=x.shape[1])
    return y, () if not state else end if isinstance(end, tuple) else (end,)


def in_order(weights: Weights, gates: tuple[int, ...]) -> Weights:
    """The blocks of stacked gates [gates · hidden, …] in another order."""
    blocks = np.split(weights, len(gates))
    return np.concatenate([blocks[gate] for gate in gates])


def write_node(
    graph: Graph,
    operator: str,
    layer: Layer,
    weights: dict[str, Weights],
    *,
    is_both_ways: bool = False,
    **attributes: Any,
) -> str:
    """Write ONNX `LSTM`, `GRU` or `RNN` [time, directions, batch, hidden], and its output without directions.

    `weights`: W, R, B, and optionally P, each with the directions first.
    """
    axis = "" if is_both_ways else graph.weight("direction_axis", np.array([1]))
    names = {key: graph.weight(layer.name(key), value.astype(np.float32)) for key, value in weights.items()}
    inputs = [layer.x, names["W"], names["R"], names["B"], layer.lengths, *layer.start]
    if "P" in names:
        inputs.append(names["P"])
    hidden = weights["R"].shape[2]
    directed = graph.add(
        operator, inputs, [layer.name("directed"), *layer.end], hidden_size=hidden, **attributes
    )
    if not is_both_ways:
        return graph.add("Squeeze", [directed, axis], [layer.name("hidden")])
    side_by_side = graph.add(
        "Transpose", [directed], [layer.name("side_by_side")], perm=[0, 2, 1, 3]
    )  # [time, batch, 2, hidden]
    shape = graph.weight("joined_shape", np.array([0, 0, 2 * hidden]))
    return graph.add("Reshape", [side_by_side, shape], [layer.name("hidden")])
