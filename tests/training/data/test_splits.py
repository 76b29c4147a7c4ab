"""Splits: parts that are disjoint, complete, and a function of the sequences."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.config import Table
from training.data.file import TableError
from training.data.splits import (
    EACH,
    LEAST,
    STRIDE,
    WINDOW,
    Parts,
    Sorted,
    Target,
    split_sequences,
    windows,
)


def sequences_of(lengths: list[int]) -> list[slice]:
    """Consecutive sequences of these lengths."""
    return [slice(int(a), int(b)) for a, b in pairwise(np.cumsum([0, *lengths]))]


def split(sequences: list[slice], share: float = 0.2, *, target: Target = Target(), **options: Any) -> Parts:  # noqa: B008
    """The parts of sequences, rows in the order of the file; `options` of the table or of the rows."""
    of_rows: dict[str, Any] = {
        name: options.pop(name) for name in ("marks", "groups", "times") if name in options
    }
    if "test_from" in options:
        of_rows["test_from"] = float(options["test_from"])
    rows = Sorted(sequences, np.arange(sequences[-1].stop), **of_rows)
    return split_sequences(rows, Table(path="", sha256="", targets=("y",), test=share, **options), target)


def texts(values: list[Any]) -> np.ndarray[tuple[int], np.dtype[np.object_]]:
    return np.array(values, dtype=object)


def members(part: list[slice]) -> set[int]:
    """The numbers of the rows in a part."""
    return {row for one in part for row in range(one.start, one.stop)}


@given(
    st.lists(st.integers(1, 5), min_size=LEAST, max_size=40),
    st.floats(0.05, 0.4),
)
def test_parts_of_many_sequences_are_disjoint_and_complete(lengths: list[int], share: float) -> None:
    sequences = sequences_of(lengths)
    parts = split(sequences, share)
    covered = [members(part) for part in parts]
    assert set.union(*covered) == set(range(sum(lengths)))
    assert sum(map(len, covered)) == sum(lengths)
    assert all(part for part in parts)
    assert len(parts.test) == max(1, round(share * len(lengths)))
    assert split(sequences, share) == parts, "the split is a function of the rows"


@given(st.lists(st.integers(LEAST, 60), min_size=1, max_size=LEAST - 1), st.floats(0.1, 0.4))
def test_few_sequences_are_split_by_time(lengths: list[int], share: float) -> None:
    sequences = sequences_of(lengths)
    parts = split(sequences, share)
    assert set.union(*(members(part) for part in parts)) == set(range(sum(lengths)))
    for one, *pieces in zip(sequences, *parts, strict=True):
        assert [piece.start for piece in pieces] == [one.start, pieces[0].stop, pieces[1].stop]
        assert pieces[2].stop == one.stop


def test_a_short_sequence_cannot_be_split_by_time() -> None:
    with pytest.raises(TableError, match=rf"at least {LEAST} steps each; the shortest of 2 has 9"):
        split(sequences_of([30, 9]))


def test_each_part_has_the_same_share_of_every_class() -> None:
    codes = np.array([0] * 30 + [1] * 10)
    parts = split(sequences_of([1] * 40), target=Target(True, ("a", "b"), codes))
    counts = [np.bincount(codes[sorted(members(part))], minlength=2).tolist() for part in parts]
    assert counts == [[19, 6], [5, 2], [6, 2]]


def test_a_rare_class_is_named() -> None:
    codes = np.array([0] * 20 + [1] * (EACH - 1))
    with pytest.raises(TableError, match=r"22 sequences: .* are needed; 'rare' has 2"):
        split(sequences_of([1] * 22), target=Target(True, ("usual", "rare"), codes))


@given(st.integers(1, 2000))
def test_windows_cover_a_sequence_and_overlap_by_half(steps: int) -> None:
    cut = windows([slice(7, 7 + steps)])
    assert members(cut) == set(range(7, 7 + steps))
    assert all(one.stop - one.start <= WINDOW for one in cut)
    assert [one.start for one in cut] == [7 + STRIDE * number for number in range(len(cut))]
    assert len(cut) == 1 or cut[-2].stop < 7 + steps, "no window without a new step"


def test_in_training_marks_the_rows_of_the_training_part() -> None:
    parts = Parts([slice(0, 2), slice(4, 5)], [slice(2, 3)], [slice(3, 4)])
    assert parts.in_training(6).tolist() == [True, True, False, False, True, False]


def test_many_sequences_are_cut_by_time_on_request_and_few_are_dealt_out() -> None:
    parts = split(sequences_of([20] * 12), split_by="time")
    assert [len(part) for part in parts] == [12, 12, 12]
    parts = split(sequences_of([2, 3, 4]), split_by="sequences")
    assert sorted(map(str, parts.train + parts.validation + parts.test)) == sorted(
        map(str, sequences_of([2, 3, 4]))
    )


def test_a_whole_sequence_is_never_cut() -> None:
    codes = np.repeat([0, 1], 100)
    with pytest.raises(
        TableError, match="--split-by time cuts each sequence, but the target belongs to a whole"
    ):
        split(sequences_of([20] * 10), split_by="time", target=Target(True, ("a", "b"), codes))


@given(st.lists(st.integers(0, 6), min_size=12, max_size=40), st.sampled_from([0, 2, 3, 4]))
def test_the_sequences_of_a_group_stay_in_one_part(groups: list[int], folds: int) -> None:
    sequences = sequences_of([2] * len(groups))
    if len(set(groups)) < max(EACH, folds + 1):
        return
    for fold in range(max(1, folds)):
        parts = split(
            sequences, groups=texts(np.repeat(groups, 2).tolist()), group_column="g", folds=folds, fold=fold
        )
        found = [{groups[row // 2] for row in members(part)} for part in parts]
        assert set.union(*found) == set(groups)
        assert sum(map(len, found)) == len(set(groups))
        assert all(found)


def test_a_sequence_in_two_groups_is_refused() -> None:
    with pytest.raises(TableError, match="row 5, column 'g': 'b', but its sequence starts with 'a'"):
        split(sequences_of([2, 2]), groups=texts(["a", "a", "a", "b"]), group_column="g")


def test_few_groups_are_refused() -> None:
    with pytest.raises(TableError, match="2 groups: at least 3 are needed"):
        split(sequences_of([1] * 12), groups=texts(["a", "b"] * 6), group_column="g")


@given(st.integers(2, 6), st.integers(10, 30))
def test_each_sequence_is_in_the_test_part_of_one_fold(folds: int, count: int) -> None:
    sequences = sequences_of([1] * count)
    codes = np.arange(count) % 2
    if count // 2 <= folds:
        return
    tested = [
        members(split(sequences, folds=folds, fold=fold, target=Target(True, ("a", "b"), codes)).test)
        for fold in range(folds)
    ]
    assert set.union(*tested) == set(range(count))
    assert sum(map(len, tested)) == count
    for part in tested:
        sizes = np.bincount(codes[sorted(part)], minlength=2)
        assert abs(int(sizes[0]) - int(sizes[1])) <= 1, "each fold has its share of every class"


def test_folds_of_a_series_train_on_the_past_alone() -> None:
    [sequence] = sequences_of([50])
    parts = [split([sequence], folds=3, fold=fold) for fold in range(3)]
    assert [(one.train, one.validation, one.test) for one in parts] == [
        ([slice(0, 10)], [slice(10, 20)], [slice(20, 30)]),
        ([slice(0, 20)], [slice(20, 30)], [slice(30, 40)]),
        ([slice(0, 30)], [slice(30, 40)], [slice(40, 50)]),
    ]


def test_a_column_names_the_parts_in_any_case_and_a_sequence_may_be_cut() -> None:
    marks = texts(["train"] * 4 + ["Val"] * 2 + ["TEST"] * 2)
    assert split(sequences_of([8]), marks=marks, split_column="s") == Parts(
        [slice(0, 4)], [slice(4, 6)], [slice(6, 8)]
    )
    again = split(sequences_of([4, 4]), marks=texts(["train", "test", "train", "dev"] * 2), split_column="s")
    assert again.train == [slice(0, 1), slice(2, 3), slice(4, 5), slice(6, 7)]


def test_a_validation_part_that_no_column_names_is_held_out() -> None:
    marks = texts(["train"] * 10 + ["test"] * 2)
    parts = split(sequences_of([12]), marks=marks, split_column="s")
    assert parts == Parts([slice(0, 8)], [slice(8, 10)], [slice(10, 12)])
    parts = split(sequences_of([1] * 12), marks=marks, split_column="s")
    assert (len(parts.train), len(parts.validation)) == (8, 2)
    assert members(parts.test) == {10, 11}


@pytest.mark.parametrize(
    ("marks", "complaint"),
    [
        (
            ["train", "trian", "test"],
            "row 3, column 's': 'trian' names no part; expected train, validation or",
        ),
        (["train", None, "test"], "row 3, column 's': None names no part"),
        (["train", "val", "val"], "the test part would be empty"),
        (["test", "val", "val"], "the training part would be empty"),
    ],
)
def test_a_column_that_names_no_part_is_refused(marks: list[Any], complaint: str) -> None:
    with pytest.raises(TableError, match=complaint):
        split(sequences_of([3]), marks=texts(marks), split_column="s")


def test_a_whole_sequence_in_two_parts_is_refused() -> None:
    with pytest.raises(TableError, match="row 3, column 's': the target belongs to a whole sequence"):
        split(
            sequences_of([2]), marks=texts(["train", "test"]), split_column="s", target=Target(is_whole=True)
        )


@given(st.lists(st.integers(2, 20), min_size=1, max_size=12), st.booleans(), st.integers(0, 99))
def test_nothing_that_trains_is_later_than_what_validates_or_tests(
    lengths: list[int], is_whole: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    sequences = sequences_of(lengths)
    times = np.concatenate([np.sort(rng.integers(0, 50, length)).astype(float) for length in lengths])
    try:
        parts = split(sequences, times=times, test_from="30", time_column="t", target=Target(is_whole))
    except TableError:
        return
    train, validation, test = (times[sorted(members(part))] for part in parts)
    assert train.max() < validation.min() or is_whole
    assert validation.max() < 30
    assert train.max() <= validation.max()
    assert test.max() >= 30
    if is_whole:
        assert {one.start for part in parts for one in part} <= {one.start for one in sequences}
    else:
        assert test.min() >= 30


def test_a_date_before_or_after_all_rows_is_refused() -> None:
    for date, side in (("0", "earlier"), ("99", "later")):
        with pytest.raises(TableError, match=f"--test-from {date}: no row is {side}"):
            split(sequences_of([5]), times=np.arange(5.0), test_from=date, time_column="t")


def test_options_that_exclude_each_other_are_named() -> None:
    with pytest.raises(TableError, match="--split-column and --folds exclude each other"):
        split(sequences_of([5]), marks=texts(["a"] * 5), split_column="s", folds=2)
    with pytest.raises(TableError, match="--group-column has no effect with --split-column"):
        split(sequences_of([5]), marks=texts(["a"] * 5), split_column="s", group_column="g")


def test_with_a_test_file_the_table_has_two_parts() -> None:
    parts = split(sequences_of([10]), test_data="other.csv")
    assert parts == Parts([slice(0, 8)], [slice(8, 10)], [])
    parts = split(sequences_of([1] * 20), test_data="other.csv")
    assert (len(parts.train), len(parts.validation), parts.test) == (16, 4, [])
