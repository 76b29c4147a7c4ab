"""Numbers that are no inputs: loss and scores by their definitions, where the actual value is known."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from tests.training.synthetic import data_of
from tests.training.test_inputs import network_for
from training.data.dataset import DataSet, Split
from training.model import Network
from training.tasks import of


def regression(*, is_whole: bool = False) -> DataSet:
    """Two numbers in different units for each step, or for each sequence."""
    data = data_of("regress")
    if not is_whole:
        return data
    targets = np.stack([target[0] for target in data.train.targets])
    split = Split(data.train.sequences, targets)
    return replace(data, train=split, test=split)


@pytest.fixture(scope="module")
def network() -> Network:
    return network_for(data_of("regress"))


@given(st.integers(3, 30), st.integers(0, 99))
def test_scores_are_those_of_scikit_learn(network: Network, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = (rng.standard_normal((count, 2)) * [1, 1000]).astype(np.float32)
    outputs = (truth + rng.standard_normal((count, 2))).astype(np.float32)
    metrics = of(regression()).score(network, outputs, truth).metrics
    for column, name in enumerate(("a", "bc")):
        actual, predicted = truth[:, column].astype(float), outputs[:, column].astype(float)
        assert metrics[f"error_{name}"] == pytest.approx(root_mean_squared_error(actual, predicted))
        assert metrics[f"mae_{name}"] == pytest.approx(mean_absolute_error(actual, predicted))
        assert metrics[f"r2_{name}"] == pytest.approx(r2_score(actual, predicted))
    assert metrics["r2"] == pytest.approx((metrics["r2_a"] + metrics["r2_bc"]) / 2)


def test_unknown_numbers_do_not_count(network: Network) -> None:
    task = of(regression())
    truth = torch.tensor([[1.0, math.nan], [math.nan, math.nan], [2.0, 3.0]])
    outputs, known = task.pick(torch.zeros(1, 3, 2), torch.tensor([3]), truth[None])
    assert known.shape == (2, 2)
    assert float(task.measure(outputs, known)) == pytest.approx(math.sqrt((1 + 4 + 9) / 3))
    metrics = task.score(network, outputs.numpy(), known.numpy()).metrics
    assert metrics["error_bc"] == 3
    assert "r2_bc" not in metrics, "one actual value has no variance"


def test_a_sequence_with_one_target_is_predicted_at_its_last_true_step() -> None:
    y = torch.arange(12.0).reshape(2, 3, 2)
    outputs, targets = of(regression(is_whole=True)).pick(y, torch.tensor([1, 3]), torch.ones(2, 2))
    assert outputs.tolist() == [[0, 1], [10, 11]]
    assert targets.shape == (2, 2)


@pytest.mark.parametrize("is_whole", [True, False])
def test_the_network_answers_in_units_of_the_targets(is_whole: bool) -> None:
    data = regression(is_whole=is_whole)
    network, task = network_for(data), of(data)
    targets = np.array(data.train.targets) if is_whole else np.concatenate(data.train.targets)
    task.prepare(network, data)
    assert network.quantiles is not None
    torch.testing.assert_close(
        network.quantiles(torch.tensor([[0.0, 1]]), torch.zeros(1)),
        torch.tensor(
            [[np.nanmean(targets[:, 0]), np.nanmean(targets[:, 1]) + np.nanstd(targets[:, 1])]]
        ).float(),
    )
    far = torch.from_numpy(targets[:1]) + network.quantiles.reach
    assert float(task.loss(network, far, torch.from_numpy(targets[:1]))) == pytest.approx(1, rel=1e-4)


def test_a_run_is_summarised_without_what_is_not_defined() -> None:
    task = of(regression())
    assert task.summary({"test_error": 1.5, "test_mae": 1.0}) == "test error 1.5, test mae 1"
