"""The form of a data set: inputs, splits, and shares of classes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.training.synthetic import data_of, encoded_data
from training.data.dataset import DataSet, Forecast, Input, Split, each_step, hold_out


@pytest.mark.parametrize(
    ("input_", "columns"),
    [
        (Input(features=("a", "b", "c")), 3),
        (Input(kind="image", features=("a", "b")), 2),
        (Input(kind="token", vocabulary=("x", "y", "z")), 1),
        (Input(kind="video", frame=(7, 5)), 35),
        (Input(), 0),
    ],
)
def test_an_input_has_as_many_columns_as_numbers_in_a_step(input_: Input, columns: int) -> None:
    assert input_.columns == columns


def test_an_input_has_another_name_in_the_graph_if_its_own_is_not_possible() -> None:
    assert Input("wind").in_graph == "wind"
    assert Input("h", tensor="category_0").in_graph == "category_0"


@pytest.mark.parametrize(
    "data", [data_of("forecast"), data_of("label"), encoded_data()], ids=lambda d: d.name
)
def test_synthetic_sequences_are_as_wide_as_their_inputs(data: DataSet) -> None:
    width = sum(input_.columns for input_ in data.inputs)
    assert {sequence.shape[1] for sequence in data.train.sequences} == {width}


def test_a_forecast_has_an_output_for_each_series_horizon_and_quantile() -> None:
    forecast = Forecast(columns=(0, 1), horizons=(1, 2, 3), names=("a", "b", "c"), quantiles=(0.1, 0.9))
    split = Split((), np.array([]))
    data = DataSet(
        "d", "", "", "", (), ("x", "y"), train=split, test=split, task="forecast", forecast=forecast
    )
    assert data.out == 2 * 3 * 2
    assert data_of("label").out == 2


def test_targets_of_every_step_are_one_object_for_each_sequence() -> None:
    targets = each_step([np.zeros(3), np.zeros(3)])
    assert targets.shape == (2,), "sequences of equal lengths are not stacked"
    assert targets.dtype == object
    assert [len(target) for target in each_step([np.zeros((2, 4)), np.zeros((5, 4))])] == [2, 5]


def test_a_split_counts_and_takes_sequences() -> None:
    sequences = tuple(np.full((row + 1, 1), row, np.float32) for row in range(4))
    split = Split(sequences, np.array([10, 11, 12, 13]))
    assert len(split) == 4
    taken = split.take(np.array([3, 0]))
    assert [len(sequence) for sequence in taken.sequences] == [4, 1]
    assert taken.targets.tolist() == [13, 10]


def test_a_target_for_each_step_must_fit_its_sequence() -> None:
    targets = each_step([np.zeros(2, np.int64), np.zeros(3, np.int64)])
    sequences = (np.zeros((2, 1), np.float32), np.zeros((2, 1), np.float32))
    with pytest.raises(ValueError, match="sequence 1: 2 steps, targets for 3"):
        Split(sequences, targets)


@given(st.integers(2, 40), st.floats(0.01, 0.9), st.integers(0, 5))
def test_sequences_with_targets_at_every_step_are_held_out_as_one_class(
    count: int, share: float, seed: int
) -> None:
    sequences = tuple(np.full((2, 1), row, np.float32) for row in range(count))
    split = Split(sequences, each_step([np.array([row % 2, 1]) for row in range(count)]))
    remaining, held_out = hold_out(split, share=share, seed=seed)
    assert len(held_out) == max(1, round(share * count))
    rows = [int(sequence[0, 0]) for part in (remaining, held_out) for sequence in part.sequences]
    assert sorted(rows) == list(range(count))
    assert all(
        target[0] == int(x[0, 0]) % 2 for x, target in zip(held_out.sequences, held_out.targets, strict=True)
    )


def test_another_seed_holds_out_other_sequences() -> None:
    split = Split(tuple(np.full((1, 1), row, np.float32) for row in range(50)), np.zeros(50, np.int64))
    first, same, other = (
        [float(x[0, 0]) for x in hold_out(split, share=0.2, seed=seed)[1].sequences] for seed in (0, 0, 1)
    )
    assert first == same != other


def split_of(counts: list[int]) -> Split:
    targets = np.repeat(np.arange(len(counts)), counts)
    return Split(tuple(np.full((1, 1), row, np.float32) for row in range(len(targets))), targets)


def rows_of(split: Split) -> list[int]:
    return [int(sequence[0, 0]) for sequence in split.sequences]


@given(st.lists(st.integers(2, 40), min_size=1, max_size=6), st.floats(0.05, 0.5), st.integers(0, 9))
def test_hold_out_takes_the_same_share_of_every_class(counts: list[int], share: float, seed: int) -> None:
    split = split_of(counts)
    remaining, held_out = hold_out(split, share=share, seed=seed)
    assert sorted(rows_of(remaining) + rows_of(held_out)) == list(range(len(split)))
    for target, count in enumerate(counts):
        assert (held_out.targets == target).sum() == max(1, round(share * count))
    again = hold_out(split, share=share, seed=seed)[1]
    assert rows_of(again) == rows_of(held_out)


def test_a_split_needs_a_target_for_each_sequence() -> None:
    with pytest.raises(ValueError, match="1 sequences for 2 targets"):
        Split((np.zeros((1, 1), np.float32),), np.array([0, 1]))
