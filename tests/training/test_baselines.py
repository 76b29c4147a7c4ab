"""Baselines: on data whose answer is known."""

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

    made = data_of("classify")
    return replace(made, inputs=(Input(features=("a",)),), train=split(train), test=split(test))


def test_the_nearest_sequence_is_found_at_any_pace() -> None:
    slow_or_late = [[[0.0], [0.0], [0.0], [9.0]], [[5.0], [5.0], [2.0]], [[0.0], [9.0], [9.0]]]
    found = measure(classes([[[0.0], [9.0]], [[5.0], [2.0]], [[0.0], [9.0], [8.9]]], slow_or_late, [0, 1, 0]))
    assert found["nearest by DTW"] == {"accuracy": 1.0}
    assert found["majority"]["accuracy"] == pytest.approx(2 / 3)


def test_persistence_and_the_season_are_those_of_the_definition() -> None:
    values = np.array([1, 2, 4, 1, 2, 4, 1, 2, 4], np.float32)
    split = Split((values[:, None],), each_step([ahead(values, (1,))]))
    told = Forecast(columns=(0,), horizons=(1,), names=("+1",), season=3)
    made = replace(
        data_of("forecast"),
        inputs=(Input(features=("a",)),),
        labels=("a",),
        forecast=told,
        train=split,
        test=split,
    )
    found = measure(made)
    gone = np.diff(values)
    assert found["persistence"]["error"] == pytest.approx(math.sqrt((gone**2).mean()))
    assert found["persistence"]["mae_a_+1"] == pytest.approx(np.abs(gone).mean())
    assert found["seasonal naive"]["error"] == 0


def test_the_season_drifts_by_what_a_season_has_changed() -> None:
    values = np.array([1, 2, 4, 11, 12, 14, 21, 22, 24], np.float32)
    split = Split((values[:, None],), each_step([ahead(values, (1,))]))
    made = replace(
        data_of("forecast"), inputs=(Input(features=("a",)),), labels=("a",), train=split, test=split,
        forecast=Forecast(columns=(0,), horizons=(1,), names=("+1",), season=3),
    )  # fmt: skip
    found = measure(made)
    assert found["seasonal naive"]["error"] == 10
    assert found["seasonal naive with drift"]["error"] == 0


def test_counts_of_more_ngrams_than_can_be_kept_are_left_out() -> None:
    tokens = np.zeros((4, 1), np.float32)
    split = Split((tokens,), each_step([tokens[:, 0].astype(np.int64)]))
    labels = tuple(str(number) for number in range(300))
    found = measure(replace(data_of("language"), labels=labels, train=split, test=split))
    assert list(found) == ["1-grams", "2-grams"]


def test_a_missing_value_is_told_as_it_was_last_seen() -> None:
    x = np.array([3, np.nan, np.nan, 5], np.float32)
    split = Split((x[:, None],), each_step([np.array([[3.0], [3], [3], [6]], np.float32)]))
    told = Forecast(columns=(0,), horizons=(1,), names=("+1",))
    made = replace(
        data_of("forecast"), inputs=(Input(features=("a",), has_gaps=True),), labels=("a",), forecast=told,
        train=split, test=split,
    )  # fmt: skip
    assert measure(made)["persistence"]["error"] == pytest.approx(0.5)


def test_what_is_certain_costs_few_bits_and_chance_log2_of_the_kinds() -> None:
    found = measure(moby.data_of("ab" * 5000))
    assert found["1-grams"]["bits"] == pytest.approx(1, abs=0.01)
    assert found["2-grams"]["bits"] < 0.01


def test_steps_and_texts_have_baselines_of_their_own() -> None:
    assert set(measure(data_of("language"))) == {"1-grams", "2-grams", "3-grams"}
    words = replace(
        data_of("classify"),
        inputs=(Input(kind="token", vocabulary=("x", "y")),),
        train=Split(tuple(np.full((3, 1), row % 2, np.float32) for row in range(8)), np.arange(8) % 2),
        test=Split((np.zeros((2, 1), np.float32), np.ones((2, 1), np.float32)), np.array([0, 1])),
    )
    assert measure(words)["TF-IDF, logistic regression"] == {"accuracy": 1.0}
