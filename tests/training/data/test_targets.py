"""What is predicted follows from the target columns, and is computed for each row."""

from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pytest

from training.config import Table
from training.data.columns import Column, typed
from training.data.file import TableError
from training.data.rows import Rows
from training.data.splits import Parts
from training.data.targets import Targets, are_whole, numbers, targets_of, truth_of

NAN = np.nan


def sequences(*lengths: int) -> Rows:
    """Sequences of these lengths, in the order of the file."""
    ends = np.cumsum([0, *lengths]).tolist()
    parts = [slice(a, b) for a, b in pairwise(ends)]
    return Rows(np.arange(ends[-1]), parts, [str(number) for number in range(len(lengths))], None)


def column(values: list[Any], name: str = "y") -> Column:
    return typed(pl.Series(name, values, strict=False))


def chosen(values: list[Any], rows: Rows, **fields: Any) -> Targets:
    table = Table(path="", sha256="", targets=("y",), **fields)
    return targets_of(table, {"y": column(values)}, rows, rows)


def test_numbers_of_whole_sequences_are_regressed_and_others_forecast() -> None:
    rows = sequences(2, 2, 1)
    whole = chosen([0.5, 0.5, None, 1.5, 2.5], rows)
    assert (whole.task, whole.is_whole, whole.labels) == ("regress", True, ("y",))
    assert not whole.are_inputs
    assert chosen([0.5, 1, 2, 3, 4], rows).task == "forecast"
    assert chosen([0.5, 1, 2, 3, 4], rows).are_inputs
    each = chosen([0.5, 1, 2, 3, 4], rows, task="regress")
    assert (each.task, each.is_whole) == ("regress", False)
    assert not are_whole([column([1.5, 1.5])], sequences(2)), "one sequence has no other to learn from"


def test_few_whole_numbers_of_sequences_may_be_classes_and_are_not_guessed() -> None:
    rows = sequences(2, 2)
    with pytest.raises(TableError, match=r"is one of 2 whole numbers: --task classify .*, --task regress"):
        chosen([0.0, 0, 1, 1], rows)
    assert chosen([0.0, 0, 1, 1], rows, task="regress").is_whole


def test_texts_are_not_regressed() -> None:
    with pytest.raises(TableError, match="column 'y' has texts, but a regression needs numbers"):
        chosen(["a", "b"], sequences(2), task="regress")


def test_each_row_of_a_whole_sequence_has_its_value() -> None:
    values = numbers([column([None, 3.0, None, None])], sequences(2, 2), is_whole=True)
    np.testing.assert_equal(values.ravel(), [3, 3, NAN, NAN])
    values = numbers([column([None, 3.0])], sequences(2), is_whole=False)
    np.testing.assert_equal(values.ravel(), [NAN, 3])


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ([1.0, 1, 5, 6], "column 'y' is 1 in every row of the training part"),
        ([1.0, 2, None, 6], "column 'y': the validation part has no values"),
    ],
)
def test_a_number_that_cannot_be_learned_is_refused(values: list[Any], complaint: str) -> None:
    rows = sequences(4)
    parts = Parts([slice(0, 2)], [slice(2, 3)], [slice(3, 4)])
    targets = chosen(values, rows, task="regress")
    with pytest.raises(TableError, match=complaint):
        truth_of(targets, Table(path="", sha256="", targets=("y",)), rows, parts)
