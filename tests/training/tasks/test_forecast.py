"""The task of a forecast: reach, pinball loss, errors and coverage where the truth is known."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import mean_pinball_loss

from tests.training.synthetic import data_of
from tests.training.test_inputs import network_for
from training.data.dataset import Forecast, Input, Split, each_step
from training.tasks import of
from training.tasks.forecast import Forecasting

FORECAST = Forecast(columns=(0,), horizons=(1, 3), names=("+1 h", "+3 h"))


def test_the_pinball_loss_is_least_at_the_quantiles() -> None:
    data = data_of("forecast")
    network, task = network_for(data), of(data)
    truth = torch.randn(4000, 2, generator=torch.Generator().manual_seed(0))
    assert network.quantiles is not None
    network.quantiles.reach.fill_(1)
    normal = torch.distributions.Normal(0, 1).icdf(network.quantiles.quantiles)  # type: ignore[no-untyped-call]
    best = normal.repeat(2).expand(4000, -1)
    least = float(task.loss(network, best, truth))
    for difference in (-0.2, 0.2):
        for quantile in range(3):
            other = best.clone()
            other[:, quantile::3] += difference
            assert float(task.loss(network, other, truth)) > least


@given(st.integers(1, 20), st.integers(0, 50))
def test_the_loss_is_the_mean_pinball_loss_in_units_of_the_reach(count: int, seed: int) -> None:
    data = data_of("forecast")
    network = network_for(data)
    assert network.quantiles is not None
    reach = torch.tensor([2.0, 5.0])
    network.quantiles.reach.copy_(reach)
    rng = np.random.default_rng(seed)
    outputs = rng.standard_normal((count, 6)).astype(np.float32)
    truth = rng.standard_normal((count, 2)).astype(np.float32)
    by_quantile = outputs.reshape(count, 2, 3) / reach.numpy()[:, None]
    expected = np.mean(
        [
            mean_pinball_loss(
                truth[:, column] / float(reach[column]), by_quantile[:, column, row], alpha=quantile
            )
            for column in range(2)
            for row, quantile in enumerate(FORECAST.quantiles)
        ]
    )
    loss = float(of(data).loss(network, torch.from_numpy(outputs), torch.from_numpy(truth)))
    assert loss == pytest.approx(float(expected), rel=1e-4)


def test_unknown_targets_do_not_count_in_loss_and_error() -> None:
    data = data_of("forecast")
    network, task = network_for(data), of(data)
    outputs = torch.randn(3, 6, generator=torch.Generator().manual_seed(1))
    truth = torch.tensor([[1.0, math.nan], [0.5, 2.0], [math.nan, math.nan]])
    steps, known = task.pick(outputs[None], torch.tensor([3]), truth[None])
    assert len(known) == 2, "a step without any known target is dropped"
    changed = torch.where(truth[:2].isnan(), 100.0, outputs[:2].reshape(2, 2, 3)[..., 1])
    other = outputs[:2].clone().reshape(2, 2, 3)
    other[0, 1] = changed[0, 1]
    torch.testing.assert_close(
        task.loss(network, other.reshape(2, 6), known), task.loss(network, steps, known)
    )
    torch.testing.assert_close(task.measure(other.reshape(2, 6), known), task.measure(steps, known))


def test_coverage_and_error_are_counted_where_the_truth_is_known() -> None:
    data = data_of("forecast")
    outputs = np.tile(np.array([-1, 0, 1], np.float32), (4, 2))
    truth = np.array([[0, 2], [0.5, np.nan], [-3, 0], [0, 0]], np.float32)
    metrics = of(data).score(network_for(data), outputs, truth).metrics
    assert metrics["coverage_a_+1step"] == 0.75
    assert metrics["coverage_a_+3steps"] == pytest.approx(2 / 3)
    assert metrics["error_a_+1step"] == pytest.approx(math.sqrt((0.25 + 9) / 4))
    assert metrics["mae_a_+1step"] == pytest.approx((0.5 + 3) / 4)
    assert metrics["coverage"] == pytest.approx(5 / 7)


def test_the_reach_is_the_root_mean_square_change_over_each_horizon() -> None:
    x = np.array([[0.0], [1], [3], [6], [10]], np.float32)
    targets = np.array([[1, 6], [3, 10], [6, np.nan], [10, np.nan], [np.nan, np.nan]], np.float32)
    split = Split((x,), each_step([targets]))
    data = replace(data_of("forecast"), inputs=(Input(features=("a",)),), train=split, test=split)
    network = network_for(data)
    assert network.quantiles is not None
    expected = [math.sqrt((1 + 4 + 9 + 16) / 4), math.sqrt((36 + 81) / 2)]
    torch.testing.assert_close(network.quantiles.reach, torch.tensor(expected))


@pytest.mark.parametrize(
    ("quantiles", "middle"), [((0.05, 0.5, 0.95), 1), ((0.5,), 0), ((0.1, 0.4, 0.9), 1), ((0.1, 0.2), 1)]
)
def test_the_error_is_that_of_the_quantile_nearest_to_the_median(
    quantiles: tuple[float, ...], middle: int
) -> None:
    task = Forecasting(("a",), Forecast(columns=(0,), horizons=(1,), names=("+1",), quantiles=quantiles))
    outputs = torch.arange(float(len(quantiles)))[None]
    assert float(task.measure(outputs, torch.tensor([[10.0]]))) == 10 - middle


def test_scores_are_named_after_series_and_horizons_without_spaces() -> None:
    data = replace(data_of("forecast"), labels=("a b",), forecast=FORECAST)
    metrics = (
        of(data).score(network_for(data), np.zeros((2, 6), np.float32), np.ones((2, 2), np.float32)).metrics
    )
    assert {"error_ab_+1h", "mae_ab_+3h", "coverage_ab_+3h"} <= set(metrics)
    summary = of(data).summary({f"test_{name}": value for name, value in metrics.items()})
    assert summary.startswith("test loss ") and "test error 1, test coverage 0" in summary
