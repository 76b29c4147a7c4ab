"""Writes a network as an ONNX graph, node by node from its weights. Knows nothing of files or manifests.

    x [batch, time, features] ─ Transpose ─ Sub, Mul ─ cell ─ MatMul, Add ─ Transpose ─ logits ─ Softmax ─ y
    lengths, h, c ─────────────────────────────────────┴── h_out, c_out

`export.inputs` writes the nodes before the cell; `export.quantiles` those after the dense layer of a
forecast. ONNX's recurrent nodes want time first. The graph transposes x on the way in, where it is narrow,
and the logits on the way out: transposing the hidden states would move hidden / classes times as many
numbers. `torch.onnx.export` would leave out the lengths and slice the weights at every call.
"""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from training.cells.cell import Gates, state_out
from training.data.dataset import Input
from training.export.inputs import write_inputs
from training.export.quantiles import write_quantiles
from training.graph import Graph
from training.model import Network

Floats = NDArray[np.float32]

LENGTHS, OUTPUT, LOGITS = "lengths", "y", "logits"


def write_graph(
    network: Network, *, is_portable: bool = False, gates: list[Gates] | None = None
) -> onnx.ModelProto:
    """The graph of a network, checked. Raises the errors of onnx.checker.

    `is_portable`: without ONNX Runtime's own operators, for other runtimes. `gates`: a list that gets those
    of each layer, which are outputs then. Raises CellError if the cell has none.
    """
    cell = network.cell
    graph = Graph("cellgate", is_portable=is_portable)
    written = write_inputs(graph, network.input_layer, LENGTHS)
    graph.input(LENGTHS, ["batch"], kind=TensorProto.INT32)
    for state in cell.states:
        graph.input(state, [cell.layers, "batch", cell.state_width(state)])
    hidden, _ = cell.write(graph, written.channels, LENGTHS, gates)
    hidden = network.pool.write(graph, hidden, LENGTHS)
    hidden = _write_decoder(graph, network, hidden, written.ahead)
    weight, bias = (
        parameter.detach().cpu().numpy() for parameter in (network.head.weight, network.head.bias)
    )
    head_weight = graph.weight("head_weight", np.ascontiguousarray(weight.T))  # [width, out]
    product = graph.add("MatMul", [hidden, head_weight], ["product"])  # [time, batch, out]
    by_time = graph.add(
        "Add", [product, graph.weight("head_bias", bias)], [f"{network_output(network)}_by_time"]
    )
    if network.quantiles:
        forecast = write_quantiles(graph, network.quantiles, by_time, written.level, "quantiles_by_time")
        graph.add("Transpose", [forecast], [OUTPUT], perm=[1, 0, 2])
    else:
        graph.add("Transpose", [by_time], [LOGITS], perm=[1, 0, 2])
        _write_probabilities(graph, network)
    for name in (OUTPUT,) if network.quantiles else (OUTPUT, LOGITS):
        graph.output(name, ["batch", "time", network.out])
    for state, (layers, width) in network.states.items():
        kind = TensorProto.DOUBLE if state in network.pool.states else TensorProto.FLOAT
        graph.output(state_out(state), [layers, "batch", width], kind=kind)
    for each in gates or ():
        name = graph.add("Transpose", [each.tensor], [gates_output(each)], perm=[1, 0, 2])
        graph.output(name, ["batch", "time", len(each.names) * each.units])
    return graph.build()


def gates_output(gates: Gates) -> str:
    """The name of the graph output that holds the gates of a layer."""
    return f"gates_of_layer_{gates.layer}" + ("" if gates.direction == "forward" else f"_{gates.direction}")


def _write_probabilities(graph: Graph, network: Network) -> None:
    """Write the softmax of the logits, or of labels 1 / (1 + exp(-logit)).

    ONNX Runtime's `Sigmoid` is off by up to 1.6e-7, which is much of the probability of a rare label.
    """
    if network.thresholds is None:
        graph.add("Softmax", [LOGITS], [OUTPUT], axis=-1)
        return
    one = graph.weight("one", np.array(1, np.float32))
    closing = graph.add("Exp", [graph.add("Neg", [LOGITS], ["minus_logits"])], ["closing"])
    graph.add("Div", [one, graph.add("Add", [closing, one], ["odds_of_false"])], [OUTPUT])


def _write_decoder(graph: Graph, network: Network, hidden: str, ahead: list[str]) -> str:
    """Write what the head reads: see `training.model.Decoder`."""
    layer = network.decoder.context
    if layer is None:
        return hidden
    weight, bias = (parameter.detach().cpu().numpy() for parameter in (layer.weight, layer.bias))
    joined = graph.add("Concat", [hidden, *ahead], ["hidden_and_ahead"], axis=-1)
    stored = graph.weight("context_weight", np.ascontiguousarray(weight.T))
    product = graph.add("MatMul", [joined, stored], ["context_product"])
    sums = graph.add("Add", [product, graph.weight("context_bias", bias)], ["context_sums"])
    context = graph.add("Relu", [sums], ["context"])
    return graph.add("Concat", [hidden, context], ["hidden_and_context"], axis=-1)


def network_output(network: Network) -> str:
    """The name of the graph output that equals the PyTorch network's output: logits, or quantiles."""
    return OUTPUT if network.quantiles else LOGITS


def feeds(network: Network, x: Floats) -> dict[str, NDArray[Any]]:
    """The graph's inputs for sequences [batch, time, columns], by the graph's names.

    Those of a sequence as a whole, which are the same at all steps, are [batch, columns], or ids [batch].
    """
    return {
        input_.in_graph: _feed(input_, x[..., columns]) for input_, columns in network.input_layer.slices()
    }


def _feed(input_: Input, values: Floats) -> NDArray[Any]:
    if input_.per == "sequence":
        values = values[..., 0, :]
    if input_.kind == "token":
        return values[..., 0].astype(np.int64)
    return values.reshape(*values.shape[:-1], *input_.frame) if input_.kind == "video" else values
