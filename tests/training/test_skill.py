"""Skill: the scores of a network beside those of the best baseline, on the same targets."""

from dataclasses import replace

import numpy as np
import pytest

from tests.training.synthetic import data_of
from training.data.dataset import DataSet, Forecast, Input, Split, each_step
from training.data.series import ahead
from training.skill import LOWEST, compare

CLASSES = np.array([0] * 19 + [1])


def labelled(targets: list[int]) -> Split:
    return Split((np.zeros((len(targets), 1), np.float32),), each_step([np.array(targets)]))


def faults() -> DataSet:
    """One step in twenty is a fault."""
    split = labelled(CLASSES.tolist())
    return replace(data_of("label"), labels=("fine", "fault"), train=split, test=split)


def series(values: list[float], *, season: int = 0) -> DataSet:
    x = np.array(values, np.float32)
    split = Split((x[:, None],), each_step([ahead(x, (1, 2))]))
    forecast = Forecast((0,), (1, 2), ("+1 step", "+2 steps"), season=season)
    return replace(
        data_of("forecast"), inputs=(Input(features=("a",), units=("kg",)),), labels=("a",),
        forecast=forecast, train=split, test=split,
    )  # fmt: skip


def errors(first: float, second: float) -> dict[str, float]:
    return {"error_a_+1step": first, "error_a_+2steps": second, "coverage": 0.8}


def test_the_accuracy_of_a_rare_class_is_compared_with_the_share_of_the_majority() -> None:
    compared = compare(faults(), faults().test, {"accuracy": 0.95, "macro_f1": 0.95 / 1.95})
    assert compared.baselines == {
        "majority_accuracy": pytest.approx(0.95), "majority_macro_f1": pytest.approx(0.95 / 1.95)
    }  # fmt: skip
    assert compared.verdict() == (
        "NOT better than always 'fine': accuracy 95.00% against 95.00%; macro F1 0.4872 against 0.4872"
    )
    assert compared.notes == ["95.0% are 'fine'; --balance weighs rare classes alike"]
    assert compared.metrics()["test_skill_accuracy"] == 0
    assert compared.metrics()["baseline_majority_accuracy"] == pytest.approx(0.95)


def test_classes_that_are_found_beat_the_majority() -> None:
    compared = compare(faults(), faults().test, {"accuracy": 0.99, "macro_f1": 0.9})
    assert compared.verdict() == "better than always 'fine': skill 80% or more"
    only = compare(faults(), faults().test, {"accuracy": 0.9, "macro_f1": 0.8})
    assert (
        only.verdict()
        == "NOT better than always 'fine' in 1 of 2 comparisons: accuracy 90.00% against 95.00%; "
        "better in macro F1 0.8 against 0.4872"
    )


def test_the_majority_is_that_of_the_training_part() -> None:
    data = replace(faults(), test=labelled([1, 1, 1, -1, 0]))
    compared = compare(data, data.test, {"accuracy": 0.5, "macro_f1": 0.5})
    assert compared.baselines["majority_accuracy"] == 0.25
    absent = compare(data, labelled([1, 1]), {"accuracy": 1.0, "macro_f1": 0.5})
    assert absent.notes == ["no sequence or step of this part is 'fine'"]


def test_each_horizon_is_compared_with_its_best_baseline_in_its_unit() -> None:
    compared = compare(series([0, 1, 2, 3, 4, 5, 6]), series([0, 1, 2, 3, 4, 5, 6]).test, errors(0.2, 0.5))
    first, second = compared.rows
    assert (first.subject, first.score, first.baseline) == ("a +1 step", "RMSE [kg]", "drift")
    assert first.theirs == pytest.approx((1 / 6) ** 0.5), "persistence before there are two observations"
    assert first.skill == pytest.approx(1 - 0.2 / first.theirs)
    assert second.theirs == pytest.approx((4 / 5) ** 0.5)
    assert compared.metrics()["baseline_persistence_mae_a_+2steps"] == 2
    assert "holds 80.0% of the actual values, nominally 90%" in compared.notes[0]
    assert compared.verdict() == "better than drift: skill 44% or more"


def test_a_season_that_explains_all_cannot_be_beaten() -> None:
    data = series([0, 5] * 6, season=2)
    test = Split(
        data.test.sequences,
        each_step([data.test.targets[0] * np.where(np.arange(12) < 2, np.nan, 1)[:, None]]),
    )
    compared = compare(data, test, errors(0.1, 0.0))
    assert [row.skill for row in compared.rows] == [LOWEST, 0]
    assert compared.verdict() == (
        "NOT better than seasonal naive and persistence: a +1 step, RMSE [kg] 0.1 against 0; "
        "a +2 steps, RMSE [kg] 0 against 0"
    )


def test_where_nothing_is_observed_a_baseline_forecasts_the_training_mean() -> None:
    data = series([1, 3, 1, 3])
    x = np.full((2, 1), np.nan, np.float32)
    test = Split((x,), each_step([np.array([[5, 5], [5, 5]], np.float32)]))
    assert compare(data, test, errors(1, 1)).baselines["persistence_error_a_+1step"] == 3


def test_a_network_that_diverged_has_the_lowest_skill() -> None:
    data = series([0, 1, 3, 2, 5])
    assert compare(data, data.test, errors(float("nan"), 1e9)).rows[0].skill == LOWEST


def test_tokens_are_compared_with_their_frequencies() -> None:
    data = data_of("language")
    tokens = np.array([0, 0, 0, 1], np.int64)
    split = Split((np.zeros((4, 1), np.float32),), each_step([tokens]))
    compared = compare(replace(data, train=split, labels=("x", "y")), split, {"bits": 0.5})
    p = np.array([4, 4, 4, 2]) / 6
    assert compared.rows[0].theirs == pytest.approx(-np.log2(p).mean())
    assert compared.rows[0].is_better


def test_numbers_are_compared_with_their_mean_and_with_a_linear_regression() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((40, 1)).astype(np.float32)
    y = np.hstack([3 * x + 1, rng.standard_normal((40, 1)).astype(np.float32)])
    y[3, 0] = np.nan
    split = Split((x,), each_step([y]))
    data = replace(
        data_of("regress"),
        inputs=(Input(features=("x",)),),
        labels=("line", "noise"),
        train=split,
        test=split,
    )
    compared = compare(data, split, {"error_line": 0.1, "error_noise": 0.5})
    assert [row.baseline for row in compared.rows] == ["linear regression of a step"] * 2
    assert compared.rows[0].theirs == pytest.approx(0, abs=1e-5)
    mean = y[:, 1].mean()
    assert compared.baselines["the_training_mean_mae_noise"] == pytest.approx(np.abs(y[:, 1] - mean).mean())
    whole = Split((x[:1], x[1:3]), np.array([[1.0, 5], [3, np.nan]]))
    compared = compare(replace(data, train=whole, test=whole), whole, {"error_line": 0.5, "error_noise": 0.5})
    assert [row.baseline for row in compared.rows] == ["the training mean"] * 2
    assert [row.theirs for row in compared.rows] == [1, 0]
