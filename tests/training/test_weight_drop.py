"""Recurrent weights are dropped in the pass of a batch alone, with their gradients."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.training.synthetic import data_of
from training import cells
from training.config import Config, Recipe
from training.loop import fit, new_network
from training.weight_drop import RECURRENT, WeightDrop, WeightDropError

SHARE = 0.4
WITHOUT = {"gated_delta", "gla", "indrnn", "min_gru", "min_lstm", "mlstm", "qrnn", "sru"}


def drop_of(cell: Any, epoch: int = 0, batch: int = 0) -> WeightDrop:
    """The weights are dropped as before the pass of this batch."""
    drop = WeightDrop(cell, SHARE, seed=3)
    trainer: Any = SimpleNamespace(current_epoch=epoch)
    drop.on_train_batch_start(trainer, None, None, batch)
    return drop


def recurrent(cell: Any) -> dict[str, Tensor]:
    return {name: weight for name, weight in cell.named_parameters() if RECURRENT.search(name)}


@pytest.mark.parametrize("name", ["lstm", "bidirectional", "gru", "layer_norm", "projected", "slstm"])
def test_a_share_of_the_recurrent_weights_is_zero_in_the_pass_and_back_after_it(name: str) -> None:
    cell = cells.build(name, features=3, hidden=16, layers=2)
    before = {key: weight.detach().clone() for key, weight in cell.named_parameters()}
    drop = drop_of(cell)
    masks = {}
    for key, weight in cell.named_parameters():
        if key not in recurrent(cell):
            assert torch.equal(weight, before[key])
            continue
        masks[key] = weight.detach() == 0
        assert 0.25 < masks[key].float().mean() < 0.55
        torch.testing.assert_close(weight[~masks[key]], before[key][~masks[key]] / (1 - SHARE))
    y, _ = cell(torch.randn(2, 4, 3), torch.tensor([4, 3]), cell.initial_state(2))
    y.square().sum().backward()
    drop.on_after_backward(None, None)  # type: ignore[arg-type]
    for key, weight in cell.named_parameters():
        assert torch.equal(weight, before[key])
    for key, mask in masks.items():
        grad = recurrent(cell)[key].grad
        assert grad is not None
        assert (grad[mask] == 0).all() and grad.abs().max() > 0


def test_what_is_dropped_depends_on_seed_epoch_and_batch_alone() -> None:
    def dropped(epoch: int, batch: int) -> Tensor:
        torch.manual_seed(torch.seed())
        cell = cells.build("gru", features=2, hidden=8, layers=1)
        drop_of(cell, epoch, batch)
        return next(iter(recurrent(cell).values())) == 0

    assert torch.equal(dropped(1, 2), dropped(1, 2))
    assert not torch.equal(dropped(1, 2), dropped(1, 3))
    assert not torch.equal(dropped(1, 2), dropped(2, 2))


def test_training_drops_them_and_can_be_repeated(tmp_path: Path) -> None:
    def trained(share: float, folder: str) -> Tensor:
        recipe = Recipe(cell="gru", hidden=4, epochs=1, recurrent_dropout=share)
        config, data = Config(data="label", recipe=recipe, accelerator="cpu"), data_of("label")
        network = new_network(config, data)
        (tmp_path / folder).mkdir()
        fit(config, network, data, tmp_path / folder, show=False)
        return network.cell.get_parameter("rnn.weight_hh_l0").detach()

    first = trained(0.5, "1")
    assert torch.equal(trained(0.5, "2"), first)
    assert not torch.equal(trained(0.0, "3"), first)


@pytest.mark.parametrize("name", sorted(WITHOUT))
def test_a_cell_without_a_recurrent_matrix_is_refused(name: str) -> None:
    cell = cells.build(name, features=4, hidden=16, layers=1)
    with pytest.raises(WeightDropError, match="no matrix that multiplies the state"):
        WeightDrop(cell, SHARE, seed=0)
