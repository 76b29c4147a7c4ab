"""The parity check: what it accepts, what it refuses, and how it describes a difference."""

import contextlib
from collections.abc import Callable

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from tests.training.synthetic import data_of
from tests.training.test_inputs import network_for
from training.data.dataset import DataSet, Task
from training.export import random_network
from training.export.network import write_graph
from training.export.parity import TOLERANCE, ParityError, check, describe
from training.model import Network

Change = Callable[[np.ndarray], np.ndarray]


def classifier(**size: int) -> tuple[Network, DataSet]:
    fields = {"features": 3, "hidden": 8, "layers": 1, "classes": 4, "seed": 0} | size
    return random_network(cell="lstm", **fields)


def changed(network: Network, name: str, change: Change) -> bytes:
    """The graph of a network with one weight changed."""
    model = write_graph(network.eval())
    [weight] = [tensor for tensor in model.graph.initializer if tensor.name == name]
    values = change(numpy_helper.to_array(weight).copy())
    weight.CopyFrom(numpy_helper.from_array(values.astype(np.float32), name))
    graph: bytes = model.SerializeToString()
    return graph


@pytest.mark.parametrize("size", [1, 7, 64])
def test_an_equal_graph_passes_with_small_differences(size: int) -> None:
    network, data = classifier()
    errors = check(write_graph(network.eval()).SerializeToString(), network, data.test, batch_size=size)
    assert list(errors) == ["logits", "h_out", "c_out"]
    assert max(errors.values()) <= TOLERANCE


@pytest.mark.parametrize(
    ("name", "tensors"),
    [("R_0", "logits by .*h_out by .*c_out by"), ("head_bias", "logits by"), ("head_weight", "logits by")],
)
def test_a_wrong_weight_is_refused_with_the_tensors_that_differ(name: str, tensors: str) -> None:
    network, data = classifier()
    graph = changed(network, name, lambda values: values + 0.01)
    with pytest.raises(ParityError, match=f"differ by more than 1e-05: {tensors}"):
        check(graph, network, data.test)


def test_a_nan_is_refused() -> None:
    network, data = classifier()
    graph = changed(network, "head_bias", lambda values: np.full_like(values, np.nan))
    with pytest.raises(ParityError, match="logits by nan"):
        check(graph, network, data.test)


@pytest.mark.parametrize(("size", "accepted"), [(0.0, False), (1.0, False), (100.0, True)])
def test_the_tolerance_of_logits_is_relative_above_one(size: float, accepted: bool) -> None:
    network, data = classifier()
    torch.nn.init.constant_(network.head.bias, size)
    graph = changed(network, "head_bias", lambda values: values + 3e-4)
    with contextlib.nullcontext() if accepted else pytest.raises(ParityError):
        check(graph, network, data.test)


@pytest.mark.parametrize(("reach", "accepted"), [(1.0, False), (1e4, True)])
def test_the_tolerance_of_a_forecast_is_relative_to_the_scale_of_its_series(
    reach: float, accepted: bool
) -> None:
    data = data_of("forecast")
    network = network_for(data)
    assert network.quantiles is not None
    network.quantiles.reach.fill_(reach)
    network.input_layer.shift[0] = 0
    graph = changed(network, "reach", lambda values: values + 5e-3)
    with contextlib.nullcontext() if accepted else pytest.raises(ParityError, match="y by"):
        check(graph, network, data.test)


@pytest.mark.parametrize("task", ["forecast", "language", "label"])
def test_the_padding_of_a_batch_is_not_compared(task: Task) -> None:
    """Sequences of different lengths in one batch: past its length a row of the graph is undefined."""
    data = data_of(task)
    network = network_for(data)
    graph = write_graph(network).SerializeToString()
    together = check(graph, network, data.test, batch_size=len(data.test))
    alone = check(graph, network, data.test, batch_size=1)
    assert together.keys() == alone.keys()
    assert max(together.values()) <= TOLERANCE >= max(alone.values())


def test_the_description_of_a_classifier_has_one_tolerance() -> None:
    network, _ = classifier()
    text = describe({"logits": 3e-7, "h_out": 1e-8}, network)
    assert text == (
        "PyTorch and ONNX Runtime differ by at most 3e-07 (tolerance 1e-05, relative to values above 1)"
    )


def test_the_description_of_a_forecast_has_the_tolerances_of_its_series() -> None:
    data = data_of("forecast")
    network = network_for(data)
    assert network.quantiles is not None
    network.input_layer.shift[0], network.input_layer.scale[0] = 0, 1
    network.quantiles.reach.copy_(torch.tensor([10.0, 10.0]))
    text = describe({"y": 0.002, "h_out": 1e-7, "c_out": 2e-7}, network)
    assert "0.002 in the forecast (tolerance 0.0003: 1e-05 of the scale" in text, "one for both horizons"
    network.quantiles.reach[1] = 100
    assert "(tolerance 0.0003 to 0.003:" in describe({"y": 0.002}, network)
    assert "2e-07 in the states" in text


def test_the_graph_is_checked_by_onnx() -> None:
    network, _ = classifier()
    onnx.checker.check_model(write_graph(network.eval()), full_check=True)
