"""The training loop: deterministic, resumable, best or last epoch, and the weights of unequal processes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import distributed

from tests.training.synthetic import data_of
from training import loop
from training.batches import Batch, in_order
from training.config import Config, Recipe
from training.data.dataset import DataSet, Split, Task
from training.model import Network
from training.tasks import of

TASKS: tuple[Task, ...] = ("forecast", "language", "label")
Weights = dict[str, torch.Tensor]


def config_of(**recipe: Any) -> Config:
    fields: dict[str, Any] = {"hidden": 4, "epochs": 3, "batch_size": 8, "embedding": 2} | recipe
    return Config(data="synthetic", recipe=Recipe(**fields), accelerator="cpu")


def fitted(data: DataSet, folder: Path, config: Config) -> tuple[Network, list[dict[str, float]]]:
    folder.mkdir(exist_ok=True)
    network = loop.new_network(config, data)
    return network, loop.fit(config, network, data, folder, show=False)


def weights_of(network: Network) -> Weights:
    return {name: value.clone() for name, value in network.state_dict().items()}


def assert_equal(one: Weights, other: Weights) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_a_new_network_is_a_function_of_the_seed() -> None:
    data, config = data_of("label"), config_of()
    torch.manual_seed(1)
    first = weights_of(loop.new_network(config, data))
    torch.manual_seed(2)
    assert_equal(first, weights_of(loop.new_network(config, data)))
    other = weights_of(loop.new_network(config.model_copy(update={"seed": 1}), data))
    assert not torch.equal(first["head.weight"], other["head.weight"])


def test_a_new_network_leaves_the_random_state_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    loop.new_network(config_of(), data_of("label"))
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize("task", TASKS)
def test_every_task_is_trained_with_its_metrics(task: Task, tmp_path: Path) -> None:
    data = data_of(task)
    _, rows = fitted(data, tmp_path, config_of(epochs=2))
    metric = of(data).metric
    assert [row["epoch"] for row in rows] == [1, 2]
    for row in rows:
        assert {f"train_{metric}", f"validation_{metric}", "train_loss", "validation_loss"} <= set(row)
        assert all(np.isfinite(value) for value in row.values())


@pytest.mark.parametrize("recipe", [{}, {"dropout": 0.5, "noise": 0.5, "buckets": True}])
def test_a_resumed_training_equals_an_undisturbed_one(recipe: dict[str, Any], tmp_path: Path) -> None:
    data = data_of("label")
    whole, rows = fitted(data, tmp_path / "whole", config_of(epochs=4, **recipe))
    fitted(data, tmp_path / "parts", config_of(epochs=2, **recipe))
    resumed, later = fitted(data, tmp_path / "parts", config_of(epochs=4, **recipe))
    assert_equal(weights_of(whole), weights_of(resumed))
    assert [row["train_loss"] for row in later] == [row["train_loss"] for row in rows]


def test_with_patience_the_weights_are_those_of_the_best_epoch(tmp_path: Path) -> None:
    data = data_of("label")
    config = config_of(epochs=6, patience=6, learning_rate=0.5)
    network, rows = fitted(data, tmp_path, config)
    losses = [row["validation_loss"] for row in rows]
    best = int(np.argmin(losses))
    until, _ = fitted(data, tmp_path / "until", config_of(epochs=best + 1, learning_rate=0.5))
    assert best < len(rows) - 1, "the last epoch is not the best"
    assert_equal(weights_of(network), weights_of(until))


def test_a_data_set_with_a_validation_part_uses_it(tmp_path: Path) -> None:
    data = data_of("label")
    apart = data_of("label", seed=3).train
    network, rows = fitted(replace(data, validation=apart), tmp_path, config_of(epochs=1))
    [batch] = in_order(apart, batch_size=256)
    task = of(data)
    with torch.no_grad():
        y, _ = network.eval()(batch.x, batch.lengths, network.initial_state(len(batch.x)))
        loss = task.loss(network, *task.pick(y, batch.lengths, batch.targets))
    assert rows[-1]["validation_loss"] == pytest.approx(float(loss), rel=1e-5)


def test_normalisation_is_learned_from_the_training_part_alone(tmp_path: Path) -> None:
    data = data_of("label")
    shifted = Split(tuple(x + 1000 for x in data.train.sequences), data.train.targets)
    network, _ = fitted(replace(data, validation=shifted), tmp_path, config_of(epochs=1))
    steps = np.concatenate(data.train.sequences)
    np.testing.assert_allclose(network.input_layer.shift, np.nanmean(steps, axis=0), rtol=1e-4)


@pytest.mark.parametrize("task", TASKS)
def test_a_batch_without_known_targets_has_no_gradient(task: Task) -> None:
    data, config = data_of(task), config_of()
    network = loop.new_network(config, data)
    training = loop.Training(network, of(data), config.recipe, seed=0)
    [batch] = in_order(data.train.take(np.arange(3)), batch_size=3)
    unknown = torch.nan if batch.targets.is_floating_point() else -1
    loss = training.training_step(Batch(batch.x, batch.lengths, torch.full_like(batch.targets, unknown)))
    torch.autograd.backward(loss)
    assert loss.item() == 0
    assert all(weight.grad is None or not weight.grad.any() for weight in network.parameters())


def test_one_process_does_not_weight_its_loss() -> None:
    data, config = data_of("label"), config_of()
    training = loop.Training(loop.new_network(config, data), of(data), config.recipe, seed=0)
    assert not distributed.is_initialized()
    assert training._weight(torch.tensor([1.0, torch.nan])) == 1.0


def test_the_optimiser_is_the_one_of_the_recipe() -> None:
    data = data_of("label")

    def optimiser_of(**recipe: Any) -> Any:
        config = config_of(**recipe)
        return loop.Training(
            loop.new_network(config, data), of(data), config.recipe, seed=0
        ).configure_optimizers()

    plain = optimiser_of(learning_rate=0.25, weight_decay=0.5)
    assert isinstance(plain, torch.optim.AdamW)
    assert (plain.defaults["lr"], plain.defaults["weight_decay"]) == (0.25, 0.5)
    [annealed], [schedule] = optimiser_of(anneal=True, epochs=7)
    assert isinstance(annealed, torch.optim.AdamW)
    assert (schedule.T_max, schedule.eta_min) == (7, 0)


def test_annealing_changes_the_weights(tmp_path: Path) -> None:
    data = data_of("label")
    plain, annealed = (
        fitted(data, tmp_path / str(anneal), config_of(epochs=3, anneal=anneal))[0]
        for anneal in (False, True)
    )
    assert not torch.equal(plain.head.weight, annealed.head.weight)


def test_a_clipped_gradient_is_bounded(tmp_path: Path) -> None:
    """AdamW is invariant to the scale of all gradients, so the sequence of clipped steps must differ."""
    data = data_of("label")
    plain, clipped = (
        fitted(data, tmp_path / str(clip), config_of(epochs=3, clip=clip))[0] for clip in (0.0, 1e-3)
    )
    assert not torch.equal(plain.head.weight, clipped.head.weight)


def test_checkpoints_are_the_best_and_the_last(tmp_path: Path) -> None:
    fitted(data_of("label"), tmp_path, config_of(epochs=3, patience=3))
    names = {path.name for path in (tmp_path / loop.CHECKPOINTS).iterdir()}
    assert names == {loop.BEST, loop.LAST}
    last = torch.load(tmp_path / loop.CHECKPOINTS / loop.LAST, weights_only=True)
    assert last["epoch"] == 2
    assert all(key.startswith("network.") for key in last["state_dict"])


def test_this_process_is_no_helper_of_ddp() -> None:
    assert loop.is_helper() is False


@pytest.mark.parametrize("accelerator", ["auto", "cpu"])
def test_devices_are_checked_for_cuda_alone(accelerator: Any) -> None:
    loop.check_devices(Config(data="d", recipe=Recipe(), accelerator=accelerator, devices=64))


@pytest.mark.skipif(torch.version.cuda is not None, reason="this PyTorch has CUDA")
def test_a_pytorch_without_cuda_is_reported() -> None:
    with pytest.raises(loop.DeviceError, match="is built without CUDA"):
        loop.check_devices(Config(data="d", recipe=Recipe(), accelerator="cuda"))
