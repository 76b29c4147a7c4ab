"""Orders the rows of a table, and computes the targets. Knows nothing of networks.

All choices and scales depend on the training part alone. A future value is taken from the same part, so no
part contains values of a later one.
"""

from typing import Any, Final, Literal, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from training.config import Table
from training.data import stamps
from training.data.columns import Column, texts_of
from training.data.dataset import UNKNOWN
from training.data.file import FIRST_ROW, TableError
from training.data.series import ahead
from training.data.splits import PARTS, Parts, Slices
from training.data.times import Times, times

REGULAR = 0.01  # steps whose spacing varies by at most this share are equally spaced
SINCE: Final = "since_previous"  # the feature that holds the time since the previous step
UNITS: tuple[tuple[Literal["d", "h", "min", "s"], float], ...] = (
    ("d", 86400.0),
    ("h", 3600.0),
    ("min", 60.0),
    ("s", 1.0),
)


class Rows(NamedTuple):
    """The rows of the file sorted by id, then by time."""

    order: NDArray[np.int64]
    sequences: Slices
    ids: list[str]
    times: Times | None  # in that order
    notes: tuple[str, ...] = ()  # about times, and about rows of the same id and time

    def sorted(self, column: Column) -> NDArray[Any]:
        """The values of a column in that order."""
        values: NDArray[Any] = column.values.to_numpy()[self.order]
        return values


class Spacing(NamedTuple):
    """The time since the previous step."""

    values: NDArray[np.float64]  # 0 at the first step of a sequence
    unit: Literal["d", "h", "min", "s", ""]  # "": unknown, of times that are plain numbers
    usual: float | None  # the median of the training part, in that unit; None: no sequence has two steps
    is_equal: bool  # whether the training part is equally spaced


def in_order(frame: pl.DataFrame, table: Table) -> Rows:
    """The rows sorted by id and time. Raises TableError if a row has no id or no time."""
    count = len(frame)
    ids = np.full(count, "", dtype=object)
    if table.id_column:
        texts = texts_of(frame[table.id_column])
        missing = texts.is_null().arg_true()
        if len(missing):
            raise TableError(f"row {missing[0] + FIRST_ROW}, column {table.id_column!r}: the id is missing")
        ids = texts.to_numpy().astype(object)
    when = _times(frame, table)
    _, rank = np.unique(ids.astype(str), return_inverse=True)
    order = np.lexsort((np.arange(count) if when is None else when.values, rank))
    notes: tuple[str, ...] = ()
    if when is not None:
        order, notes = _distinct(frame, table, order, rank, when)
        when = when._replace(values=when.values[order])
    begins = np.flatnonzero(np.diff(rank[order], prepend=-1))
    sequences = [slice(int(a), int(b)) for a, b in zip(begins, [*begins[1:], len(order)], strict=True)]
    return Rows(order, sequences, [str(ids[order[one.start]]) for one in sequences], when, notes)


def _distinct(
    frame: pl.DataFrame, table: Table, order: NDArray[np.int64], rank: NDArray[np.int64], when: Times
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """The order without the duplicates that the table is read without, and notes."""
    starts = (np.diff(rank[order], prepend=-1) != 0) | (np.diff(when.values[order], prepend=np.nan) != 0)
    repeats = stamps.repeats(frame, order, starts, table.ignore)
    notes = (*when.notes, *stamps.notes(frame, table, order, when, repeats))
    return order[repeats.kept(table.duplicates)], notes


def _times(frame: pl.DataFrame, table: Table) -> Times | None:
    if table.time_column is None:
        if table.time_format or table.time_zone:
            raise TableError("--time-format and --time-zone need --time-column")
        return None
    ids = frame[table.id_column] if table.id_column else None
    return times(frame[table.time_column], written=table.time_format, zone=table.time_zone, ids=ids)


def task_of(targets: list[Column], rows: Rows) -> Any:
    """Forecast numbers; classify by a category that is constant in each sequence, else label each step."""
    if all(target.kind == "number" for target in targets):
        return "forecast"
    texts = rows.sorted(targets[0])
    return "classify" if all(len(set(texts[one])) == 1 for one in rows.sequences) else "label"


def classes(task: str, target: Column, rows: Rows) -> NDArray[np.int64]:
    """The class of each row. Raises TableError if there is only one, or a sequence has several."""
    if len(target.categories) < 2:
        raise TableError(
            f"column {target.name!r}: there is only one class, {', '.join(target.categories) or 'none'}"
        )
    number = {text: place for place, text in enumerate(target.categories)}
    texts = rows.sorted(target)
    codes = np.array([number.get(text, UNKNOWN) for text in texts])
    for one, name in zip(rows.sequences, rows.ids, strict=True) if task == "classify" else ():
        other = np.flatnonzero((codes[one] != codes[one.start]) | (codes[one] == UNKNOWN))
        if len(other):
            row = int(rows.order[one.start + other[0]]) + FIRST_ROW
            raise TableError(
                f"row {row}, column {target.name!r}: {texts[one.start + other[0]]!r}, but sequence {name!r} "
                f"starts with {texts[one.start]!r}; --task label predicts a class at every step"
            )
    return codes


def spacing(rows: Rows, in_training: NDArray[np.bool_]) -> Spacing | None:
    """The time since the previous step in a suitable unit; None without times."""
    if rows.times is None:
        return None
    when = rows.times.values
    since = np.concatenate([np.diff(when[one], prepend=when[one.start]) for one in rows.sequences])
    inner = in_training.copy()
    inner[[one.start for one in rows.sequences]] = False
    usual = float(np.median(since[inner])) if inner.any() else None
    is_equal = usual is None or bool(np.abs(since[inner] - usual).max() <= REGULAR * usual)
    if not rows.times.has_unit:
        return Spacing(since, "", usual, is_equal)
    unit, size = next(((unit, size) for unit, size in UNITS if (usual or 0.0) >= size), UNITS[-1])
    return Spacing(since / size, unit, None if usual is None else usual / size, is_equal)


def future_values(
    targets: list[Column], rows: Rows, parts: Parts, horizons: tuple[int, ...]
) -> NDArray[np.float32]:
    """[rows, targets · horizons]: the values this many steps later in the same part; NaN if unknown.

    Raises TableError if a part has no value, or a target does not change.
    """
    columns = [rows.sorted(target) for target in targets]
    future = np.full((len(rows.order), len(targets) * len(horizons)), np.nan, np.float32)
    for one in (one for part in parts for one in part):
        future[one] = np.hstack([ahead(column[one], horizons) for column in columns])
    in_training = parts.in_training(len(rows.order))
    for number, (target, column) in enumerate(zip(targets, columns, strict=True)):
        _check_changes(target, column, rows, in_training)
        for place, steps in enumerate(horizons, number * len(horizons)):
            _check_known(target, future[:, place], parts, steps)
            change = (future[:, place] - column)[in_training]
            if not np.nan_to_num(change).any():
                why = "does not change" if (~np.isnan(change)).any() else "is never known both now and"
                raise TableError(
                    f"--horizon {steps}: in the training part, column {target.name!r} {why} over "
                    f"{steps} steps; try another horizon"
                )
    return future


def _check_changes(target: Column, values: NDArray[Any], rows: Rows, in_training: NDArray[np.bool_]) -> None:
    """Raise TableError for a constant target."""
    known = values[in_training & ~np.isnan(values)]
    if not len(known):
        raise TableError(f"column {target.name!r}: the training part has no values")
    if (known == known[0]).all():
        raise TableError(
            f"column {target.name!r} is {known[0]:g} in every row of the training part: "
            "there is nothing to forecast"
        )
    if all(len(np.unique(values[one][~np.isnan(values[one])])) < 2 for one in rows.sequences):
        raise TableError(
            f"column {target.name!r} never changes within a sequence: there is nothing to forecast; "
            "--task classify predicts it as the class of the sequence"
        )


def _check_known(target: Column, future: NDArray[np.float32], parts: Parts, steps: int) -> None:
    for part, name in zip(parts, PARTS, strict=True):
        if all(np.isnan(future[one]).all() for one in part):
            longest = max(one.stop - one.start for one in part)
            raise TableError(
                f"--horizon {steps}: in the {name} part, whose longest sequence has {longest} steps, "
                f"column {target.name!r} is never known {steps} steps ahead; try a shorter horizon"
            )


def check_labels(target: Column, codes: NDArray[np.int64], parts: Parts) -> None:
    """Raise TableError if a part has no class at any step."""
    for part, name in zip(parts, PARTS, strict=True):
        if all((codes[one] == UNKNOWN).all() for one in part):
            raise TableError(f"column {target.name!r}: the {name} part has no class at any step")
