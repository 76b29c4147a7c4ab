"""Writes a network as an ONNX graph, node by node from its weights. Knows nothing of files or manifests.

    x [batch, time, features] ─ Transpose ─ cell ─ MatMul, Add ─ Transpose ─ logits ─ Softmax ─ y
    lengths, h, c ──────────────────────────┴── h_out, c_out

`front` has what comes before the cell where the input is more than numbers; `tail` what a forecast ends with.
ONNX's recurrent nodes want time first. x is turned on the way in, where it is narrow, and the logits on the
way out: turning the hidden states instead would move hidden / classes times as much.
`torch.onnx.export` would leave out the lengths and slice the weights at every call.
"""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from training.cells.cell import state_out
from training.data.dataset import Input
from training.export.inputs import write_front
from training.export.quantiles import write_tail
from training.graph import Graph
from training.model import Network

Floats = NDArray[np.float32]

LENGTHS, OUTPUT, LOGITS = "lengths", "y", "logits"


def write_graph(network: Network) -> onnx.ModelProto:
    """The graph of a network, checked. Raises what onnx.checker raises."""
    cell = network.cell
    graph = Graph("cellgate")
    front = write_front(graph, network.front, LENGTHS)
    graph.input(LENGTHS, ["batch"], kind=TensorProto.INT32)
    for state in cell.states:
        graph.input(state, [cell.layers, "batch", cell.state_width(state)])
    hidden, _ = cell.write(graph, front.channels, LENGTHS, network.normalisation())
    weight, bias = (
        parameter.detach().cpu().numpy() for parameter in (network.head.weight, network.head.bias)
    )
    head_weight = graph.weight("head_weight", np.ascontiguousarray(weight.T))  # [width, out]
    product = graph.add("MatMul", [hidden, head_weight], ["product"])  # [time, batch, out]
    by_time = graph.add("Add", [product, graph.weight("head_bias", bias)], [f"{said(network)}_by_time"])
    if network.tail:
        foretold = write_tail(graph, network.tail, by_time, front.level, "quantiles_by_time")
        graph.add("Transpose", [foretold], [OUTPUT], perm=[1, 0, 2])
    else:
        graph.add("Transpose", [by_time], [LOGITS], perm=[1, 0, 2])
        graph.add("Softmax", [LOGITS], [OUTPUT], axis=-1)
    for name in (OUTPUT,) if network.tail else (OUTPUT, LOGITS):
        graph.output(name, ["batch", "time", network.out])
    for state, (layers, width) in network.states.items():
        graph.output(state_out(state), [layers, "batch", width])
    return graph.build()


def said(network: Network) -> str:
    """The graph's output that is what the network says: logits, or quantiles."""
    return OUTPUT if network.tail else LOGITS


def feeds(network: Network, x: Floats) -> dict[str, NDArray[Any]]:
    """The graph's inputs for sequences [batch, time, columns], by the graph's names."""
    return {given.in_graph: _feed(given, x[..., place]) for given, place in network.front.places()}


def _feed(given: Input, values: Floats) -> NDArray[Any]:
    if given.kind == "token":
        return values[..., 0].astype(np.int64)
    return values.reshape(*values.shape[:-1], *given.frame) if given.kind == "video" else values
