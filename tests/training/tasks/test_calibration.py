"""Calibration: probabilities beside frequencies."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.tasks.calibration import reliability


def test_the_error_matches_its_definition() -> None:
    p = np.array([[0.9, 0.1], [0.9, 0.1], [0.3, 0.7], [0.32, 0.68]])
    found = reliability(p, np.array([0, 1, 1, 1]))
    assert found.counts.tolist() == [2, 2], "bins of a fifteenth: 0.667 to 0.733, 0.867 to 0.933"
    assert found.confidence.tolist() == pytest.approx([0.69, 0.9])
    assert found.accuracy.tolist() == [1, 0.5]
    assert found.error == pytest.approx((0.31 + 0.4) / 2)


@given(st.integers(1, 200), st.integers(2, 4), st.integers(0, 99))
def test_the_bins_hold_every_answer_and_the_error_is_a_share(count: int, classes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    found = reliability(rng.dirichlet(np.ones(classes), count), rng.integers(0, classes, count))
    assert found.counts.sum() == count
    assert 0 <= found.error <= 1


def test_a_certain_and_correct_answer_is_calibrated() -> None:
    assert reliability(np.array([[1.0, 0.0]]), np.array([0])).error == 0
