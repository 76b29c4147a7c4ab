"""Forecasts without training, from the observed values alone. Knows no network and no score.

Persistence is the value observed last. Drift continues the line through the last two observations. Seasonal
naive is the value observed whole seasons before the moment that is forecast; with drift it adds the change
since then. (Hyndman, Athanasopoulos 2021, Forecasting: Principles and Practice, section 5.2)
"""

import numpy as np
from numpy.typing import NDArray

from training.data.dataset import Forecast, Split

Floats = NDArray[np.float64]

PERSISTENCE, DRIFT = "persistence", "drift"
SEASONAL, SEASONAL_DRIFT = "seasonal naive", "seasonal naive with drift"


def forecasts(split: Split, forecast: Forecast) -> dict[str, Floats]:
    """Each method's forecasts at every step of all sequences, [steps, series · horizons]; NaN if undefined.

    The seasonal methods are there if the season is known.
    """
    methods = {PERSISTENCE: _persistence, DRIFT: _drift}
    if forecast.season:
        methods |= {SEASONAL: _seasonal, SEASONAL_DRIFT: _seasonal_drift}
    outputs = {}
    for name, method in methods.items():
        by_sequence = [
            np.stack(
                [
                    method(sequence[:, column].astype(np.float64), steps, forecast.season)
                    for column in forecast.columns
                    for steps in forecast.horizons
                ],
                axis=1,
            )
            for sequence in split.sequences
        ]
        outputs[name] = np.concatenate(by_sequence)
    return outputs


def _persistence(values: Floats, steps: int, season: int) -> Floats:  # noqa: ARG001
    return last_observed(values)


def _drift(values: Floats, steps: int, season: int) -> Floats:  # noqa: ARG001
    when = _when_observed(values)
    place = np.arange(len(values))
    before = np.where(when > 0, when[np.maximum(when - 1, 0)], -1)  # the observation before the last
    distance = np.where(before >= 0, when - before, 1)
    velocity = np.where(before >= 0, (values[when] - values[before]) / distance, np.nan)
    return np.where(when < 0, np.nan, values[when] + velocity * (place + steps - when))


def _seasonal(values: Floats, steps: int, season: int) -> Floats:
    return _delayed(last_observed(values), _seasons(steps, season) * season - steps)


def _seasonal_drift(values: Floats, steps: int, season: int) -> Floats:
    last = last_observed(values)
    change = last - _delayed(last, _seasons(steps, season) * season)
    return _seasonal(values, steps, season) + change


def _seasons(steps: int, season: int) -> int:
    """The fewest whole seasons that reach from the forecast moment back to the present."""
    return -(-steps // season)


def last_observed(values: Floats) -> Floats:
    """[time] → [time]: the value observed last; NaN before the first."""
    when = _when_observed(values)
    return np.where(when < 0, np.nan, values[when])


def _when_observed(values: Floats) -> NDArray[np.int64]:
    """[time] → [time]: the step of the last observed value; -1 before the first."""
    when: NDArray[np.int64] = np.maximum.accumulate(np.where(np.isnan(values), -1, np.arange(len(values))))
    return when


def _delayed(values: Floats, steps: int) -> Floats:
    """[time] → [time]: the value this many steps before; NaN at the beginning."""
    return np.concatenate([np.full(steps, np.nan), values])[: len(values)]
