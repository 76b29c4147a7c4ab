"""The season of a series is found where it is clear, and not where there is none."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.season import find


def noise(count: int, seed: int = 0) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.random.default_rng(seed).standard_normal(count)


@given(st.integers(4, 60), st.integers(0, 50), st.floats(1e-3, 1e3))
def test_the_season_of_a_wave_with_noise_is_found_in_any_unit(season: int, seed: int, unit: float) -> None:
    steps = np.arange(8 * season)
    wave = np.sin(2 * np.pi * steps / season) + 0.1 * noise(len(steps), seed)
    assert abs(find([[unit * wave]]) - season) <= season / 20


def test_a_sharp_season_is_found_exactly_with_gaps_in_pieces_and_with_a_trend() -> None:
    steps = np.arange(240)
    values = np.where(steps % 24 < 8, 5.0, 0.0) + 0.002 * steps
    values[17] = np.nan
    assert find([[values[:100], values[100:]]]) == 24


@pytest.mark.parametrize(
    "values",
    [
        np.arange(50.0),
        noise(200),
        noise(300, 1).cumsum(),
        np.ones(40),
        np.full(40, np.nan),
        np.zeros(3),
        np.zeros(0),
    ],
    ids=["line", "noise", "random walk", "constant", "missing", "short", "empty"],
)
def test_no_season_is_found_where_there_is_none(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> None:
    assert find([[values]]) == 0


def test_several_series_share_one_season() -> None:
    steps = np.arange(120)
    assert find([[1000.0 * (steps % 6)], [(steps % 12 == 3).astype(float)]]) == 12
