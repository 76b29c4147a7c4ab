"""What a split looks at, read from the table in the order of its rows."""

from typing import Any

import polars as pl
import pytest

from training.config import Table
from training.data.criteria import criteria
from training.data.file import TableError
from training.data.rows import in_order
from training.data.splits import Sorted

FRAME = pl.DataFrame({
    "day": ["2016-01-03", "2016-01-01", "2016-01-02"], "n": ["3", "1", "2"], "part": ["test", "train", None],
    "y": [0.0, 1.0, 2.0],
})  # fmt: skip


def read(**fields: Any) -> Sorted:
    table = Table(path="", sha256="", targets=("y",), **fields)
    return criteria(FRAME, in_order(FRAME, table), table)


def test_columns_are_texts_in_the_order_of_the_rows() -> None:
    rows = read(time_column="day", split_column="part", group_column="n")
    assert rows.marks is not None
    assert rows.groups is not None
    assert (rows.marks.tolist(), rows.groups.tolist()) == (["train", None, "test"], ["1", "2", "3"])
    assert rows.file_rows.tolist() == [1, 2, 0]
    assert read()[2:] == (None,) * 4


def test_a_date_or_a_number_is_read_like_the_time_column() -> None:
    rows = read(time_column="day", test_from="2016-01-02")
    assert rows.times is not None
    assert rows.test_from is not None
    assert (rows.times >= rows.test_from).tolist() == [False, True, True]
    assert read(time_column="n", test_from="2.5").test_from == 2.5


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"test_from": "2016"}, "--test-from requires --time-column"),
        ({"test_from": "soon", "time_column": "day"}, "--test-from 'soon' is not a time"),
        (
            {"test_from": "7", "time_column": "day"},
            r"'7' is not a time as in column 'day' .ISO 8601, without",
        ),
        ({"test_from": "2016-01-02", "time_column": "n"}, "is not a time as in column 'n' .a number."),
        ({"split_column": "prt"}, "--split-column 'prt': there is no such column .* did you mean 'part'"),
    ],
)
def test_what_cannot_be_read_is_named(fields: dict[str, Any], complaint: str) -> None:
    with pytest.raises(TableError, match=complaint):
        read(**fields)
