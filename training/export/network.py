"""Writes a network as an ONNX graph, node by node from its weights. Knows nothing of files or manifests.

    x [batch, time, features] ─ Transpose ─ cell ─ MatMul, Add ─ Transpose ─ logits ─ Softmax ─ y
    lengths, h, c ──────────────────────────┴── h_out, c_out

ONNX's recurrent nodes want time first. x is turned on the way in, where it is narrow, and the logits on the
way out: turning the hidden states instead would move hidden / classes times as much.
`torch.onnx.export` would leave out the lengths and slice the weights at every call.
"""

import numpy as np
import onnx
from onnx import TensorProto

from training.graph import Graph
from training.model import Network

INPUT, LENGTHS, PROBABILITIES, LOGITS = "x", "lengths", "y", "logits"


def write_graph(network: Network) -> onnx.ModelProto:
    """The graph of a network, checked. Raises what onnx.checker raises."""
    cell = network.cell
    graph = Graph("cellgate")
    graph.input(INPUT, ["batch", "time", network.features])
    graph.input(LENGTHS, ["batch"], kind=TensorProto.INT32)
    for state in cell.states:
        graph.input(state, [cell.layers, "batch", cell.state_width(state)])
    turned = graph.add("Transpose", [INPUT], ["x_by_time"], perm=[1, 0, 2])
    hidden, states = cell.write(graph, turned, LENGTHS, network.normalisation())
    weight, bias = (
        parameter.detach().cpu().numpy() for parameter in (network.head.weight, network.head.bias)
    )
    head_weight = graph.weight("head_weight", np.ascontiguousarray(weight.T))  # [width, out]
    product = graph.add("MatMul", [hidden, head_weight], ["product"])  # [time, batch, out]
    by_time = graph.add("Add", [product, graph.weight("head_bias", bias)], ["logits_by_time"])
    graph.add("Transpose", [by_time], [LOGITS], perm=[1, 0, 2])
    graph.add("Softmax", [LOGITS], [PROBABILITIES], axis=-1)
    for name in (PROBABILITIES, LOGITS):
        graph.output(name, ["batch", "time", network.out])
    for name, state in zip(states, cell.states, strict=True):
        graph.output(name, [cell.layers, "batch", cell.state_width(state)])
    return graph.build()
