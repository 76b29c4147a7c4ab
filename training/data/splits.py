"""Splits the sequences of a table into a training, a validation and a test part. Knows no file.

All choices and scales depend on the training part alone. Whole sequences are dealt out, or whole groups of
them. With fewer than LEAST sequences, or on request, the parts are consecutive pieces of each one instead.
"""

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.config import Table
from training.data.dataset import drawn
from training.data.file import FIRST_ROW, TableError

LEAST = 10  # with fewer sequences, each one is split by time
EACH = 3  # fewest sequences of a class, or fewest groups: one for each part
WINDOW, STRIDE = 256, 128  # steps of the windows into which sequences for forecasts and labels are cut

PARTS = ("training", "validation", "test")
TRAINING, VALIDATION, TEST, UNUSED = 0, 1, 2, -1
NAMES = {  # in a split column, in any case
    **dict.fromkeys(("train", "training"), TRAINING),
    **dict.fromkeys(("validation", "valid", "val", "dev"), VALIDATION),
    **dict.fromkeys(("test", "testing"), TEST),
}

Slices = list[slice]  # of the rows in order
Texts = NDArray[np.object_]


class Parts(NamedTuple):
    """The three parts: different sequences or, if there are few, consecutive pieces of each."""

    train: Slices
    validation: Slices
    test: Slices

    def in_training(self, count: int) -> NDArray[np.bool_]:
        """Which of `count` rows belong to the training part."""
        is_training = np.zeros(count, dtype=bool)
        for one in self.train:
            is_training[one] = True
        return is_training


class Sorted(NamedTuple):
    """The rows in order, as far as a split looks at them; None: not used."""

    sequences: Slices
    file_rows: NDArray[np.int64]  # their places in the file
    marks: Texts | None = None  # of the split column
    groups: Texts | None = None  # of the group column
    times: NDArray[np.float64] | None = None
    test_from: float | None = None  # in the unit of `times`


class Target(NamedTuple):
    """What a split must know of the target."""

    is_whole: bool = False  # it belongs to a whole sequence, which cannot be cut
    labels: tuple[str, ...] = ()  # the classes of whole sequences: each part has its share of every class
    codes: Any = None  # the class of each row


def split_sequences(rows: Sorted, table: Table, target: Target = Target()) -> Parts:  # noqa: B008
    """Split the rows as the table's options say. Raises TableError if a part would be empty or too small."""
    _check_options(rows, table)
    if rows.marks is not None:
        part = _marked(rows, rows.marks, table, target)
    elif rows.test_from is not None:
        part = _dated(rows, rows.test_from, table, target)
    elif _is_by_time(rows, table, target):
        part = _cut(rows.sequences, table)
    else:
        part = _dealt(rows, table, target)
    parts = Parts(*(_runs(rows.sequences, part, number) for number in range(len(PARTS))))
    for one, name in zip(parts, PARTS, strict=True):
        if not one and not (name == "test" and table.test_data):
            raise TableError(f"the {name} part would be empty: expected at least one row in each part")
    return parts


def _check_options(rows: Sorted, table: Table) -> None:
    chosen = {
        "--split-column": table.split_column,
        "--test-from": table.test_from,
        "--test-data": table.test_data,
        "--folds": table.folds,
    }
    names = [name for name, value in chosen.items() if value]
    if len(names) > 1:
        raise TableError(f"{' and '.join(names)} exclude each other: each decides what the test part is")
    if table.group_column and names and names[0] in ("--split-column", "--test-from"):
        raise TableError(f"--group-column has no effect with {names[0]}, which decides the parts alone")
    if rows.test_from is not None and rows.times is None:
        raise TableError("--test-from requires --time-column")


def _is_by_time(rows: Sorted, table: Table, target: Target) -> bool:
    """Whether each sequence is cut into pieces, because it was asked for or there are few sequences."""
    if table.split_by == "time" and (target.is_whole or rows.groups is not None):
        what = (
            "the target belongs to a whole sequence" if target.is_whole else "--group-column keeps it whole"
        )
        raise TableError(f"--split-by time cuts each sequence, but {what}")
    if table.split_by is not None:
        return table.split_by == "time"
    return len(rows.sequences) < LEAST and not target.is_whole and rows.groups is None


def _cut(sequences: Slices, table: Table) -> NDArray[np.int8]:
    """The part of each row: consecutive pieces of each sequence.

    Fold i of n cuts a sequence into n + 2 pieces: trains on the first i + 1, validates on the next, and tests
    on the one after that (a rolling origin; Tashman 2000).
    """
    part = np.full(sequences[-1].stop, UNUSED, np.int8)
    shortest = min(one.stop - one.start for one in sequences)
    least = max(LEAST, 2 * (table.folds + 2) if table.folds else 0)
    if shortest < least:
        raise TableError(
            f"fewer than {LEAST} sequences are split by time, and need at least {least} steps each; "
            f"the shortest of {len(sequences)} has {shortest}"
        )
    for one in sequences:
        at, n = one.start, one.stop - one.start
        if table.folds:
            pieces = table.folds + 2
            ends = [at + n * (table.fold + more) // pieces for more in (1, 2, 3)]
        else:
            shares = (
                (1 - table.test, 1.0, 1.0) if table.test_data else (1 - 2 * table.test, 1 - table.test, 1)
            )
            ends = [at + int(share * n) for share in shares]
        for number, (start, stop) in enumerate(pairwise((at, *ends))):
            part[start:stop] = number
    return part


def _dealt(rows: Sorted, table: Table, target: Target) -> NDArray[np.int8]:
    """The part of each row: whole sequences, or whole groups of them, are dealt out at random."""
    units = _units(rows, table)
    strata = _strata(rows, units, target)
    count, labels = int(units.max()) + 1, target.labels
    sizes = np.bincount(strata, minlength=max(1, len(labels)))
    what = "groups" if rows.groups is not None else "sequences"
    least = max(EACH if rows.groups is not None or table.split_by else LEAST, table.folds + 1)
    if count < least or (labels and sizes.min() < max(EACH, table.folds + 1)):
        rarest = int(sizes.argmin())
        each = "three" if table.folds < EACH else str(table.folds + 1)
        classes = f", and {each} of each class," if labels else ""
        rare = f"; {labels[rarest]!r} has {sizes[rarest]}" if labels else ""
        raise TableError(f"{count} {what}: at least {least}{classes} are needed{rare}")
    is_test = np.zeros(count, dtype=bool) if table.test_data else _are_test(strata, table)
    part_of_unit = np.where(is_test, TEST, TRAINING).astype(np.int8)
    rest = np.flatnonzero(~is_test)
    part_of_unit[rest[drawn(strata[rest], share=table.test, seed=0)]] = VALIDATION
    part = np.full(rows.sequences[-1].stop, UNUSED, np.int8)
    for unit, one in zip(units, rows.sequences, strict=True):
        part[one] = part_of_unit[unit]
    return part


def _are_test(strata: NDArray[np.int64], table: Table) -> NDArray[np.bool_]:
    """Which units are the test part: a share of each stratum, or one fold of several."""
    if not table.folds:
        return drawn(strata, share=table.test, seed=0)
    rng = np.random.default_rng(0)
    fold = np.empty(len(strata), np.int64)
    dealt = 0
    for stratum in np.unique(strata):  # dealt out in turn: folds differ by at most one unit
        members = rng.permutation(np.flatnonzero(strata == stratum))
        fold[members] = (dealt + np.arange(len(members))) % table.folds
        dealt += len(members)
    is_test: NDArray[np.bool_] = fold == table.fold
    return is_test


def _units(rows: Sorted, table: Table) -> NDArray[np.int64]:
    """The unit of each sequence: its own number, or that of its group."""
    if rows.groups is None:
        return np.arange(len(rows.sequences))
    first = []
    for one in rows.sequences:
        group = rows.groups[one]
        for place in np.flatnonzero([text is None or text != group[0] for text in group]):
            row = int(rows.file_rows[one.start + place]) + FIRST_ROW
            raise TableError(
                f"row {row}, column {table.group_column!r}: {group[place]!r}, but its sequence starts with "
                f"{group[0]!r}; a sequence belongs to one group"
            )
        first.append(str(group[0]))
    return np.unique(np.array(first), return_inverse=True)[1]


def _strata(rows: Sorted, units: NDArray[np.int64], target: Target) -> NDArray[np.int64]:
    """The class of each unit, the most frequent one of a group; 0 without classes."""
    counts = np.zeros((int(units.max()) + 1, max(1, len(target.labels))), np.int64)
    classes = [int(target.codes[one.start]) if target.labels else 0 for one in rows.sequences]
    np.add.at(counts, (units, np.array(classes)), 1)
    most: NDArray[np.int64] = counts.argmax(axis=1)
    return most


def _marked(rows: Sorted, marks: Texts, table: Table, target: Target) -> NDArray[np.int8]:
    """The part of each row as a column says; a validation part that it does not name is held out."""
    by_text = {text: NAMES.get(str(text).strip().lower(), UNUSED) for text in set(marks)}
    part = np.array([by_text[text] for text in marks], np.int8)
    unknown = np.flatnonzero(part == UNUSED)
    if len(unknown):
        first = int(unknown[rows.file_rows[unknown].argmin()])
        raise TableError(
            f"row {rows.file_rows[first] + FIRST_ROW}, column {table.split_column!r}: {marks[first]!r} names "
            "no part; expected train, validation or test"
        )
    for one in rows.sequences if target.is_whole else ():
        other = np.flatnonzero(part[one] != part[one.start])
        if len(other):
            row = int(rows.file_rows[one.start + other[0]]) + FIRST_ROW
            raise TableError(
                f"row {row}, column {table.split_column!r}: the target belongs to a whole sequence, which "
                "cannot be in two parts"
            )
    if (part == VALIDATION).any():
        return part
    return _validated(rows, part, table, target)


def _validated(rows: Sorted, part: NDArray[np.int8], table: Table, target: Target) -> NDArray[np.int8]:
    """Hold out a validation part: whole sequences of the training part, or with few the end of each."""
    training = [number for number, one in enumerate(rows.sequences) if (part[one] == TRAINING).any()]
    if not target.is_whole and len(training) < LEAST:
        for number in training:
            inside = rows.sequences[number].start + np.flatnonzero(part[rows.sequences[number]] == TRAINING)
            part[inside[len(inside) - max(1, round(table.test * len(inside))) :]] = VALIDATION
        return part
    classes = [int(target.codes[rows.sequences[number].start]) if target.labels else 0 for number in training]
    is_held_out = drawn(np.array(classes), share=table.test, seed=0)
    for number in np.array(training, np.int64)[is_held_out]:
        inside = rows.sequences[number]
        part[inside][part[inside] == TRAINING] = VALIDATION
    return part


def _dated(rows: Sorted, test_from: float, table: Table, target: Target) -> NDArray[np.int8]:
    """The part of each row by its time, or by the last time of a sequence that cannot be cut.

    Of the rows before the test part the last share in time is the validation part. So nothing that trains is
    later than anything that validates or tests.
    """
    assert rows.times is not None
    when = rows.times.copy()
    if target.is_whole:
        for one in rows.sequences:
            when[one] = when[one].max()
    before = when[when < test_from]
    if not len(before) or len(before) == len(when):
        side = "earlier" if not len(before) else "later"
        raise TableError(f"--test-from {table.test_from}: no row is {side}")
    validation_from = np.quantile(before, 1 - table.test, method="higher")
    part = np.where(when >= test_from, TEST, np.where(when >= validation_from, VALIDATION, TRAINING))
    return part.astype(np.int8)


def _runs(sequences: Slices, part: NDArray[np.int8], number: int) -> Slices:
    """The runs of consecutive rows of a sequence that are in a part."""
    runs = []
    for one in sequences:
        is_in = np.concatenate([[False], part[one] == number, [False]])
        changes = np.flatnonzero(is_in[1:] != is_in[:-1]) + one.start
        runs += [
            slice(int(start), int(stop)) for start, stop in zip(changes[::2], changes[1::2], strict=True)
        ]
    return runs


def windows(part: Slices) -> Slices:
    """Sequences cut into windows, because long sequences give few steps of the optimiser."""
    return [
        slice(start, min(start + WINDOW, one.stop))
        for one in part
        for start in range(one.start, max(one.start + 1, one.stop - WINDOW + STRIDE), STRIDE)
    ]
