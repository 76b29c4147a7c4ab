"""Columns with one value in each sequence: checked, filled, and proposed. Knows nothing of networks."""

from dataclasses import replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from training.config import Table
from training.data.columns import Column
from training.data.file import FIRST_ROW, TableError
from training.data.rows import Rows


def filled(column: Column, rows: Rows, in_training: NDArray[np.bool_]) -> tuple[Column, str | None]:
    """A static column with its value in every row of a sequence; and a note about sequences without one.

    A number that a sequence does not have is the mean of the training part; a category is missing.
    Raises TableError for a column that changes within a sequence.
    """
    texts = column.values.to_list()
    values: list[object] = [None] * len(texts)
    unknown = []
    for one in rows.sequences:
        own = rows.order[one].tolist()
        known = [row for row in own if texts[row] is not None]
        for row in known:
            if texts[row] != texts[known[0]]:
                raise TableError(
                    f"row {row + FIRST_ROW}, column {column.name!r}: {texts[row]}, but {texts[known[0]]} in "
                    f"row {known[0] + FIRST_ROW} of its sequence; --static columns have one value in each"
                )
        if not known:
            unknown.append(own[0])
        for row in own:
            values[row] = texts[known[0]] if known else None
    made = pl.Series(column.name, values, dtype=column.values.dtype)
    if column.kind == "category" or not unknown:
        return replace(column, values=made), None
    mean = made.gather(rows.order[in_training]).mean()
    note = (
        f"column {column.name!r}: {len(unknown):,} sequences have no value (the first begins in row "
        f"{unknown[0] + FIRST_ROW}); it is the mean of the training part there, and /predict accepts no null"
    )
    return replace(column, values=made.fill_null(mean)), note


def check_names(table: Table) -> None:
    """Raise TableError for static columns that are no inputs, or in a table of one sequence."""
    if table.static and table.id_column is None:
        raise TableError("--static needs --id-column: with one sequence, a static column never changes")
    for name in table.static:
        if name in table.targets:
            raise TableError(f"--static {name!r} is also a target, which is no static input")
        if name in (
            table.id_column,
            table.time_column,
            table.split_column,
            table.group_column,
            *table.ignore,
        ):
            raise TableError(f"--static {name!r} is also the id, the time, the split, the group, or ignored")


def proposal(columns: list[Column], rows: Rows, table: Table) -> list[str]:
    """A note about columns that never change within a sequence, and differ between sequences."""
    names = [column.name for column in columns if _is_static(column, rows)]
    names = [name for name in names if name not in (*table.static, *table.targets)]
    if not names or len(rows.sequences) < 2:
        return []
    options = " ".join(f"--static {name}" for name in names)
    what = f"column {names[0]!r} never changes" if len(names) == 1 else f"columns {names} never change"
    return [f"{what} within a sequence: with {options} a client gives it once, and its session keeps it"]


def _is_static(column: Column, rows: Rows) -> bool:
    values = column.values.gather(rows.order)
    if values.null_count() or values.n_unique() < 2:
        return False
    starts = np.array([one.start for one in rows.sequences])
    lengths = np.array([one.stop - one.start for one in rows.sequences])
    return bool(lengths.max() > 1 and (values == values.gather(np.repeat(starts, lengths))).all())
