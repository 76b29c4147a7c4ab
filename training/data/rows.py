"""Puts the rows of a table in order, parts them, and says what is true at each. Knows nothing of networks.

What is chosen, scaled or told apart is decided by the rows that are learnt from alone; what is to come is
taken from the same part, so that no part knows anything of a later one.
"""

from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from training.config import Table
from training.data.columns import Column, Times, texts_of, times
from training.data.dataset import UNKNOWN, Split, hold_out
from training.data.file import FIRST_ROW, TableError
from training.data.series import ahead

REGULAR = 0.01  # the spread of the steps' distances, as a share of the usual one, up to which they are equal
LEAST = 10  # sequences, below which they are parted by time instead
EACH = 3  # sequences of a class: one to learn from, one to validate on, one to be tested on
WINDOW, STRIDE = 256, 128  # steps; longer sequences to learn forecasts and labels from are cut
UNITS = (("d", 86400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0))

Slices = list[slice]


class Rows(NamedTuple):
    """The rows of the file in order: of ids, then of time."""

    order: NDArray[np.int64]
    sequences: Slices
    ids: list[str]
    times: Times | None  # in that order

    def sorted(self, column: Column) -> NDArray[Any]:
        """The values of a column in that order."""
        found: NDArray[Any] = column.values.to_numpy()[self.order]
        return found


class Parts(NamedTuple):
    """Other sequences; or later parts of the same, if these are few."""

    train: Slices
    validation: Slices
    test: Slices

    def learnt(self, count: int) -> NDArray[np.bool_]:
        """Which of `count` rows are learnt from."""
        found = np.zeros(count, dtype=bool)
        for one in self.train:
            found[one] = True
        return found


class Gaps(NamedTuple):
    """The time since the step before."""

    values: NDArray[np.float64]
    unit: str  # "": that of the times, which are plain numbers


def in_order(table: pl.DataFrame, told: Table) -> Rows:
    """Raises TableError where a row has no id or no time."""
    count = len(table)
    ids = np.full(count, "", dtype=object)
    if told.id_column:
        found = texts_of(table[told.id_column])
        lacking = found.is_null().arg_true()
        if len(lacking):
            raise TableError(f"row {lacking[0] + FIRST_ROW}, column {told.id_column!r}: the id is missing")
        ids = found.to_numpy().astype(object)
    when = times(table[told.time_column]) if told.time_column else None
    _, rank = np.unique(ids.astype(str), return_inverse=True)
    order = np.lexsort((np.arange(count) if when is None else when.values, rank))
    begins = np.flatnonzero(np.diff(rank[order], prepend=-1))
    sequences = [slice(int(a), int(b)) for a, b in zip(begins, [*begins[1:], count], strict=True)]
    names = [str(ids[order[one.start]]) for one in sequences]
    return Rows(order, sequences, names, None if when is None else when._replace(values=when.values[order]))


def task_of(targets: list[Column], rows: Rows) -> Any:
    """Numbers are foretold; a category that never changes in a sequence is its class, else each step's."""
    if all(target.kind == "number" for target in targets):
        return "forecast"
    texts = rows.sorted(targets[0])
    return "classify" if all(len(set(texts[one])) == 1 for one in rows.sequences) else "label"


def classes(task: str, target: Column, rows: Rows) -> NDArray[np.int64]:
    """The class of each row. Raises TableError where there is but one, or a sequence has several."""
    if len(target.kinds) < 2:
        raise TableError(
            f"column {target.name!r}: there is one class only, {', '.join(target.kinds) or 'none'}"
        )
    number = {text: place for place, text in enumerate(target.kinds)}
    texts = rows.sorted(target)
    codes = np.array([number.get(text, UNKNOWN) for text in texts])
    for one, name in zip(rows.sequences, rows.ids, strict=True) if task == "classify" else ():
        other = np.flatnonzero((codes[one] != codes[one.start]) | (codes[one] == UNKNOWN))
        if len(other):
            row = int(rows.order[one.start + other[0]]) + FIRST_ROW
            raise TableError(
                f"row {row}, column {target.name!r}: {texts[one.start + other[0]]!r}, but sequence {name!r} "
                f"began with {texts[one.start]!r}; --task label says a class at every step"
            )
    return codes


def part(rows: Rows, share: float, *, labels: tuple[str, ...] = (), codes: Any = None) -> Parts:
    """`labels`, `codes`: the classes of whole sequences, of which each part gets its share."""
    count = len(rows.sequences)
    kinds = np.array([codes[one.start] if labels else 0 for one in rows.sequences])
    if count < LEAST and not labels:
        return _by_time(rows, share)
    sizes = np.bincount(kinds, minlength=max(1, len(labels)))
    if count < LEAST or (labels and sizes.min() < EACH):
        rarest = int(sizes.argmin())
        raise TableError(
            f"{count} sequences: at least {LEAST}, and three of each class, are needed; "
            f"{labels[rarest]!r} has {sizes[rarest]}"
        )
    numbers = Split(tuple(np.array([[row]], np.float32) for row in range(count)), kinds)
    rest, test = hold_out(numbers, share=share, seed=0)
    train, validation = hold_out(rest, share=share, seed=0)
    return Parts(
        *([rows.sequences[int(one[0, 0])] for one in part.sequences] for part in (train, validation, test))
    )


def _by_time(rows: Rows, share: float) -> Parts:
    cuts = [(one.start, one.stop - one.start) for one in rows.sequences]
    if (shortest := min(length for _, length in cuts)) < LEAST:
        raise TableError(
            f"less than {LEAST} sequences are parted by time, and so need at least {LEAST} steps each; "
            f"the shortest of {len(cuts)} has {shortest}"
        )
    ends = [(at, at + int((1 - 2 * share) * n), at + int((1 - share) * n), at + n) for at, n in cuts]
    return Parts(
        [slice(a, b) for a, b, _, _ in ends],
        [slice(b, c) for _, b, c, _ in ends],
        [slice(c, d) for _, _, c, d in ends],
    )


def windows(part: Slices) -> Slices:
    """Long sequences in windows: as they are, they make few steps of the optimiser."""
    return [
        slice(start, min(start + WINDOW, one.stop))
        for one in part
        for start in range(one.start, max(one.start + 1, one.stop - WINDOW + STRIDE), STRIDE)
    ]


def gaps(rows: Rows, learnt: NDArray[np.bool_]) -> Gaps | None:
    """The time since the step before, in a unit that suits it; None if it is the same wherever is learnt."""
    if rows.times is None:
        return None
    when = rows.times.values
    found = np.concatenate([np.diff(when[one], prepend=when[one.start]) for one in rows.sequences])
    inner = learnt.copy()
    inner[[one.start for one in rows.sequences]] = False
    usual = float(np.median(found[inner])) if inner.any() else 0.0
    if not inner.any() or np.abs(found[inner] - usual).max() <= REGULAR * usual:
        return None
    if not rows.times.has_unit:
        return Gaps(found, "")
    unit, size = next(((unit, size) for unit, size in UNITS if usual >= size), UNITS[-1])
    return Gaps(found / size, unit)


def foretold(
    targets: list[Column], rows: Rows, parts: Parts, horizons: tuple[int, ...]
) -> NDArray[np.float32]:
    """[rows, targets · horizons]: what comes so many steps later in the same part; NaN where nobody knows.

    Raises TableError where there is nothing to be learnt, validated or tested.
    """
    columns = [rows.sorted(target) for target in targets]
    found = np.full((len(rows.order), len(targets) * len(horizons)), np.nan, np.float32)
    for one in (one for part in parts for one in part):
        found[one] = np.hstack([ahead(column[one], horizons) for column in columns])
    learnt = parts.learnt(len(rows.order))
    for number, (target, column) in enumerate(zip(targets, columns, strict=True)):
        _check_changes(target, column, rows, learnt)
        for place, steps in enumerate(horizons, number * len(horizons)):
            _check_known(target, found[:, place], parts, steps)
            gone = (found[:, place] - column)[learnt]
            if not np.nan_to_num(gone).any():
                why = "does not change" if (~np.isnan(gone)).any() else "is never known both now and"
                raise TableError(
                    f"--horizon {steps}: in the part that is learnt from, column {target.name!r} {why} over "
                    f"{steps} steps; another horizon may do"
                )
    return found


def _check_changes(target: Column, values: NDArray[Any], rows: Rows, learnt: NDArray[np.bool_]) -> None:
    """What never changes cannot be foretold."""
    known = values[learnt & ~np.isnan(values)]
    if not len(known):
        raise TableError(f"column {target.name!r}: the part that is learnt from has nothing there")
    if (known == known[0]).all():
        raise TableError(
            f"column {target.name!r} is {known[0]:g} in every row that is learnt from: "
            "there is nothing to foretell"
        )
    if all(len(np.unique(values[one][~np.isnan(values[one])])) < 2 for one in rows.sequences):
        raise TableError(
            f"column {target.name!r} never changes within a sequence: there is nothing to foretell; "
            "--task classify takes it for the class of the sequence"
        )


def _check_known(target: Column, later: NDArray[np.float32], parts: Parts, steps: int) -> None:
    for part, what in zip(parts, ("learnt from", "validated on", "tested on"), strict=True):
        if all(np.isnan(later[one]).all() for one in part):
            longest = max(one.stop - one.start for one in part)
            raise TableError(
                f"--horizon {steps}: in the part that is {what}, whose longest sequence has {longest} steps, "
                f"column {target.name!r} is nowhere known {steps} steps ahead; a shorter horizon may do"
            )


def check_labels(target: Column, codes: NDArray[np.int64], parts: Parts) -> None:
    """Raises TableError where a part has no class at any step."""
    for part, what in zip(parts, ("learnt from", "validated on", "tested on"), strict=True):
        if all((codes[one] == UNKNOWN).all() for one in part):
            raise TableError(f"column {target.name!r}: the part that is {what} has no class at any step")
