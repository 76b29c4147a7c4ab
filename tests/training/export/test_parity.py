"""The parity check: what float32 explains is accepted, damage to a graph is refused, both are stated."""

from collections.abc import Callable, Iterator

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from service.manifest import ParityCheck
from tests.training.synthetic import data_of
from tests.training.test_inputs import network_for
from training import cells
from training.data.dataset import DataSet, Split, Task
from training.export import random_network
from training.export.network import write_graph
from training.export.parity import FACTORS, QUANTILE, RESOLUTION, ParityError, check, describe
from training.model import Network

Change = Callable[[np.ndarray], np.ndarray]


def classifier(cell: str = "lstm", **size: int) -> tuple[Network, DataSet]:
    fields = {"features": 3, "hidden": 8, "layers": 1, "classes": 4, "seed": 0} | size
    network, data = random_network(cell=cell, **fields)  # type: ignore[arg-type]
    return network.eval(), data


def graph_of(network: Network) -> bytes:
    graph: bytes = write_graph(network).SerializeToString()
    return graph


def graphs_in(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """A graph and the bodies inside it."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from graphs_in(attribute.g)


def changed(network: Network, name: str, change: Change) -> bytes:
    """The graph of a network with one weight changed."""
    model = write_graph(network)
    tensors = (tensor for graph in graphs_in(model.graph) for tensor in graph.initializer)
    [weight] = [tensor for tensor in tensors if tensor.name == name]
    values = change(numpy_helper.to_array(weight).copy())
    weight.CopyFrom(numpy_helper.from_array(values.astype(np.float32), name))
    graph: bytes = model.SerializeToString()
    return graph


def sequences(lengths: list[int], *, features: int = 3, seed: int = 0) -> Split:
    rng = np.random.default_rng(seed)
    steps = tuple(rng.standard_normal((length, features)).astype(np.float32) for length in lengths)
    return Split(steps, np.zeros(len(lengths), np.int64))


@pytest.mark.parametrize("size", [1, 7, 64])
def test_an_equal_graph_passes_with_small_differences(size: int) -> None:
    network, data = classifier()
    result = check(graph_of(network), network, data.test, batch_size=size)
    assert list(result.differences) == ["logits", "h_out", "c_out"]
    assert max(result.differences.values()) < 1e-6
    assert result.check.slack == 1
    assert result.check.quantile == QUANTILE
    for name, limit in result.check.limits.items():
        own = result.check.pytorch[name]
        assert limit == tuple(
            factor * max(error, RESOLUTION) for factor, error in zip(FACTORS, own, strict=True)
        )


# layers, a factor of the cell's weights, one of the head's, lengths of the sequences
STEEP: dict[str, tuple[int, float, float, list[int]]] = {
    "deep, large outputs": (5, 1.0, 1e6, [9, 3]),
    "small outputs": (1, 1.0, 1e-6, [9, 20]),
    "long, saturated gates": (1, 4.0, 1.0, [150]),
    "a single step": (1, 1.0, 1.0, [1]),
}


@pytest.mark.parametrize(
    ("cell", "kind"),
    [
        *((cell, "deep, large outputs") for cell in cells.names()),
        *((cell, kind) for cell in ("lstm", "article", "slstm") for kind in list(STEEP)[1:]),
    ],
)
def test_a_correct_graph_is_exported_however_much_float32_rounds(cell: str, kind: str) -> None:
    """The bound was once 1e-5 of any value below 1, which refused deep stacks and long sequences."""
    layers, weights, outputs, lengths = STEEP[kind]
    network, _ = classifier(cell, layers=layers)
    with torch.no_grad():
        for parameter in network.cell.parameters():
            parameter.mul_(weights)
        network.head.weight.mul_(outputs)
    result = check(graph_of(network), network, sequences(lengths))
    assert all(np.isfinite(result.check.graph["logits"]))


def test_a_state_that_counts_far_is_compared_by_its_own_scale() -> None:
    """Forget gates of 1: c of one unit is a sum of all steps, beside others below 1."""
    network, _ = classifier()
    with torch.no_grad():
        bias = network.cell.get_parameter("rnn.bias_ih_l0")
        bias[[0, 8, 24]], bias[16] = 30.0, 10.0  # in, forget and out gate open, in_transform 1
    split = sequences([800])
    assert check(graph_of(network), network, split).differences["c_out"] < 1
    with pytest.raises(ParityError, match="c_out by"):
        check(changed(network, "B_0", lambda b: b + 1e-3), network, split)


# Damage to a graph: the name of a weight, and what happens to it.
DAMAGE: dict[str, tuple[str, Change]] = {
    "transposed": ("R_0", lambda r: r.reshape(4, 8, 8).transpose(0, 2, 1).reshape(1, 32, 8)),
    "gates shifted": ("R_0", lambda r: np.roll(r, 8, axis=1)),
    "gates swapped": ("W_0", lambda w: w[:, [*range(8, 16), *range(8), *range(16, 32)]]),
    "bias shifted": ("B_0", lambda b: np.roll(b, 8, axis=1)),
    "bias of R lost": ("B_0", lambda b: np.concatenate([b[:, :32], 0 * b[:, 32:]], axis=1)),
    "units shifted by one": ("R_0", lambda r: np.roll(r, 1, axis=2)),
    "a sign": ("R_0", lambda r: np.where(np.arange(8) == 3, -r, r)),
    "one weight": ("W_0", lambda w: w + 1e-3 * (np.arange(96).reshape(w.shape) == 17)),
    "columns shifted": ("W_0", lambda w: np.roll(w, 1, axis=2)),
    "mean": ("x_mean", lambda mean: mean + 1e-3),
    "scale inverted": ("x_scale", lambda scale: 1 / scale),
    "classes reversed": ("head_weight", lambda w: w[:, ::-1]),
    "one class": ("head_weight", lambda w: w * (1 + 1e-4 * (np.arange(4) == 2))),
    "float16": ("R_0", lambda r: r.astype(np.float16)),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize(("layers", "outputs", "length"), [(1, 1.0, 30), (3, 1e5, 60)])
def test_a_damaged_weight_is_refused(damage: str, layers: int, outputs: float, length: int) -> None:
    network, _ = classifier(layers=layers)
    split = sequences([length, length // 2, 5])
    network.learn_normalisation(tuple(3 * steps + 7 for steps in split.sequences))
    network.head.weight.data.mul_(outputs)
    name, change = DAMAGE[damage]
    check(graph_of(network), network, split)
    with pytest.raises(ParityError, match="differ by more than float32 explains"):
        check(changed(network, name, change), network, split)


def damaged_node(model: onnx.ModelProto, op: str, change: Callable[[onnx.NodeProto], None]) -> bytes:
    node = next(node for graph in graphs_in(model.graph) for node in graph.node if node.op_type == op)
    change(node)
    graph: bytes = model.SerializeToString()
    return graph


def swap_inputs(one: int, other: int) -> Callable[[onnx.NodeProto], None]:
    def swap(node: onnx.NodeProto) -> None:
        node.input[one], node.input[other] = node.input[other], node.input[one]

    return swap


def attribute(**values: object) -> Callable[[onnx.NodeProto], None]:
    def change(node: onnx.NodeProto) -> None:
        kept = [each for each in node.attribute if each.name not in values]
        del node.attribute[:]
        node.attribute.extend([*kept, *(onnx.helper.make_attribute(*pair) for pair in values.items())])

    return change


@pytest.mark.parametrize(
    ("cell", "op", "change"),
    [
        ("lstm", "LSTM", attribute(direction="reverse")),
        ("lstm", "LSTM", attribute(clip=0.5)),
        ("lstm", "Softmax", attribute(axis=0)),
        ("gru", "GRU", attribute(linear_before_reset=0)),
        ("lstm", "Sub", swap_inputs(0, 1)),
        ("bidirectional", "Concat", swap_inputs(0, 1)),
        ("layer_norm", "LayerNormalization", attribute(epsilon=1e-2)),
        ("projected", "Gemm", attribute(alpha=0.999)),
        ("residual", "Sigmoid", lambda node: setattr(node, "op_type", "HardSigmoid")),
        ("rnn", "Tanh", lambda node: setattr(node, "op_type", "Softsign")),
        ("skip", "Add", lambda node: setattr(node, "op_type", "Sub")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_damaged_node_is_refused(cell: str, op: str, change: Callable[[onnx.NodeProto], None]) -> None:
    network, data = classifier(cell, layers=2)
    network.learn_normalisation(tuple(3 * steps + 7 for steps in data.test.sequences))
    check(graph_of(network), network, data.test)
    try:
        graph = damaged_node(write_graph(network), op, change)
        check(graph, network, data.test)
    except (ParityError, RuntimeError) as error:  # or ONNX Runtime refuses it
        assert "float32" in str(error) or "ONNXRuntimeError" in str(error)
    else:
        pytest.fail("the damage passed")


def test_swapped_states_are_refused() -> None:
    network, data = classifier()
    model = write_graph(network)
    [node] = [node for node in model.graph.node if node.op_type == "LSTM"]
    node.output[1], node.output[2] = node.output[2], node.output[1]
    with pytest.raises(ParityError, match=r"h_out by .*c_out by"):
        check(model.SerializeToString(), network, data.test)


def test_the_message_names_the_tensors_that_differ_and_what_float32_explains() -> None:
    network, data = classifier()
    graph = changed(network, "head_bias", lambda bias: bias + 0.01)
    with pytest.raises(ParityError, match=r"logits by 0\.01.*PyTorch's own error") as refused:
        check(graph, network, data.test)
    assert "h_out" not in str(refused.value)


def test_a_nan_is_refused() -> None:
    network, data = classifier()
    graph = changed(network, "head_bias", lambda values: np.full_like(values, np.nan))
    with pytest.raises(ParityError, match="logits by nan"):
        check(graph, network, data.test)


def test_an_infinity_is_refused_although_pytorch_overflows_too() -> None:
    network, data = classifier()
    with torch.no_grad():
        network.head.weight.fill_(3e38)
        network.head.bias.fill_(3e38)
    with pytest.raises(ParityError, match="logits by"):
        check(graph_of(network), network, data.test)


def test_slack_accepts_a_larger_difference_and_is_recorded() -> None:
    network, data = classifier()
    graph = changed(network, "head_bias", lambda bias: bias + 1e-5)
    with pytest.raises(ParityError):
        check(graph, network, data.test)
    result = check(graph, network, data.test, slack=100).check
    assert result.slack == 100
    assert result.limits["logits"][0] == 100 * FACTORS[0] * max(result.pytorch["logits"][0], RESOLUTION)
    assert "100 times the usual one (--parity)" in describe(result)


@pytest.mark.parametrize("reach", [1e-4, 1.0, 1e5])
def test_each_number_of_a_forecast_is_compared_by_its_own_scale(reach: float) -> None:
    data = data_of("forecast")
    network = network_for(data)
    assert network.quantiles is not None
    network.quantiles.reach.copy_(torch.tensor([reach, 1.0]))  # of two horizons
    check(graph_of(network), network, data.test)
    with pytest.raises(ParityError, match="y by"):
        check(changed(network, "reach", lambda values: values * (1 + 1e-4)), network, data.test)


@pytest.mark.parametrize("task", ["forecast", "language", "label"])
def test_the_padding_of_a_batch_is_not_compared(task: Task) -> None:
    """Sequences of different lengths in one batch: past its length a row of the graph is undefined."""
    data = data_of(task)
    network = network_for(data)
    together = check(graph_of(network), network, data.test, batch_size=len(data.test))
    alone = check(graph_of(network), network, data.test, batch_size=1)
    assert together.differences.keys() == alone.differences.keys()


def test_the_description_names_the_tensor_that_is_nearest_to_its_limit() -> None:
    report = ParityCheck(
        quantile=QUANTILE,
        graph={"logits": (1e-7, 3e-7), "h_out": (1e-7, 9e-7)},
        pytorch={"logits": (1e-7, 2e-7), "h_out": (1e-7, 5e-7)},
        limits={"logits": (5e-7, 3e-6), "h_out": (5e-7, 8e-6)},
    )
    assert describe(report) == (
        "ONNX Runtime differs from float64 by at most 3e-07 of the scale of logits, "
        "PyTorch in float32 by 2e-07 (limit 3e-06)"
    )
