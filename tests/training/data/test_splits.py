"""Splits: parts that are disjoint, complete, and a function of the sequences."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.file import TableError
from training.data.splits import EACH, LEAST, STRIDE, WINDOW, Parts, split_sequences, windows


def sequences_of(lengths: list[int]) -> list[slice]:
    """Consecutive sequences of these lengths."""
    return [slice(int(a), int(b)) for a, b in pairwise(np.cumsum([0, *lengths]))]


def members(part: list[slice]) -> set[int]:
    """The numbers of the rows in a part."""
    return {row for one in part for row in range(one.start, one.stop)}


@given(
    st.lists(st.integers(1, 5), min_size=LEAST, max_size=40),
    st.floats(0.05, 0.4),
)
def test_parts_of_many_sequences_are_disjoint_and_complete(lengths: list[int], share: float) -> None:
    sequences = sequences_of(lengths)
    parts = split_sequences(sequences, share)
    covered = [members(part) for part in parts]
    assert set.union(*covered) == set(range(sum(lengths)))
    assert sum(map(len, covered)) == sum(lengths)
    assert all(part for part in parts)
    assert len(parts.test) == max(1, round(share * len(lengths)))
    assert split_sequences(sequences, share) == parts, "the split is a function of the rows"


@given(st.lists(st.integers(LEAST, 60), min_size=1, max_size=LEAST - 1), st.floats(0.1, 0.4))
def test_few_sequences_are_split_by_time(lengths: list[int], share: float) -> None:
    sequences = sequences_of(lengths)
    parts = split_sequences(sequences, share)
    assert set.union(*(members(part) for part in parts)) == set(range(sum(lengths)))
    for one, *pieces in zip(sequences, *parts, strict=True):
        assert [piece.start for piece in pieces] == [one.start, pieces[0].stop, pieces[1].stop]
        assert pieces[2].stop == one.stop


def test_a_short_sequence_cannot_be_split_by_time() -> None:
    with pytest.raises(TableError, match=rf"at least {LEAST} steps each; the shortest of 2 has 9"):
        split_sequences(sequences_of([30, 9]), 0.2)


def test_each_part_has_the_same_share_of_every_class() -> None:
    codes = np.array([0] * 30 + [1] * 10)
    parts = split_sequences(sequences_of([1] * 40), 0.2, labels=("a", "b"), codes=codes)
    counts = [np.bincount(codes[sorted(members(part))], minlength=2).tolist() for part in parts]
    assert counts == [[19, 6], [5, 2], [6, 2]]


def test_a_rare_class_is_named() -> None:
    codes = np.array([0] * 20 + [1] * (EACH - 1))
    with pytest.raises(TableError, match=r"22 sequences: .* are needed; 'rare' has 2"):
        split_sequences(sequences_of([1] * 22), 0.2, labels=("usual", "rare"), codes=codes)


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
