"""Numbers that are no inputs: loss and scores by their definitions, where the actual value is known."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import mean_absolute_error, mean_pinball_loss, r2_score, root_mean_squared_error

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


@given(st.integers(3, 30), st.integers(0, 99))
def test_quantiles_have_the_pinball_loss_and_a_coverage(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    data = replace(regression(), quantiles=(0.1, 0.5, 0.9))
    network, task = network_for(data), of(data)
    truth = (rng.standard_normal((count, 2)) * [1, 1000]).astype(np.float32)
    truth[0, 0] = np.nan
    bands = np.sort(truth[..., None] + rng.standard_normal((count, 2, 3)), axis=-1)
    bands[0, 0] = [-1, 0, 1]
    outputs = bands.reshape(count, 6).astype(np.float32)
    metrics = task.score(network, outputs, truth).metrics
    assert network.quantiles is not None
    reach = network.quantiles.reach.numpy()
    known = ~np.isnan(truth)
    losses = [
        mean_pinball_loss(truth[known[:, n], n], outputs[known[:, n], 3 * n + q], alpha=alpha) / reach[n]
        for n in range(2)
        for q, alpha in enumerate(data.quantiles)
    ]
    weights = np.repeat(known.sum(axis=0), 3)
    assert metrics["loss"] == pytest.approx(np.average(losses, weights=weights), rel=1e-4)
    low, middle, high = (outputs.reshape(count, 2, 3)[..., place] for place in range(3))
    within = ((low <= truth) & (truth <= high))[:, 1]
    assert metrics["coverage_bc"] == pytest.approx(within.mean())
    assert metrics["error_bc"] == pytest.approx(root_mean_squared_error(truth[:, 1], middle[:, 1]), rel=1e-5)
    assert "coverage" in task.headline and "coverage" not in of(regression()).headline


def test_a_run_is_summarised_without_what_is_not_defined() -> None:
    task = of(regression())
    assert task.summary({"test_error": 1.5, "test_mae": 1.0}) == "test error 1.5, test mae 1"
