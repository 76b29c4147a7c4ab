"""Appends the rows of a second file, to test on, to those of a table. Decides no part.

Its rows are sorted on their own: an id that is in both files names two sequences.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import polars as pl

from training.config import Table
from training.data.columns import Column
from training.data.file import MISSING, TableError, read
from training.data.rows import Rows, in_order

Columns = Mapping[str, Column]


def append(
    frame: pl.DataFrame,
    rows: Rows,
    table: Table,
    path: Path,
    sha256: str | None,
    columns_of: Callable[[pl.DataFrame], Columns],
) -> tuple[pl.DataFrame, Rows]:
    """Both files as one frame, and its rows in order: first the table's, then those of the file at `path`.

    `sha256`: its expected digest; None: any.
    Raises TableError for a file without the columns of the table, or with others types of values.
    """
    second = read(path, MISSING if table.missing is None else table.missing, sha256=sha256).frame
    used = [name for name in frame.columns if name not in (*table.ignore, table.split_column)]
    missing = [name for name in used if name not in second.columns]
    if missing:
        raise TableError(f"{path}: column {missing[0]!r} of {table.path} is missing")
    second = second.select([name for name in frame.columns if name in second.columns])
    try:
        columns, more = columns_of(second), in_order(second, _as_in(rows, table))
        if rows.times is not None and more.times is not None and more.times.spec != rows.times.spec:
            raise TableError(
                f"column {table.time_column!r}: the zone or the type of the times is not that of {table.path}"
            )
    except TableError as error:
        raise TableError(f"{path}: {error}") from error
    _check_kinds(columns_of(frame), columns, table, path)
    both = pl.concat([frame, second], how="diagonal_relaxed")
    return both, _joined(rows, more, len(frame), path)


def _as_in(rows: Rows, table: Table) -> Table:
    """The table with the format and the zone of its times stated, as in the rows that were read."""
    if rows.times is None:
        return table
    spec = rows.times.spec
    return table.model_copy(update={"time_format": spec.format, "time_zone": spec.zone})


def _check_kinds(columns: Columns, second: Columns, table: Table, path: Path) -> None:
    for name, column in second.items():
        own = columns[name]
        if not column.is_empty and not own.is_empty and column.kind != own.kind:
            raise TableError(
                f"{path}: column {name!r} is a {column.kind}, but a {own.kind} in {table.path}; "
                f"--categorical {name} reads both as categories"
            )
        if not column.is_empty and not own.is_empty and column.role != own.role:
            raise TableError(f"{path}: column {name!r} is a {column.role}, but a {own.role} in {table.path}")
        new = sorted(set(column.categories) - set(own.categories))
        if name in table.targets and new:
            what = "label" if table.task == "multilabel" else "class"
            raise TableError(f"{path}: column {name!r} has the {what} {new[0]!r}, which {table.path} has not")


def _joined(rows: Rows, more: Rows, offset: int, path: Path) -> Rows:
    count = len(rows.order)
    when = rows.times
    if when is not None and more.times is not None:
        when = when._replace(values=np.concatenate([when.values, more.times.values]))
    return Rows(
        np.concatenate([rows.order, more.order + offset]),
        [*rows.sequences, *(slice(one.start + count, one.stop + count) for one in more.sequences)],
        [*rows.ids, *more.ids],
        when,
        (*rows.notes, *(f"{path}: {note}" for note in more.notes)),
    )
