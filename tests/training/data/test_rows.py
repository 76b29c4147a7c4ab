"""Rows of a table: sorted by id and time, targets from the same part."""

from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.manifest import TimeSpec
from training.config import Table
from training.data.columns import Column, typed
from training.data.file import TableError
from training.data.rows import (
    Rows,
    check_labels,
    classes,
    future_values,
    in_order,
    spacing,
    task_of,
)
from training.data.splits import LEAST, Parts, Sorted, split_sequences
from training.data.times import Times

SECONDS, NUMBER = (TimeSpec(column="t", format=name) for name in ("seconds", "number"))


def table(**fields: Any) -> Table:
    return Table(path="", sha256="", targets=("y",), **fields)


def sorted_rows(
    lengths: list[int], *, times: NDArray[np.float64] | None = None, has_unit: bool = True
) -> Rows:
    """Rows that are in order already: sequences of these lengths."""
    ends = np.cumsum([0, *lengths])
    sequences = [slice(int(a), int(b)) for a, b in pairwise(ends)]
    when = None if times is None else Times(times, SECONDS if has_unit else NUMBER)
    return Rows(np.arange(ends[-1]), sequences, [f"s{number}" for number in range(len(lengths))], when)


def parts_of(rows: Rows, share: float) -> Parts:
    """The parts of a table without options."""
    return split_sequences(Sorted(rows.sequences, rows.order), table(test=share))


def numbers(values: list[float | None], name: str = "y") -> Column:
    return typed(pl.Series(name, values, dtype=pl.Float64))


def texts(values: list[str | None], name: str = "y") -> Column:
    return typed(pl.Series(name, values, dtype=pl.String), is_category=True)


def members(part: list[slice]) -> set[int]:
    """The numbers of the rows in a part."""
    return {row for one in part for row in range(one.start, one.stop)}


IDS = st.lists(st.sampled_from(["a", "b", "ab", "10", "9"]), min_size=1, max_size=30)


@given(IDS, st.randoms(use_true_random=False))
def test_rows_are_sorted_by_id_then_time_and_every_row_is_in_one_sequence(
    ids: list[str], random: Any
) -> None:
    times = list(range(len(ids)))
    random.shuffle(times)
    frame = pl.DataFrame({"id": ids, "t": times, "y": [0.0] * len(ids)})
    rows = in_order(frame, table(id_column="id", time_column="t"))
    assert sorted(rows.order.tolist()) == list(range(len(ids)))
    assert members(rows.sequences) == set(range(len(ids)))
    assert rows.ids == sorted(set(ids))
    assert rows.times is not None
    for one, name in zip(rows.sequences, rows.ids, strict=True):
        assert {ids[row] for row in rows.order[one]} == {name}
        assert (np.diff(rows.times.values[one]) > 0).all()


def test_without_id_and_time_the_file_is_one_sequence_in_its_order() -> None:
    rows = in_order(pl.DataFrame({"y": [3.0, 1.0, 2.0]}), table())
    assert rows.order.tolist() == [0, 1, 2]
    assert (rows.sequences, rows.ids, rows.times) == ([slice(0, 3)], [""], None)


def test_rows_with_equal_times_stay_in_the_order_of_the_file() -> None:
    frame = pl.DataFrame({"t": [2, 1, 2, 1], "y": [0.0, 1.0, 2.0, 3.0]})
    assert in_order(frame, table(time_column="t")).order.tolist() == [1, 3, 0, 2]


def test_numeric_ids_are_ids_too() -> None:
    frame = pl.DataFrame({"id": [2, 1, 2], "y": [0.0, 1.0, 2.0]})
    rows = in_order(frame, table(id_column="id"))
    assert (rows.ids, rows.order.tolist()) == (["1", "2"], [1, 0, 2])


def test_the_error_for_a_missing_id_names_the_row_of_the_file() -> None:
    frame = pl.DataFrame({"id": ["a", None, "b"], "y": [0.0, 1.0, 2.0]})
    with pytest.raises(TableError, match="row 3, column 'id': the id is missing"):
        in_order(frame, table(id_column="id"))


def test_a_column_is_sorted_like_the_rows() -> None:
    rows = Rows(np.array([2, 0, 1]), [slice(0, 3)], [""], None)
    assert rows.sorted(numbers([10.0, 20.0, 30.0])).tolist() == [30, 10, 20]


@pytest.mark.parametrize(
    ("targets", "task"),
    [
        ([numbers([1, 2, 3, 4])], "forecast"),
        ([numbers([1, 2, 3, 4]), numbers([4, 3, 2, 1])], "forecast"),
        ([texts(["a", "a", "b", "b"])], "classify"),
        ([texts(["a", "b", "b", "b"])], "label"),
        ([texts(["a", None, "b", "b"])], "label"),
    ],
)
def test_the_target_decides_the_task(targets: list[Column], task: str) -> None:
    assert task_of(targets, sorted_rows([2, 2])) == task


def test_classes_are_numbered_in_the_order_of_their_names_and_unlabelled_steps_are_unknown() -> None:
    codes = classes("label", texts(["b", None, "a", "b"]), sorted_rows([4]))
    assert codes.tolist() == [1, -1, 0, 1]


@pytest.mark.parametrize("second", ["b", None])
def test_a_sequence_with_two_classes_is_refused(second: str | None) -> None:
    rows = Rows(np.array([3, 1, 0, 2]), [slice(0, 2), slice(2, 4)], ["x", "y"], None)
    target = texts(["b", second, "b", "a"])  # of x, in order: a and then `second`
    with pytest.raises(TableError, match=rf"row 3, .*: {second!r}, but sequence 'x' starts with 'a'"):
        classes("classify", target, rows)


@pytest.mark.parametrize("values", [["a", "a"], [None, None]])
def test_one_class_is_not_enough(values: list[str | None]) -> None:
    with pytest.raises(TableError, match="there is only one class"):
        classes("label", texts(values), sorted_rows([2]))


def test_equally_spaced_training_steps_have_no_gap_feature() -> None:
    times = np.array([0.0, 60, 120, 180, 1000])
    rows = sorted_rows([5], times=times)
    in_training = spacing(rows, np.array([True, True, True, True, False]))
    in_all = spacing(rows, np.ones(5, bool))
    assert in_training is not None and in_all is not None
    assert (in_training.is_equal, in_training.usual, in_training.unit) == (True, 1, "min")
    assert not in_all.is_equal
    assert spacing(sorted_rows([5]), np.ones(5, bool)) is None, "without times"


@pytest.mark.parametrize(
    ("seconds", "unit", "size"),
    [(86400, "d", 86400), (7200, "h", 3600), (90, "min", 60), (5, "s", 1), (0.25, "s", 1)],
)
def test_the_unit_of_the_gap_suits_the_usual_spacing(seconds: float, unit: str, size: float) -> None:
    times = seconds * np.array([0.0, 1, 2, 3, 7, 0, 1, 2])
    since = spacing(sorted_rows([5, 3], times=times), np.ones(8, bool))
    assert since is not None
    assert since.unit == unit
    np.testing.assert_allclose(since.values, seconds / size * np.array([0, 1, 1, 1, 4, 0, 1, 1]))


def test_gaps_of_plain_numbers_have_no_unit() -> None:
    since = spacing(sorted_rows([3], times=np.array([0.0, 100, 500]), has_unit=False), np.ones(3, bool))
    assert since is not None
    assert (since.unit, since.values.tolist()) == ("", [0, 100, 400])


def test_a_spacing_that_varies_by_less_than_a_percent_is_equal() -> None:
    rows = sorted_rows([4], times=np.array([0.0, 100, 200.5, 300]))
    spaced = spacing(rows, np.ones(4, bool))
    assert spaced is not None
    assert spaced.is_equal


def test_sequences_of_one_step_have_no_usual_spacing() -> None:
    spaced = spacing(sorted_rows([1, 1], times=np.array([0.0, 60])), np.ones(2, bool))
    assert spaced is not None
    assert (spaced.usual, spaced.is_equal, spaced.unit) == (None, True, "s")


@given(
    st.lists(st.integers(LEAST, 30), min_size=1, max_size=4),
    st.lists(st.integers(1, 2), min_size=1, max_size=2, unique=True),
)
def test_a_future_value_is_in_the_same_part_or_unknown(lengths: list[int], horizons: list[int]) -> None:
    rows = sorted_rows(lengths)
    count = sum(lengths)
    value = numbers([float(row) for row in range(count)])
    parts = parts_of(rows, 0.4)
    if min(one.stop - one.start for part in parts for one in part) <= max(horizons):
        return
    future = future_values([value], rows, parts, tuple(horizons))
    assert future.shape == (count, len(horizons))
    for part in parts:
        for one in part:
            for row in range(one.start, one.stop):
                for column, steps in enumerate(horizons):
                    expected = row + steps if row + steps < one.stop else np.nan
                    np.testing.assert_equal(future[row, column], np.float32(expected))


def test_the_future_of_several_targets_is_side_by_side() -> None:
    rows = sorted_rows([30])
    parts = parts_of(rows, 0.2)
    first, second = numbers([float(n) for n in range(30)]), numbers([float(n % 7) for n in range(30)], "z")
    future = future_values([first, second], rows, parts, (1, 2))
    assert future[0].tolist() == [1, 2, 1, 2]
    assert future[8].tolist() == [9, 10, 2, 3]


def test_a_target_without_training_values_is_refused() -> None:
    rows = sorted_rows([30])
    values = [None] * 18 + [float(n) for n in range(12)]
    with pytest.raises(TableError, match="column 'y': the training part has no values"):
        future_values([numbers(values)], rows, parts_of(rows, 0.2), (1,))


def test_a_part_without_labels_is_refused() -> None:
    rows = sorted_rows([30])
    parts = parts_of(rows, 0.2)
    codes = np.zeros(30, np.int64)
    check_labels(texts(["a"] * 30), codes, parts)
    codes[parts.test[0]] = -1
    with pytest.raises(TableError, match="column 'y': the test part has no class at any step"):
        check_labels(texts(["a"] * 30), codes, parts)
