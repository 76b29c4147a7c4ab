"""The training loop: deterministic, resumable, best or last epoch, and the weights of unequal processes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from torch import distributed

from tests.training.synthetic import data_of
from training import cells, loop, optimisation
from training.batches import Batch, in_order
from training.config import Config, Recipe
from training.data.dataset import DataSet, Split, Task, each_step
from training.model import Network, NetworkError
from training.tasks import of

WORSENING: dict[str, Any] = {"epochs": 14, "learning_rate": 0.05, "hidden": 8}
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


RECIPES: list[dict[str, Any]] = [
    {},
    {"dropout": 0.5, "noise": 0.5, "buckets": True},
    {"dropout": 0.5, "bptt": 6},
]


@pytest.mark.parametrize("recipe", RECIPES)
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
    training = optimisation.Training(network, of(data), config.recipe, seed=0)
    [batch] = in_order(data.train.take(np.arange(3)), batch_size=3)
    unknown = torch.nan if batch.targets.is_floating_point() else -1
    loss = training.training_step(Batch(batch.x, batch.lengths, torch.full_like(batch.targets, unknown)))
    torch.autograd.backward(loss)
    assert loss.item() == 0
    assert all(weight.grad is None or not weight.grad.any() for weight in network.parameters())


def test_one_process_does_not_weight_its_loss() -> None:
    data, config = data_of("label"), config_of()
    training = optimisation.Training(loop.new_network(config, data), of(data), config.recipe, seed=0)
    assert not distributed.is_initialized()
    assert training._weight(torch.tensor([1.0, torch.nan])) == 1.0


def test_the_optimiser_is_the_one_of_the_recipe() -> None:
    data = data_of("label")

    def optimiser_of(**recipe: Any) -> Any:
        config = config_of(**recipe)
        return optimisation.Training(
            loop.new_network(config, data), of(data), config.recipe, seed=0
        ).configure_optimizers()

    plain = optimiser_of(learning_rate=0.25, weight_decay=0.5)
    assert isinstance(plain, torch.optim.AdamW)
    assert (plain.defaults["lr"], plain.defaults["weight_decay"]) == (0.25, 0.5)
    scheduled = optimiser_of(schedule="cosine", epochs=7)
    assert isinstance(scheduled["optimizer"], torch.optim.AdamW)
    assert scheduled["lr_scheduler"]["scheduler"].T_max == 7


class Rates(Callback):
    """Records the learning rate of each epoch's first and last step, and crashes in the epoch `crash`."""

    def __init__(self, crash: int | None = None) -> None:
        self.scheduled: list[float] = []  # by epoch, without the warm-up
        self.stepped: list[float] = []  # by batch, with it
        self._crash = crash

    def on_train_batch_start(self, trainer: Any, _: Any, __: Any, batch_idx: int) -> None:
        if batch_idx == 0:
            self.scheduled.append(trainer.optimizers[0].param_groups[0]["lr"])
        elif trainer.current_epoch == self._crash:
            raise Crash

    def on_before_optimizer_step(self, _: Any, __: Any, optimizer: torch.optim.Optimizer) -> None:
        self.stepped.append(optimizer.param_groups[0]["lr"])


class Crash(Exception):
    """A training ends in the middle of an epoch."""


def rates_of(
    data: DataSet, folder: Path, config: Config, *, crash: int | None = None
) -> tuple[Network, Rates]:
    folder.mkdir(exist_ok=True)
    network, rates = loop.new_network(config, data), Rates(crash)
    loop.fit(config, network, data, folder, show=False, callbacks=(rates,))
    return network, rates


def worsening_data() -> DataSet:
    """What is learnt is wrong in the validation part, so its loss grows."""
    data = data_of("label")
    flipped = [np.where(target < 0, target, 1 - target) for target in data.train.targets]
    return replace(data, validation=Split(data.train.sequences, each_step(flipped)))


def test_a_cosine_decays_to_zero_and_a_plateau_halves(tmp_path: Path) -> None:
    data = worsening_data()
    _, cosine = rates_of(data, tmp_path / "cosine", config_of(epochs=4, schedule="cosine", learning_rate=0.5))
    expected = [0.25 * (1 + np.cos(np.pi * epoch / 4)) for epoch in range(4)]
    assert cosine.scheduled == pytest.approx(expected)
    _, plateau = rates_of(data, tmp_path / "plateau", config_of(**WORSENING, schedule="plateau"))
    assert set(plateau.scheduled) == {0.05, 0.025, 0.0125}


def test_the_warm_up_multiplies_the_learning_rate_of_each_step(tmp_path: Path) -> None:
    config = config_of(epochs=3, warm_up=2, learning_rate=0.5)
    _, rates = rates_of(data_of("label"), tmp_path, config)
    assert rates.scheduled == [0.5] * 3
    within = 2 * len(rates.stepped) // 3
    expected = [0.5 * min(1, (step + 1) / within) for step in range(len(rates.stepped))]
    assert rates.stepped == pytest.approx(expected)


@pytest.mark.parametrize(
    "recipe", [{"schedule": "cosine"}, {"schedule": "plateau"}], ids=lambda one: one["schedule"]
)
def test_a_crash_changes_no_schedule(recipe: dict[str, Any], tmp_path: Path) -> None:
    """Lightning steps a plateau after the checkpoint, and a resumed training once missed that step."""
    data, config = worsening_data(), config_of(**WORSENING, warm_up=9, **recipe)
    whole, rates = rates_of(data, tmp_path / "whole", config)
    crash = next(epoch for epoch in range(1, 14) if rates.scheduled[epoch] < rates.scheduled[epoch - 1])
    with pytest.raises(Crash):
        rates_of(data, tmp_path / "parts", config, crash=crash)
    resumed, later = rates_of(data, tmp_path / "parts", config)
    assert later.scheduled == rates.scheduled[crash:]
    assert later.stepped == rates.stepped[-len(later.stepped) :]
    assert_equal(weights_of(whole), weights_of(resumed))


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


@pytest.mark.parametrize("cell", [name for name in cells.names() if name != "conv_lstm"])
def test_every_cell_learns_in_bfloat16_with_weights_in_float32(cell: str) -> None:
    data = data_of("forecast", count=4)
    network = loop.new_network(config_of(cell=cell, hidden=16, layers=2), data)
    network.learn_normalisation(data.train.sequences)
    task = of(data)
    task.prepare(network, data)
    [batch] = in_order(data.train, batch_size=4)
    with torch.autocast("cpu", torch.bfloat16):
        y, _ = network(batch.x, batch.lengths, network.initial_state(4))
        loss = task.loss(network, *task.pick(y, batch.lengths, batch.targets))
    loss.backward()  # type: ignore[no-untyped-call]
    assert y.dtype == torch.float32, "levels far from zero would lose their digits"
    assert loss.isfinite()
    gradients = [weight.grad for weight in network.parameters() if weight.grad is not None]
    assert gradients and all(one.dtype == torch.float32 and one.isfinite().all() for one in gradients)


@pytest.mark.parametrize("task", ["forecast", "language"])
def test_mixed_precision_resumes_exactly_and_ends_with_float32(task: Task, tmp_path: Path) -> None:
    data = data_of(task)

    def trained(epochs: int, folder: str) -> Weights:
        config = config_of(epochs=epochs, bptt=6).model_copy(update={"precision": "bf16-mixed"})
        return weights_of(fitted(data, tmp_path / folder, config)[0])

    whole = trained(2, "whole")
    trained(1, "parts")
    assert_equal(whole, trained(2, "parts"))
    assert all(value.dtype != torch.bfloat16 for value in whole.values())
    single = fitted(data, tmp_path / "single", config_of(epochs=2, bptt=6))[0]
    assert not torch.equal(whole["head.weight"], single.head.weight)


def test_a_cell_whose_steps_would_be_unrolled_is_not_compiled() -> None:
    config = config_of(cell="layer_norm").model_copy(update={"compile": True})
    with pytest.raises(NetworkError, match="would unroll the steps of the cell 'layer_norm'"):
        loop.new_network(config, data_of("label"))


def test_an_unknown_category_is_the_mean_of_the_known_ones_and_changes_nothing_else(tmp_path: Path) -> None:
    data = data_of("forecast")
    sky = replace(data.inputs[1], vocabulary=("<other>", "a", "b", "c", "d"), unknown=0, numbers="tokens")
    column = 2
    train = []
    for sequence in data.train.sequences:
        moved = sequence.copy()
        moved[:, column] = np.minimum(moved[:, column], 2) + 1  # "a" to "c"; "d" is never seen
        train.append(moved)
    split = Split(tuple(train), data.train.targets)
    tables = {}
    for name, kind in (("ids", replace(sky, numbers="ids")), ("tokens", sky)):
        inputs = (data.inputs[0], kind, data.inputs[2])
        known = replace(data, inputs=inputs, train=split, test=split, validation=split)
        network, _ = fitted(known, tmp_path / name, config_of(epochs=1))
        tables[name] = network.input_layer.table(sky.name).detach()
    steps = np.concatenate([sequence[:, column] for sequence in train]).astype(int)
    shares = torch.tensor(np.bincount(steps, minlength=5) / len(steps), dtype=torch.float32)
    torch.testing.assert_close(tables["tokens"][0], shares @ tables["tokens"])
    assert torch.equal(tables["tokens"][1:], tables["ids"][1:])
    assert not torch.equal(tables["tokens"][0], tables["ids"][0])
