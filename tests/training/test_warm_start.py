"""A run starts with the weights of another one, if inputs, outputs and shape mean the same by name."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.training.synthetic import data_of
from training import loop, warm_start
from training.config import WEIGHTS_FILE, Config, Recipe
from training.data.dataset import DataSet, Split, Task
from training.errors import TrainingError
from training.model import Network

RECIPE = Recipe(hidden=4, epochs=1, batch_size=8, embedding=2, learning_rate=1e-12)
CONFIG = Config(data="synthetic", recipe=RECIPE, accelerator="cpu")


def finished_run(data: DataSet, folder: Path, config: Config = CONFIG) -> Network:
    """The files of a finished run that another one starts from."""
    folder.mkdir()
    config.write(folder)
    network = loop.new_network(config, data)
    network.learn_normalisation(data.train.sequences)
    torch.save(network.state_dict(), folder / WEIGHTS_FILE)
    warm_start.keep_interface(data, folder)
    return network


def start_from(folder: Path, config: Config = CONFIG, **changes: Any) -> Config:
    recipe = config.recipe.model_copy(update=changes)
    return config.model_copy(update={"recipe": recipe, "warm_start": warm_start.source(folder)})


def read(config: Config, data: DataSet) -> warm_start.Weights | None:
    return warm_start.read_weights(config, data, loop.new_network(config, data))


def changed_input(**changes: Any) -> Callable[[DataSet], DataSet]:
    def change(data: DataSet) -> DataSet:
        return replace(data, inputs=(replace(data.inputs[0], **changes), *data.inputs[1:]))

    return change


@pytest.mark.parametrize("task", ["label", "forecast", "language"])
def test_training_starts_with_weights_and_normalisation_of_the_run(task: Task, tmp_path: Path) -> None:
    data = data_of(task)
    before = finished_run(data, tmp_path / "source").state_dict()
    config = start_from(tmp_path / "source", dropout=0.5)
    other = replace(data, train=data_of(task, seed=1).train)
    if task == "label":
        other = replace(data, train=Split(tuple(x + 3 for x in data.train.sequences), data.train.targets))
    network = loop.new_network(config.model_copy(update={"seed": 5}), other)
    initial = warm_start.read_weights(config, other, network)
    loop.fit(config, network, other, tmp_path, show=False, initial=initial)
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=1e-6, msg=name)


def test_a_new_network_needs_no_other_run() -> None:
    assert read(CONFIG, data_of("label")) is None
    assert warm_start.origin(CONFIG, data_of("label")) == ""


@pytest.mark.parametrize(
    ("task", "change", "message"),
    [
        ("label", changed_input(name="z"), "inputs has 'x' in that run, 'z' in this one"),
        (
            "label",
            changed_input(features=("a", "c")),
            "inputs x features differ: 'b' only in that run, 'c' only in this run",
        ),
        (
            "label",
            changed_input(features=("b", "a")),
            "inputs x features are in another order: 'a', 'b' in that run, 'b', 'a' in this one",
        ),
        ("label", changed_input(has_gaps=False), "inputs x has_gaps is True in that run, False in this one"),
        ("forecast", changed_input(units=("ft", "s")), "inputs x units differ: 'm' only in that run, 'ft'"),
        (
            "language",
            changed_input(vocabulary=tuple("abcdefz")),
            "inputs x vocabulary differ: 'g' only in that run, 'z' only in this run",
        ),
        (
            "label",
            lambda data: replace(data, labels=("down", "up")),
            "labels are in another order: 'up', 'down' in that run",
        ),
        (
            "label",
            lambda data: replace(data, task="classify"),
            "task is 'label' in that run, 'classify' in this one",
        ),
        (
            "forecast",
            lambda data: replace(data, forecast=replace(data.forecast, horizons=(1, 2))),
            "forecast horizons differ: 3 only in that run, 2 only in this run",
        ),
    ],
)
def test_other_inputs_or_outputs_are_refused_by_name(
    task: Task, change: Callable[[DataSet], DataSet], message: str, tmp_path: Path
) -> None:
    data = data_of(task)
    finished_run(data, tmp_path / "source")
    with pytest.raises(warm_start.WarmStartError) as caught:
        read(start_from(tmp_path / "source"), change(data))
    assert str(caught.value).startswith(f"--from {tmp_path / 'source'}: {message}")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("cell", "gru", "--cell is lstm in that run, gru in this one"),
        ("hidden", 5, "--hidden is 4 in that run, 5 in this one"),
        ("input_projection", 3, "--input-projection is 0 in that run, 3 in this one"),
    ],
)
def test_another_shape_is_refused_by_name(field: str, value: Any, message: str, tmp_path: Path) -> None:
    data = data_of("label")
    finished_run(data, tmp_path / "source")
    with pytest.raises(warm_start.WarmStartError, match=message):
        read(start_from(tmp_path / "source", **{field: value}), data)


def test_changed_weights_are_another_start(tmp_path: Path) -> None:
    data = data_of("label")
    network = finished_run(data, tmp_path / "source")
    config = start_from(tmp_path / "source")
    weights = {name: np.e * value for name, value in network.state_dict().items()}
    torch.save(weights, tmp_path / "source" / WEIGHTS_FILE)
    with pytest.raises(warm_start.WarmStartError, match="has changed since this run was started"):
        read(config, data)


def test_weights_of_another_version_are_refused(tmp_path: Path) -> None:
    data = data_of("label")
    finished_run(data, tmp_path / "source")
    torch.save({"shift": torch.zeros(3)}, tmp_path / "source" / WEIGHTS_FILE)
    with pytest.raises(warm_start.WarmStartError, match="another network than this version of cellgate"):
        read(start_from(tmp_path / "source"), data)


def test_a_run_without_weights_is_reported(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"weights\.pt: No such file"):
        warm_start.source(tmp_path)


def test_the_origin_says_which_scores_may_be_too_good(tmp_path: Path) -> None:
    data = data_of("label")
    finished_run(data, tmp_path / "source")
    same = start_from(tmp_path / "source")
    assert warm_start.origin(same, data).endswith(f"{same.warm_start and same.warm_start.sha256[:16]})")
    other_seed = same.model_copy(update={"seed": 1})
    assert "learnt some sequences of this run's validation part" in warm_start.origin(other_seed, data)
    assert "learnt" not in warm_start.origin(other_seed, replace(data, validation=data.test))
    other_data = same.model_copy(update={"data": "other"})
    assert "which learnt other data" in warm_start.origin(other_data, data)
