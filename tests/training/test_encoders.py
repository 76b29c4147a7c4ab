"""Encoders of frames and wide inputs: the graph agrees with torch; cutting changes nothing."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.synthetic import data_of, encoded_data
from training.data.dataset import DataSet
from training.export import export
from training.export.network import write_graph
from training.export.parity import check
from training.model import Network


def network_for(data: DataSet, cell: str = "lstm", projection: int = 0) -> Network:
    torch.manual_seed(0)
    network = Network(
        cell=cell, features=data.inputs, hidden=12, layers=1, out=data.out, embedding=5,
        input_projection=projection, forecast=data.forecast,
    ).eval()  # fmt: skip
    network.learn_normalisation(data.train.sequences)
    return network


@pytest.mark.parametrize("cell", ["lstm", "gru", "layer_norm"])
def test_a_graph_with_encoders_agrees_with_torch(cell: str) -> None:
    data = encoded_data()
    network = network_for(data, cell)
    assert network.input_layer.width == 6 + 4 + 3
    check(write_graph(network).SerializeToString(), network, data.test)  # raises where they differ


def test_the_recipe_projects_every_numeric_input_without_its_own_projection() -> None:
    data = data_of("forecast")  # numbers with gaps, tokens, numbers
    network = network_for(data, projection=3)
    assert network.input_layer.width == 3 + 5 + 3
    check(write_graph(network).SerializeToString(), network, data.test)  # raises where they differ


def test_padding_and_a_cut_change_nothing() -> None:
    data = encoded_data()
    network = network_for(data)
    x = torch.from_numpy(np.concatenate(data.test.sequences)[:9])[None]
    padded = torch.cat([x, torch.full_like(x, 7)], dim=1)
    whole, state = network(x, torch.tensor([9]), network.initial_state(1))
    with_padding, same = network(padded, torch.tensor([9]), network.initial_state(1))
    torch.testing.assert_close(with_padding[:, :9], whole)
    torch.testing.assert_close(same, state)
    first, between = network(x[:, :4], torch.tensor([4]), network.initial_state(1))
    second, after = network(x[:, 4:], torch.tensor([5]), between)
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole)
    torch.testing.assert_close(after, state)


def test_the_manifest_describes_frames(tmp_path: Path) -> None:
    data = encoded_data()
    manifest = export(network_for(data), data, tmp_path / "film" / "1", metrics={}, command="", seed=0)
    frames, wide, holes = manifest.inputs
    assert (frames.kind, frames.dims) == ("video", (7, 5))
    assert (wide.dims, holes.missing) == ((40,), "nan")
    assert manifest.example is not None and isinstance(manifest.example.steps, dict)
    assert np.array(manifest.example.steps["frames"][0]).shape == (7, 5)
