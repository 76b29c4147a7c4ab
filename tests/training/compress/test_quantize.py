"""Fewer bits: which tensors are converted, in the graph and inside the body of a Scan."""

import logging

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, numpy_helper

from training.compress.prune import CompressError
from training.compress.quantize import FEW, Bits, quantized
from training.export import random_network
from training.export.network import write_graph


def graph_of(cell: str = "lstm", *, hidden: int = 48) -> bytes:
    network, _ = random_network(cell=cell, features=3, hidden=hidden, layers=1, classes=4, seed=0)
    graph: bytes = write_graph(network.eval()).SerializeToString()
    return graph


def tensors_of(graph: bytes) -> list[onnx.TensorProto]:
    """All weights, also those inside bodies."""
    graphs = [onnx.load_from_string(graph).graph]
    for one in graphs:
        graphs += [
            attribute.g for node in one.node for attribute in node.attribute if attribute.name == "body"
        ]
    return [tensor for one in graphs for tensor in one.initializer]


def types_of(graph: bytes) -> set[int]:
    return {tensor.data_type for tensor in tensors_of(graph)}


def test_without_quantization_the_graph_is_the_same() -> None:
    graph = graph_of()
    assert quantized(graph, "none") is graph


@pytest.mark.parametrize("cell", ["lstm", "article"])
def test_large_matrices_become_float16_and_nothing_else(cell: str) -> None:
    for tensor in tensors_of(quantized(graph_of(cell), "fp16")):
        values = numpy_helper.to_array(tensor)
        if tensor.data_type == TensorProto.FLOAT16:
            assert values.size >= FEW
            assert tensor.name.endswith("_fp16")
        else:
            assert tensor.data_type == TensorProto.INT64 or values.size < FEW or values.ndim == 1


def test_means_and_scales_keep_their_digits() -> None:
    """Of 20 years or pressures: float16 has 2016 and 2018, but not 2017.5."""
    network, _ = random_network(cell="lstm", features=20, hidden=48, layers=1, classes=4, seed=0)
    network.input_layer.shift.fill_(2017.3)
    network.input_layer.scale.fill_(1e-9)
    small = quantized(write_graph(network.eval()).SerializeToString(), "fp16")
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in tensors_of(small)}
    assert (stored["x_mean"] == np.float32(2017.3)).all()
    assert (stored["x_scale"] == np.float32(1e-9)).all()


@pytest.mark.parametrize(("bits", "most"), [("fp16", 2e-3), ("int8", 0.1)])
def test_columns_of_unequal_means_and_spreads_survive(bits: Bits, most: float) -> None:
    """With the scales in the weights, those of a column in metres were zeros beside those of a share."""
    network, _ = random_network(cell="lstm", features=8, hidden=48, layers=1, classes=4, seed=0)
    means, spreads = [101_325, 5e6, 2020, 0] * 2, [800, 3000, 8, 1e-3] * 2
    x = np.random.default_rng(0).normal(means, spreads, (6, 20, 8)).astype(np.float32)
    network.learn_normalisation(tuple(x))
    network.head.weight.data.mul_(20)
    graph = write_graph(network.eval()).SerializeToString()
    zeros = np.zeros((1, 6, 48), np.float32)
    feeds = {"x": x, "lengths": np.full(6, 20, np.int32), "h": zeros, "c": zeros}
    [whole], [small] = (
        ort.InferenceSession(one, providers=["CPUExecutionProvider"]).run(["y"], feeds)
        for one in (graph, quantized(graph, bits))
    )
    assert np.abs(whole - small).max() < most


def test_a_tensor_beyond_float16_is_not_converted() -> None:
    network, _ = random_network(cell="lstm", features=3, hidden=48, layers=1, classes=4, seed=0)
    network.head.weight.data[0, 0] = 1e6
    small = quantized(write_graph(network.eval()).SerializeToString(), "fp16")
    names = {tensor.name: tensor.data_type for tensor in tensors_of(small)}
    assert names["head_weight"] == TensorProto.FLOAT
    assert TensorProto.FLOAT16 in types_of(small)


@pytest.mark.parametrize("cell", ["lstm", "article"])
def test_eight_bit_weights_are_also_in_bodies(cell: str) -> None:
    small = quantized(graph_of(cell), "int8")
    assert TensorProto.INT8 in types_of(small)
    largest = max(
        (tensor for tensor in tensors_of(small) if tensor.data_type == TensorProto.FLOAT),
        key=lambda tensor: numpy_helper.to_array(tensor).size,
    )
    assert numpy_helper.to_array(largest).size <= 4 * 48 * 2, "matrices are converted, biases are not"


@pytest.mark.parametrize("bits", ["fp16", "int8"])
def test_a_quantized_graph_has_the_same_inputs_and_outputs(bits: str) -> None:
    graph = graph_of("article")
    whole, small = (
        ort.InferenceSession(one, providers=["CPUExecutionProvider"])
        for one in (graph, quantized(graph, bits))  # type: ignore[arg-type]
    )
    for one, other in ((whole.get_inputs(), small.get_inputs()), (whole.get_outputs(), small.get_outputs())):
        assert [(node.name, node.type) for node in one] == [(node.name, node.type) for node in other]


def test_a_graph_that_would_grow_is_refused() -> None:
    graph = graph_of("gru", hidden=2)
    with pytest.raises(CompressError, match=r"--quantize fp16: model\.onnx has .* is mostly nodes"):
        quantized(graph, "fp16")


def test_the_level_of_the_root_logger_is_restored() -> None:
    logging.disable(logging.DEBUG)
    try:
        quantized(graph_of(), "int8")
        assert logging.root.manager.disable == logging.DEBUG
    finally:
        logging.disable(logging.NOTSET)


def test_rounding_to_float16_is_the_only_change() -> None:
    graph = graph_of()
    halves = {tensor.name: numpy_helper.to_array(tensor) for tensor in tensors_of(quantized(graph, "fp16"))}
    for tensor in tensors_of(graph):
        if f"{tensor.name}_fp16" in halves:
            expected = numpy_helper.to_array(tensor).astype(np.float16)
            np.testing.assert_array_equal(halves[f"{tensor.name}_fp16"], expected)
