"""Reads from a table what its split depends on. Decides no part."""

import polars as pl

from training.config import Table
from training.data.columns import find, texts_of, times
from training.data.file import TableError
from training.data.rows import Rows
from training.data.splits import Sorted, Texts


def criteria(frame: pl.DataFrame, rows: Rows, table: Table) -> Sorted:
    """The rows in order with the columns that a split looks at. Raises TableError."""
    return Sorted(
        rows.sequences,
        rows.order,
        marks=_texts(frame, table.split_column, "--split-column", rows),
        groups=_texts(frame, table.group_column, "--group-column", rows),
        times=None if rows.times is None else rows.times.values,
        test_from=None if table.test_from is None else _time(table.test_from, rows),
    )


def _texts(frame: pl.DataFrame, name: str | None, flag: str, rows: Rows) -> Texts | None:
    """A column as texts in the order of the rows."""
    return None if name is None else texts_of(find(frame, name, flag)).to_numpy().astype(object)[rows.order]


def _time(text: str, rows: Rows) -> float:
    """A time in the unit of the time column."""
    if rows.times is None:
        raise TableError("--test-from requires --time-column")
    try:
        read = times(pl.Series("--test-from", [text]))
    except TableError as error:
        raise TableError(f"--test-from {text!r} is not a time (ISO 8601, or a number)") from error
    if read.has_unit != rows.times.has_unit:
        kinds = ("a number", "a time (ISO 8601)")
        raise TableError(
            f"--test-from {text!r} is {kinds[read.has_unit]}, but the time column holds "
            f"{kinds[rows.times.has_unit]}"
        )
    return float(read.values[0])
