"""Pruning: which weights and units remain, and what the smaller network computes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.synthetic import data_of
from tests.training.test_inputs import network_for
from training.compress.prune import CompressError, apply, copy_units, largest_units, weights_masks
from training.export import random_network
from training.model import Network


def network_of(cell: str = "lstm", *, hidden: int = 10, layers: int = 1, seed: int = 0) -> Network:
    return random_network(cell=cell, features=3, hidden=hidden, layers=layers, classes=4, seed=seed)[0].eval()


@settings(max_examples=20)
@given(st.sampled_from(["lstm", "article", "skip"]), st.floats(0.05, 0.95))
def test_the_share_of_pruned_weights_is_of_all_matrices_together(cell: str, share: float) -> None:
    network = network_of(cell, layers=2)
    masks = weights_masks(network, share)
    total = sum(mask.numel() for mask in masks.values())
    pruned = sum(int((mask == 0).sum()) for mask in masks.values())
    assert pruned == round(share * total)
    assert all(network.get_parameter(name).ndim >= 2 for name in masks)
    assert "head.weight" in masks
    assert not any("bias" in name for name in masks)


def test_masks_do_not_change_the_network_until_they_are_applied() -> None:
    network = network_of()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    masks = weights_masks(network, 0.5)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    apply(network, masks)
    for name, mask in masks.items():
        torch.testing.assert_close(network.get_parameter(name), before[name] * mask)


def test_embeddings_and_encoders_are_not_pruned() -> None:
    network = network_for(data_of("forecast"))
    assert all(name.startswith(("cell.", "head.")) for name in weights_masks(network, 0.9))


@pytest.mark.parametrize(("share", "count"), [(0.0, 10), (0.25, 8), (0.5, 5), (0.9, 1)])
def test_the_number_of_remaining_units_is_rounded(share: float, count: int) -> None:
    [units] = largest_units(network_of(), share)
    assert len(units) == count
    assert units.tolist() == sorted(units.tolist())


def test_units_with_the_largest_outgoing_weights_remain() -> None:
    network = network_of(layers=2)
    with torch.no_grad():
        for name in ("cell.rnn.weight_hh_l0", "cell.rnn.weight_ih_l1"):
            network.get_parameter(name)[:, [2, 7]] *= 100
        for name in ("cell.rnn.weight_hh_l1", "head.weight"):
            network.get_parameter(name)[:, [0, 9]] *= 100
    assert [units.tolist() for units in largest_units(network, 0.8)] == [[2, 7], [0, 9]]


def test_removing_all_units_is_refused() -> None:
    with pytest.raises(CompressError, match="96% of 10 units leave none"):
        largest_units(network_of(), 0.96)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_gates_of_the_remaining_units_are_copied_block_by_block(cell: str) -> None:
    network, smaller = network_of(cell), network_of(cell, hidden=3, seed=1)
    copy_units(network, smaller, [torch.tensor([1, 4, 8])])
    gates = {"lstm": 4, "gru": 3, "rnn": 1}[cell]
    rows = torch.cat([gate * 10 + torch.tensor([1, 4, 8]) for gate in range(gates)])
    for name in ("weight_ih_l0", "bias_ih_l0", "bias_hh_l0"):
        expected = network.cell.get_parameter(f"rnn.{name}")[rows]
        assert torch.equal(smaller.cell.get_parameter(f"rnn.{name}"), expected)
    recurrent = network.cell.get_parameter("rnn.weight_hh_l0")[rows][:, [1, 4, 8]]
    assert torch.equal(smaller.cell.get_parameter("rnn.weight_hh_l0"), recurrent)
    assert torch.equal(smaller.head.weight, network.head.weight[:, [1, 4, 8]])
    assert torch.equal(smaller.head.bias, network.head.bias)


def test_everything_outside_the_cell_is_copied() -> None:
    data = data_of("forecast")
    network = network_for(data)
    torch.manual_seed(9)
    smaller = Network(
        cell="lstm",
        features=data.inputs,
        hidden=4,
        layers=2,
        out=data.out,
        embedding=5,
        forecast=data.forecast,
    )
    copy_units(network, smaller, largest_units(network, 2 / 3))
    weights = network.state_dict()
    for name, value in smaller.state_dict().items():
        if not name.startswith(("cell.", "head.")):
            torch.testing.assert_close(value, weights[name], msg=name)
