"""Baselines on data with known scores."""

import math
from dataclasses import replace

import numpy as np
import pytest

from tests.training.synthetic import data_of
from training.baselines import measure
from training.data import moby
from training.data.dataset import DataSet, Forecast, Input, Split, each_step
from training.data.series import ahead


def classes(train: list[list[list[float]]], test: list[list[list[float]]], targets: list[int]) -> DataSet:
    def split(rows: list[list[list[float]]]) -> Split:
        return Split(tuple(np.array(row, np.float32) for row in rows), np.array(targets))

    data = data_of("classify")
    return replace(data, inputs=(Input(features=("a",)),), train=split(train), test=split(test))


def test_the_nearest_sequence_is_found_at_any_pace() -> None:
    slow_or_late = [[[0.0], [0.0], [0.0], [9.0]], [[5.0], [5.0], [2.0]], [[0.0], [9.0], [9.0]]]
    scores = measure(
        classes([[[0.0], [9.0]], [[5.0], [2.0]], [[0.0], [9.0], [8.9]]], slow_or_late, [0, 1, 0])
    )
    assert scores["nearest by DTW"] == {"accuracy": 1.0}
    assert scores["majority"]["accuracy"] == pytest.approx(2 / 3)


def test_persistence_and_the_seasonal_baseline_match_their_definitions() -> None:
    values = np.array([1, 2, 4, 1, 2, 4, 1, 2, 4], np.float32)
    split = Split((values[:, None],), each_step([ahead(values, (1,))]))
    forecast = Forecast(columns=(0,), horizons=(1,), names=("+1",), season=3)
    data = replace(
        data_of("forecast"),
        inputs=(Input(features=("a",)),),
        labels=("a",),
        forecast=forecast,
        train=split,
        test=split,
    )
    scores = measure(data)
    change = np.diff(values)
    assert scores["persistence"]["error"] == pytest.approx(math.sqrt((change**2).mean()))
    assert scores["persistence"]["mae_a_+1"] == pytest.approx(np.abs(change).mean())
    assert scores["seasonal naive"]["error"] == 0


def test_the_drift_is_the_change_over_one_season() -> None:
    values = np.array([1, 2, 4, 11, 12, 14, 21, 22, 24], np.float32)
    split = Split((values[:, None],), each_step([ahead(values, (1,))]))
    data = replace(
        data_of("forecast"), inputs=(Input(features=("a",)),), labels=("a",), train=split, test=split,
        forecast=Forecast(columns=(0,), horizons=(1,), names=("+1",), season=3),
    )  # fmt: skip
    scores = measure(data)
    assert scores["seasonal naive"]["error"] == 10
    assert scores["seasonal naive with drift"]["error"] == 0


def test_ngrams_with_too_many_counts_are_skipped() -> None:
    tokens = np.zeros((4, 1), np.float32)
    split = Split((tokens,), each_step([tokens[:, 0].astype(np.int64)]))
    labels = tuple(str(number) for number in range(300))
    scores = measure(replace(data_of("language"), labels=labels, train=split, test=split))
    assert list(scores) == ["1-grams", "2-grams"]


def test_persistence_replaces_a_missing_value_by_the_last_observed_one() -> None:
    x = np.array([3, np.nan, np.nan, 5], np.float32)
    split = Split((x[:, None],), each_step([np.array([[3.0], [3], [3], [6]], np.float32)]))
    forecast = Forecast(columns=(0,), horizons=(1,), names=("+1",))
    data = replace(
        data_of("forecast"), inputs=(Input(features=("a",), has_gaps=True),), labels=("a",),
        forecast=forecast, train=split, test=split,
    )  # fmt: skip
    assert measure(data)["persistence"]["error"] == pytest.approx(0.5)


def test_a_certain_token_costs_few_bits_and_a_random_one_log2_of_the_count() -> None:
    scores = measure(moby.data_of("ab" * 5000))
    assert scores["1-grams"]["bits"] == pytest.approx(1, abs=0.01)
    assert scores["2-grams"]["bits"] < 0.01


def test_steps_and_texts_have_baselines_of_their_own() -> None:
    assert set(measure(data_of("language"))) == {"1-grams", "2-grams", "3-grams"}
    words = replace(
        data_of("classify"),
        inputs=(Input(kind="token", vocabulary=("x", "y")),),
        train=Split(tuple(np.full((3, 1), row % 2, np.float32) for row in range(8)), np.arange(8) % 2),
        test=Split((np.zeros((2, 1), np.float32), np.ones((2, 1), np.float32)), np.array([0, 1])),
    )
    assert measure(words)["TF-IDF, logistic regression"] == {"accuracy": 1.0}


def test_each_label_has_baselines_of_its_own() -> None:
    data = data_of("multilabel")
    measured = measure(data)
    assert list(measured) == ["majority of each label", "every label", "logistic regression of a step"]
    truth = np.concatenate(data.test.targets)
    shares = np.nansum(truth, axis=0) / (~np.isnan(truth)).sum(axis=0)
    assert measured["every label"]["macro_f1"] == pytest.approx(float((2 * shares / (1 + shares)).mean()))
    whole = replace(data, train=_at_the_end(data.train), test=_at_the_end(data.test))
    assert "summary, logistic regression" in measure(whole)


def _at_the_end(split: Split) -> Split:
    """Each sequence with the labels of its last step, and no gaps."""
    return Split(
        tuple(np.nan_to_num(sequence) for sequence in split.sequences),
        np.stack([target[-1] for target in split.targets]),
    )
