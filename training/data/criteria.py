"""Reads from a table what its split depends on. Decides no part."""

import contextlib

import polars as pl

from training.config import Table
from training.data.columns import find, texts_of
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
    spec = rows.times.spec
    # A date is enough, whatever the format of the column.
    by_date = spec if spec.scale is not None else spec.model_copy(update={"format": "iso8601"})
    for one in (spec, by_date):
        with contextlib.suppress(ValueError):
            return one.seconds(text)
    zones = {None: ", without a zone", "offset": ", with a zone"} if spec.scale is None else {}
    raise TableError(
        f"--test-from {text!r} is not a time as in column {spec.column!r} ({spec.expected}"
        f"{zones.get(spec.zone, '')})"
    )
