"""The result of a cross-validation: mean, spread, and in how many folds the baselines are beaten."""

import pytest

from training.folds import summary, verdict
from training.seeds import in_common

ROWS = [
    {"fold": 0.0, "test_r2": 0.5, "test_skill_a": 0.2},
    {"fold": 1.0, "test_r2": 0.7, "test_skill_a": 0.4},
]


def test_the_summary_has_mean_and_standard_deviation() -> None:
    lines = summary(ROWS)
    assert lines["mean"]["test_r2"] == pytest.approx(0.6)
    assert lines["±"]["test_r2"] == pytest.approx(0.02**0.5)


def test_the_verdict_counts_the_folds_that_beat_the_baselines() -> None:
    assert verdict(ROWS) == "better than the baselines: in 2 of 2 folds; skill a 30% ± 14%"
    mixed = [ROWS[0], ROWS[1] | {"test_skill_a": -0.2}]
    assert verdict(mixed).startswith("not always better than the baselines: in 1 of 2 folds; skill a 0%")
    assert verdict([mixed[1], mixed[1]]).startswith("NOT better than the baselines: in 0 of 2 folds")


def test_a_score_that_one_fold_does_not_define_is_left_out() -> None:
    rows = [ROWS[0], {"fold": 1.0, "test_skill_a": 0.4}]
    assert [set(row) for row in in_common(rows)] == [{"fold", "test_skill_a"}] * 2
