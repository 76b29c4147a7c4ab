"""What single cells of those that train all steps at once must keep."""

import numpy as np
import onnxruntime as ort
import pytest
import torch

from training import cells
from training.cells.indrnn import IndRNNLayer
from training.cells.parallel import Parallel
from training.export import random_network
from training.export.network import write_graph
from training.export.parity import check
from training.model import Network


def network_of(cell: str) -> tuple[Network, IndRNNLayer]:
    network, _ = random_network(cell=cell, features=3, hidden=5, layers=1, classes=2, seed=0)
    assert isinstance(network.cell, Parallel)
    layer = network.cell.layer_at(0)
    assert isinstance(layer, IndRNNLayer)
    return network, layer


@pytest.mark.parametrize("scale", [30, 1000])
def test_gates_of_min_lstm_stay_finite_where_both_sigmoids_underflow(scale: float) -> None:
    """0 / 0 in the equations as printed."""
    network, data = random_network(cell="min_lstm", features=3, hidden=5, layers=1, classes=2, seed=0)
    with torch.no_grad():
        for name in ("weight", "bias"):
            network.cell.get_parameter(f"stack.0.from_x.{name}")[:10].mul_(scale)
        network.cell.get_parameter("stack.0.from_x.bias")[:10] -= 4 * scale
    inside, _ = network.cell.trace(0, torch.from_numpy(data.test.sequences[0]), (torch.zeros(1, 5),))
    torch.testing.assert_close(
        inside["forget_gate"] + inside["in_gate"], torch.ones(()).expand_as(inside["h"])
    )
    assert 0 < float(inside["forget_gate"].detach().mean()) < 1
    check(write_graph(network.eval()).SerializeToString(), network, data.test)  # raises where they differ


def test_the_own_weight_of_indrnn_is_clipped_in_training_and_in_the_graph() -> None:
    """Above 1 the state of an endless session would overflow."""
    network, layer = network_of("indrnn")
    with torch.no_grad():
        layer.from_own.copy_(torch.tensor([-3.0, -1.0, 0.5, 1.0, 2.0]))
    graph = write_graph(network.eval()).graph
    [body] = [node.attribute[0].g for node in graph.node if node.op_type == "Scan"]
    [own] = [weight for weight in body.initializer if weight.name == "own"]
    assert np.frombuffer(own.raw_data, np.float32).tolist() == [-1, -1, 0.5, 1, 1]
    cell = network.cell.train()
    y, _ = cell(torch.ones(1, 50, 3), torch.tensor([50]), cell.initial_state(1))
    y.sum().backward()
    assert layer.from_own.tolist() == [-1, -1, 0.5, 1, 1]
    assert layer.from_own.grad is not None


@pytest.mark.parametrize(("features", "layers", "width"), [(3, 1, 3), (3, 2, 8), (12, 2, 12)])
def test_the_last_input_of_qrnn_is_as_wide_as_the_widest_layer(
    features: int, layers: int, width: int
) -> None:
    cell = cells.build("qrnn", features=features, hidden=8, layers=layers)
    assert cell.state_width("previous_x") == width
    x = torch.ones(1, 2, features)
    _, (_, last) = cell(x, torch.tensor([2]), cell.initial_state(1))
    assert last[0, 0].tolist() == [1] * features + [0] * (width - features)


@pytest.mark.parametrize("cell", ["indrnn", "min_gru", "min_lstm", "qrnn", "sru"])
@pytest.mark.parametrize("padding", [np.nan, np.inf, 3e38])
def test_a_row_of_a_graph_may_run_on_past_its_length(cell: str, padding: float) -> None:
    """Its state is gathered at the length, and reaches neither another row nor the layer above."""
    network, _ = random_network(cell=cell, features=3, hidden=5, layers=2, classes=2, seed=0)
    session = ort.InferenceSession(write_graph(network.eval()).SerializeToString())
    x = np.random.default_rng(0).standard_normal((2, 6, 3)).astype(np.float32)
    states = {
        name: np.zeros((layers, 2, width), np.float32) for name, (layers, width) in network.states.items()
    }
    alone = session.run(None, {"x": x[:, :4], "lengths": np.array([4, 4], np.int32)} | states)
    x[0, 4:] = padding
    y, logits, *ends = session.run(None, {"x": x, "lengths": np.array([4, 6], np.int32)} | states)
    assert np.array_equal(y[0, :4], alone[0][0])
    assert np.array_equal(logits[0, :4], alone[1][0])
    assert all(np.array_equal(end[:, 0], own[:, 0]) for end, own in zip(ends, alone[2:], strict=True))
    assert all(np.isfinite(values[1]).all() for values in (y, logits))
