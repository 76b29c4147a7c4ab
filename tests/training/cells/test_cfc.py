"""The cell of irregular steps reads the time since the previous one, in every layer and in the graph."""

import numpy as np
import pytest
import torch

from tests.training.cells.test_cells import parameters_of
from tests.training.newer_references import cfc
from tests.training.synthetic import data_of
from training import cells
from training.cells.cell import CellError
from training.data.dataset import DataSet, Input, Split
from training.export.network import write_graph
from training.export.parity import check
from training.model import Network

FEATURES, HIDDEN, ELAPSED = 3, 8, 1
IRREGULAR = Input("visits", features=("a", "days_since", "b"), elapsed=ELAPSED)


@pytest.mark.parametrize("layers", [1, 3])
def test_every_layer_computes_its_equations_with_the_time(layers: int) -> None:
    torch.manual_seed(0)
    cell = cells.build(
        "cfc", features=FEATURES, hidden=HIDDEN, layers=layers, layout=cells.Layout(elapsed=ELAPSED)
    ).double()
    x = np.random.default_rng(0).standard_normal((7, FEATURES))
    with torch.inference_mode():
        y, end = cell(torch.from_numpy(x)[None], torch.tensor([7]), cell.initial_state(1))
    expected, time = x, x[:, ELAPSED]
    for layer in range(layers):
        read = np.hstack([expected, time[:, None]]) if layer else x
        expected, [last] = cfc(parameters_of(cell, layer), read, (np.zeros(HIDDEN),), time)
        np.testing.assert_allclose(end[0][layer, 0], last, rtol=0, atol=1e-12)
    np.testing.assert_allclose(y[0], expected, rtol=0, atol=1e-12)


def network_of(input_: Input, *, layers: int = 2, projection: int = 0) -> tuple[Network, DataSet]:
    rng = np.random.default_rng(0)
    sequences = tuple(rng.gamma(2, 30, (int(n), 3)).astype(np.float32) for n in rng.integers(1, 12, 9))
    split = Split(sequences, rng.integers(0, 2, 9))
    data = DataSet(
        name="irregular", title="synthetic", citation="", license="", inputs=(input_,), labels=("a", "b"),
        train=split, test=split,
    )  # fmt: skip
    torch.manual_seed(0)
    network = Network(
        cell="cfc", features=(input_,), hidden=12, layers=layers, out=2, input_projection=projection
    )
    network.learn_normalisation(sequences)
    return network.eval(), data


@pytest.mark.parametrize("layers", [1, 2])
def test_a_graph_with_the_time_agrees_with_torch(layers: int) -> None:
    network, data = network_of(IRREGULAR, layers=layers)
    assert network.cell.layout.elapsed == ELAPSED
    check(write_graph(network).SerializeToString(), network, data.test)  # raises where they differ


def test_the_time_is_found_behind_the_flags_of_other_inputs() -> None:
    inputs = (*data_of("forecast").inputs, IRREGULAR)
    network = Network(cell="cfc", features=inputs, hidden=4, layers=1, out=2)
    assert network.cell.layout.elapsed == network.input_layer.width - 3 + ELAPSED


def test_a_projection_that_hides_the_time_is_refused() -> None:
    with pytest.raises(CellError, match="a projection hides 'days_since', the time that this cell reads"):
        network_of(IRREGULAR, projection=2)
    Network(cell="lstm", features=(IRREGULAR,), hidden=4, layers=1, out=2, input_projection=2)


def test_without_a_time_all_steps_are_one_apart() -> None:
    network, _ = network_of(Input(features=("a", "b", "c")))
    assert network.cell.layout.elapsed is None
