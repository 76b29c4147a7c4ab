"""Forecasts without training match their definitions."""

from itertools import product

import numpy as np
import pytest

from training import naive
from training.data.dataset import Forecast, Split, each_step

NAN = np.nan


def forecasts(
    values: list[float], horizons: tuple[int, ...] = (1,), season: int = 0
) -> dict[str, list[float]]:
    """Each method's forecasts of one series: all horizons of a step, then the next step."""
    x = np.array(values, np.float32)[:, None]
    split = Split((x,), each_step([np.zeros((len(x), len(horizons)), np.float32)]))
    forecast = Forecast((0,), horizons, tuple(map(str, horizons)), season=season)
    return {name: outputs.ravel().tolist() for name, outputs in naive.forecasts(split, forecast).items()}


def test_persistence_and_drift_use_the_last_observations() -> None:
    outputs = forecasts([1, 3, NAN, 4])
    assert outputs.keys() == {naive.PERSISTENCE, naive.DRIFT}
    assert outputs[naive.PERSISTENCE] == [1, 3, 3, 4]
    np.testing.assert_equal(outputs[naive.DRIFT], [NAN, 5, 7, 4.5], "half a unit a step since the gap")


def test_nothing_is_forecast_before_the_first_observation() -> None:
    outputs = forecasts([NAN, 2, 3], season=1)
    assert all(np.isnan(values[0]) for values in outputs.values())


def test_a_straight_line_has_no_drift_error_at_any_horizon() -> None:
    line = [2.0 * step for step in range(8)]
    outputs = forecasts(line, horizons=(1, 5))[naive.DRIFT]
    assert outputs[2:] == [2.0 * (step + ahead) for step, ahead in product(range(1, 8), (1, 5))]


@pytest.mark.parametrize("horizon", [1, 2, 3, 4, 7])
def test_a_pure_season_is_forecast_exactly_also_beyond_one_season(horizon: int) -> None:
    wave = [float(step % 3) for step in range(20)]
    rising = [10 * (step // 3) + wave[step] for step in range(20)]
    for values, name in ((wave, naive.SEASONAL), (rising, naive.SEASONAL_DRIFT)):
        outputs = forecasts(values, horizons=(horizon,), season=3)[name][9 : 20 - horizon]
        assert outputs == values[9 + horizon : 20]


def test_series_and_horizons_are_side_by_side() -> None:
    x = np.array([[1, 10], [2, 20]], np.float32)
    split = Split((x, x[:1]), each_step([np.zeros((2, 4)), np.zeros((1, 4))]))
    outputs = naive.forecasts(split, Forecast((0, 1), (1, 2), ("+1", "+2")))[naive.PERSISTENCE]
    assert outputs.tolist() == [[1, 1, 10, 10], [2, 2, 20, 20], [1, 1, 10, 10]]
