"""The nodes before the cell: columns far from zero lose no digits that PyTorch keeps."""

import copy

import numpy as np
import onnxruntime as ort
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from training import cells
from training.batches import Batch
from training.cells.cell import state_out
from training.data.dataset import Sequence
from training.export import random_network
from training.export.network import feeds, write_graph
from training.model import Network

MEANS = np.array([101_325, 2_460_000, 5_000_000, 2020, -273.15, 0.1])  # Pa, Julian days, UTM, years, °C
SPREADS = np.array([800, 120, 3000, 8, 12, 1e-3])

Arrays = list[NDArray[np.floating]]


def far_network(cell: str, means: NDArray[np.float64], spreads: NDArray[np.float64]) -> tuple[Network, Batch]:
    """A network over columns of these means and spreads, and a batch of 12 sequences of 20 steps."""
    network, _ = random_network(cell=cell, features=len(means), hidden=16, layers=2, classes=4, seed=0)
    rng = np.random.default_rng(0)
    rows = (means + spreads * rng.standard_normal((12, 20, len(means)))).astype(np.float32)
    network.learn_normalisation(tuple(rows))
    return network.eval(), Batch(torch.from_numpy(rows), torch.full((12,), 20), torch.zeros(12))


def served(network: Network, batch: Batch) -> Arrays:
    session = ort.InferenceSession(
        write_graph(network).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    zeros = zip(network.states, network.initial_state(len(batch.x)), strict=True)
    inputs = {**feeds(network, batch.x.numpy()), "lengths": batch.lengths.numpy().astype(np.int32)}
    names = ["logits", *map(state_out, network.states)]
    outputs: Arrays = session.run(names, inputs | {name: state.numpy() for name, state in zeros})
    return outputs


@torch.inference_mode()
def computed(network: Network, batch: Batch, dtype: torch.dtype) -> Arrays:
    exact = copy.deepcopy(network).to(dtype)
    y, state = exact(batch.x.to(dtype), batch.lengths, exact.initial_state(len(batch.x)))
    return [y.numpy(), *(part.numpy() for part in state)]


def root_mean_square_errors(network: Network, batch: Batch) -> list[tuple[float, float]]:
    """Of each tensor: the graph's error and PyTorch's own in float32, both against float64."""
    truth = computed(network, batch, torch.float64)
    pairs = zip(served(network, batch), computed(network, batch, torch.float32), truth, strict=True)
    return [
        (float(np.sqrt(np.mean((graph - exact) ** 2))), float(np.sqrt(np.mean((own - exact) ** 2))))
        for graph, own, exact in pairs
    ]


@pytest.mark.parametrize("cell", cells.names())
def test_columns_far_from_zero_are_served_as_exactly_as_pytorch_computes_them(cell: str) -> None:
    """The mean was once folded into a bias, which cancelled W x: answers were off by up to 9e-3."""
    for graph, own in root_mean_square_errors(*far_network(cell, MEANS, SPREADS)):
        assert graph <= 2 * own


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.floats(-1e7, 1e7), st.floats(-4, 6)), min_size=1, max_size=4))
def test_columns_of_any_mean_and_spread_lose_no_digits(columns: list[tuple[float, float]]) -> None:
    means, powers = np.array(columns).T
    for graph, own in root_mean_square_errors(*far_network("lstm", means, 10.0**powers)):
        assert graph <= 4 * own + 1e-7


def test_a_constant_column_far_from_zero_stays_harmless() -> None:
    """The float64 mean of equal numbers can differ from them by a bit: a spread of 1e-17, a scale of 1e17."""
    rows: Sequence = np.full((1000, 2), [0.1, 101_325.3], np.float32)
    network, _ = random_network(cell="lstm", features=2, hidden=4, layers=1, classes=2, seed=0)
    network.learn_normalisation((rows[:7], rows[7:]))
    assert network.input_layer.scale.tolist() == [1, 1]
