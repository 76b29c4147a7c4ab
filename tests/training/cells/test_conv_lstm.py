"""The convolutional LSTM reads frames: its equations, its graph, and the inputs that it refuses."""

import numpy as np
import pytest
import torch

from tests.training.cells.test_cells import parameters_of
from tests.training.newer_references import conv_lstm
from tests.training.synthetic import encoded_data
from training import cells
from training.cells.cell import CellError
from training.data.dataset import DataSet, Input, Split
from training.export import export
from training.export.network import write_graph
from training.export.parity import check
from training.model import Network

FRAME, MAPS = (4, 5), 3
FILM = Input("film", kind="video", frame=FRAME)


@pytest.mark.parametrize("layers", [1, 2])
def test_a_frame_is_convolved_as_in_the_equations(layers: int) -> None:
    torch.manual_seed(0)
    layout = cells.Layout(frame=FRAME)
    cell = cells.build("conv_lstm", features=20, hidden=MAPS, layers=layers, layout=layout).double()
    x = np.random.default_rng(0).standard_normal((6, 20))
    with torch.inference_mode():
        y, end = cell(torch.from_numpy(x)[None], torch.tensor([6]), cell.initial_state(1))
    expected = x
    for layer in range(layers):
        zeros = np.zeros(cell.width)
        expected, last = conv_lstm(parameters_of(cell, layer), expected, (zeros, zeros), FRAME)
        for ours, theirs in zip(end, last, strict=True):
            np.testing.assert_allclose(ours[layer, 0], theirs, rtol=0, atol=1e-12)
    np.testing.assert_allclose(y[0], expected, rtol=0, atol=1e-12)


def network_of_film() -> tuple[Network, DataSet]:
    rng = np.random.default_rng(0)
    sequences = tuple(rng.random((int(n), 20)).astype(np.float32) for n in rng.integers(1, 9, 8))
    split = Split(sequences, rng.integers(0, 2, 8))
    data = DataSet(
        name="film", title="synthetic", citation="", license="", inputs=(FILM,), labels=("a", "b"),
        train=split, test=split,
    )  # fmt: skip
    torch.manual_seed(0)
    network = Network(cell="conv_lstm", features=data.inputs, hidden=MAPS, layers=2, out=2)
    network.learn_normalisation(sequences)
    return network.eval(), data


def test_frames_are_not_encoded_and_the_graph_agrees_with_torch(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    network, data = network_of_film()
    assert network.input_layer.width == 20
    assert network.states == {"h": (2, MAPS * 20), "c": (2, MAPS * 20)}
    check(write_graph(network).SerializeToString(), network, data.test)  # raises where they differ
    folder = tmp_path_factory.mktemp("models") / "1"
    manifest = export(network, data, folder, metrics={}, command="", seed=0)
    [film] = manifest.inputs
    assert (film.kind, film.dims) == ("video", FRAME)


def test_frames_beside_other_inputs_are_refused() -> None:
    with pytest.raises(CellError, match="reads one input of frames alone, not 3 inputs"):
        Network(cell="conv_lstm", features=encoded_data().inputs, hidden=2, layers=1, out=2)
