"""Turns a table of one's own, a row for each step, into sequences: see docs/own-data.md.

A sequence is the rows of one id, in order of time. Its numbers are one input, with gaps where any is missing;
each category is an input of tokens. Where steps are not equally far apart, the time since the step before is
a number too.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from training.config import Recipe, Table
from training.data.columns import FIRST_ROW, Column, TableError, find, read, seconds, typed
from training.data.dataset import UNKNOWN, DataSet, Forecast, Input, Split, each_step, hold_out
from training.data.series import ahead

# One for all: small enough for a laptop; early stopping finds the end.
RECIPES: Mapping[str, Recipe] = {
    "default": Recipe(
        hidden=64, epochs=50, patience=8, batch_size=32, learning_rate=3e-3, dropout=0.2, clip=1, buckets=True
    ),
}
NUMBERS, SINCE = "numbers", "since_previous"  # the input of all numbers, and the one of them that is the gap
OTHER, NOTHING = "<other>", "<missing>"  # a text that the training part does not have; no text
TAKEN = ("numbers", "lengths", "y", "logits", "h", "c")  # names that the graph has already
REGULAR = 0.01  # the spread of the steps' distances, as a share of the usual one, up to which they are equal
LEAST = 10  # sequences, below which they are parted by time instead
WINDOW, STRIDE = 256, 128  # steps; longer sequences to learn forecasts and labels from are cut
UNITS = (("d", 86400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0))

Slices = list[slice]


class Row(NamedTuple):
    """What a column was taken for, for people to see."""

    column: str
    taken_for: str
    missing: int
    values: str


class _Sorted(NamedTuple):
    """The rows of the file in order: of ids, then of time."""

    order: NDArray[np.int64]
    sequences: Slices
    ids: list[str]
    times: NDArray[np.float64] | None  # in that order


def fingerprint(path: Path) -> str:
    """The SHA-256 of a file. Raises TableError."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise TableError(f"{path}: {error.strerror}") from error


def load(told: Table) -> DataSet:
    """The table as a data set. Raises TableError, also when the file is not the one that was told of."""
    if fingerprint(Path(told.path)) != told.sha256:
        raise TableError(f"{told.path} has changed since the run was started; another --out trains anew")
    found, _ = understand(told)
    return found


def understand(told: Table) -> tuple[DataSet, list[Row]]:
    """The data set, and what each column was taken for. Raises TableError."""
    table = read(Path(told.path))
    _check_names(table, told)
    rows = _sorted(table, told)
    columns = _columns(table, told)
    targets = [columns[name] for name in told.targets]
    task = told.task or _task(targets, rows)
    given = [column for name, column in columns.items() if task == "forecast" or name not in told.targets]
    given.sort(key=lambda column: column.name not in told.targets)  # what is foretold is first
    numbers = [column for column in given if column.kind == "number"]
    categories = [column for column in given if column.kind == "category"]
    gaps = _gaps(rows)
    if not numbers and not categories and gaps is None:
        raise TableError(f"{told.path}: there is no column to learn from but {', '.join(told.targets)}")

    labels, said = _targets(task, targets, rows, told.horizons)
    parts = _parts(task, rows, said, told.test)
    inputs, x = _inputs(numbers, categories, gaps, rows, learnt=parts[0])
    train, validation, test = (_split(x, said, part, rows) for part in (_cut(parts[0], task), *parts[1:]))
    steps = ahead_names(told.horizons)
    path = Path(told.path)
    data = DataSet(
        name=path.stem,
        title=path.name,
        citation="A table of one's own",
        license="unstated",
        inputs=inputs,
        labels=labels,
        train=train,
        validation=validation,
        test=test,
        task=task,
        forecast=Forecast(tuple(range(len(targets))), told.horizons, steps) if task == "forecast" else None,
    )
    return data, _told(table, told, columns, gaps)


def ahead_names(horizons: tuple[int, ...]) -> tuple[str, ...]:
    """What the horizons are called."""
    return tuple(f"+{steps} step{'s' * (steps > 1)}" for steps in horizons)


def _check_names(table: pl.DataFrame, told: Table) -> None:
    if not told.targets:
        raise TableError(f"--target is missing; the columns are {', '.join(table.columns)}")
    flags: dict[str, tuple[str | None, ...]] = {
        "--target": told.targets,
        "--ignore": told.ignore,
        "--categorical": told.categorical,
    }
    flags |= {"--id-column": (told.id_column,), "--time-column": (told.time_column,)}
    for flag, names in flags.items():
        for name in filter(None, names):
            find(table, name, flag)
    for name in told.targets:
        if name in (told.id_column, told.time_column, *told.ignore):
            raise TableError(f"--target {name!r} is also the id, the time, or ignored")


def _columns(table: pl.DataFrame, told: Table) -> dict[str, Column]:
    """All but id, time and what is ignored, in the order of the table."""
    apart = {told.id_column, told.time_column, *told.ignore}
    texts = set(told.categorical) | (set(told.targets) if told.task in ("classify", "label") else set())
    return {
        name: typed(table[name], is_category=name in texts) for name in table.columns if name not in apart
    }


def _sorted(table: pl.DataFrame, told: Table) -> _Sorted:
    """Raises TableError where a row has no id or no time."""
    count = len(table)
    ids = np.full(count, "", dtype=object)
    if told.id_column:
        found = table[told.id_column].cast(pl.String)
        lacking = found.is_null().arg_true()
        if len(lacking):
            raise TableError(f"row {lacking[0] + FIRST_ROW}, column {told.id_column!r}: the id is missing")
        ids = found.to_numpy().astype(object)
    times = seconds(table[told.time_column]).values.to_numpy() if told.time_column else None
    _, rank = np.unique(ids.astype(str), return_inverse=True)
    order = np.lexsort((np.arange(count) if times is None else times, rank))
    begins = np.flatnonzero(np.diff(rank[order], prepend=-1))
    sequences = [slice(int(a), int(b)) for a, b in zip(begins, [*begins[1:], count], strict=True)]
    names = [str(ids[order[one.start]]) for one in sequences]
    return _Sorted(order, sequences, names, None if times is None else times[order])


def _task(targets: list[Column], rows: _Sorted) -> Any:
    """Numbers are foretold; a category that never changes in a sequence is its class, else each step's."""
    kinds = {target.kind for target in targets}
    if kinds == {"number"}:
        return "forecast"
    if len(targets) > 1:
        raise TableError(
            f"several targets are foretold, so they must be numbers: {', '.join(t.name for t in targets)}"
        )
    texts = targets[0].values.to_numpy()[rows.order]
    return "classify" if all(len(set(texts[one])) == 1 for one in rows.sequences) else "label"


def _gaps(rows: _Sorted) -> tuple[str, NDArray[np.float64]] | None:
    """The time since the step before, in a unit that suits it; None if steps are equally far apart."""
    if rows.times is None:
        return None
    gaps = np.concatenate([np.diff(rows.times[one], prepend=rows.times[one.start]) for one in rows.sequences])
    inner = np.ones(len(gaps), dtype=bool)
    inner[[one.start for one in rows.sequences]] = False
    usual = float(np.median(gaps[inner])) if inner.any() else 0.0
    if not inner.any() or np.abs(gaps[inner] - usual).max() <= REGULAR * usual:
        return None
    unit, size = next(((unit, size) for unit, size in UNITS if usual >= size), UNITS[-1])
    return unit, gaps / size


def _targets(
    task: str, targets: list[Column], rows: _Sorted, horizons: tuple[int, ...]
) -> tuple[tuple[str, ...], list[NDArray[Any]]]:
    """Names of what is said, and for each sequence what is true: a class, or [steps] or [steps, foretold]."""
    if task == "forecast":
        columns = [target.values.to_numpy()[rows.order] for target in targets]
        return tuple(target.name for target in targets), [
            np.hstack([ahead(column[one], horizons) for column in columns]) for one in rows.sequences
        ]
    [target] = targets
    if len(target.kinds) < 2:
        raise TableError(
            f"column {target.name!r}: there is one class only, {', '.join(target.kinds) or 'none'}"
        )
    number = {text: place for place, text in enumerate(target.kinds)}
    texts = target.values.to_numpy()[rows.order]
    codes = np.array([number.get(text, UNKNOWN) for text in texts])
    if task == "label":
        return target.kinds, [codes[one] for one in rows.sequences]
    for one, name in zip(rows.sequences, rows.ids, strict=True):
        other = np.flatnonzero((codes[one] != codes[one.start]) | (codes[one] == UNKNOWN))
        if len(other):
            row = int(rows.order[one.start + other[0]]) + FIRST_ROW
            raise TableError(
                f"row {row}, column {target.name!r}: {texts[one.start + other[0]]!r}, but sequence {name!r} "
                f"began with {texts[one.start]!r}; --task label says a class at every step"
            )
    return target.kinds, [codes[one.start] for one in rows.sequences]


def _parts(task: str, rows: _Sorted, said: list[NDArray[Any]], share: float) -> tuple[Slices, Slices, Slices]:
    """What is learnt from, validated on, tested on: other sequences; or later parts of the same, if few."""
    count = len(rows.sequences)
    if count >= LEAST or task == "classify":
        classes = np.array(said) if task == "classify" else np.zeros(count, np.int64)
        if count < LEAST or min(np.bincount(classes)[np.unique(classes)]) < 3:
            raise TableError(f"{count} sequences: at least {LEAST}, and three of each class, are needed")
        numbers = Split(tuple(np.array([[row]], np.float32) for row in range(count)), classes)
        rest, test = hold_out(numbers, share=share, seed=0)
        train, validation = hold_out(rest, share=share, seed=0)
        first, second, third = (
            [rows.sequences[int(one[0, 0])] for one in part.sequences] for part in (train, validation, test)
        )
        return first, second, third
    cuts = [(one.start, one.stop - one.start) for one in rows.sequences]
    if min(length for _, length in cuts) < LEAST:
        raise TableError(
            f"{count} sequences, the shortest of less than {LEAST} steps, are too few to be parted by time"
        )
    ends = [
        (start, start + int((1 - 2 * share) * n), start + int((1 - share) * n), start + n)
        for start, n in cuts
    ]
    return (
        [slice(a, b) for a, b, _, _ in ends],
        [slice(b, c) for _, b, c, _ in ends],
        [slice(c, d) for _, _, c, d in ends],
    )


def _inputs(
    numbers: list[Column],
    categories: list[Column],
    gaps: tuple[str, NDArray[np.float64]] | None,
    rows: _Sorted,
    *,
    learnt: Slices,
) -> tuple[tuple[Input, ...], NDArray[np.float32]]:
    """What a step is made of, and all steps in order: [rows, columns]."""
    inputs: list[Input] = []
    x = [column.values.to_numpy()[rows.order].astype(np.float32)[:, None] for column in numbers]
    features, units = [column.name for column in numbers], [""] * len(numbers)
    if gaps is not None:
        features, units = [*features, SINCE], [*units, gaps[0]]
        x.append(gaps[1].astype(np.float32)[:, None])
    if features:
        has_gaps = any(np.isnan(column).any() for column in x)
        inputs.append(Input(NUMBERS, features=tuple(features), units=tuple(units), has_gaps=has_gaps))
    for column in categories:
        if column.name in TAKEN:
            raise TableError(f"column {column.name!r}: this name is taken in the graph; rename it")
        texts = np.array([NOTHING if text is None else text for text in column.values])[rows.order]
        vocabulary = (OTHER, *sorted({str(text) for one in learnt for text in texts[one]}))
        number = {text: place for place, text in enumerate(vocabulary)}
        inputs.append(Input(column.name, kind="token", vocabulary=vocabulary))
        x.append(np.array([[number.get(str(text), 0)] for text in texts], np.float32))
    return tuple(inputs), np.hstack(x)


def _cut(part: Slices, task: str) -> Slices:
    """What has a target at every step, in windows: long sequences make few steps of the optimiser."""
    if task == "classify":
        return part
    return [
        slice(start, min(start + WINDOW, one.stop))
        for one in part
        for start in range(one.start, max(one.start + 1, one.stop - WINDOW + STRIDE), STRIDE)
    ]


def _split(x: NDArray[np.float32], said: list[NDArray[Any]], part: Slices, rows: _Sorted) -> Split:
    """The steps of each slice with what is true of them."""
    starts = {one.start: row for row, one in enumerate(rows.sequences)}
    ends = sorted(starts)
    targets = []
    for one in part:
        row = starts[max(start for start in ends if start <= one.start)]
        begin = rows.sequences[row].start
        whole = said[row]
        targets.append(whole if np.ndim(whole) == 0 else whole[one.start - begin : one.stop - begin])
    sequences = tuple(np.ascontiguousarray(x[one]) for one in part)
    return Split(sequences, np.array(targets) if np.ndim(targets[0]) == 0 else each_step(targets))


def _told(
    table: pl.DataFrame, told: Table, columns: dict[str, Column], gaps: tuple[str, NDArray[np.float64]] | None
) -> list[Row]:
    """What each column was taken for."""
    found = []
    for name in table.columns:
        role = "target, " if name in told.targets else ""
        if name == told.id_column:
            found.append(Row(name, "the sequence", 0, f"{table[name].n_unique():,} different"))
        elif name == told.time_column:
            found.append(Row(name, "the time", 0, f"{table[name].min()!s} to {table[name].max()!s}"))
        elif name in columns:
            column = columns[name]
            if column.kind == "number":
                values = f"{_short(column.values.min())} to {_short(column.values.max())}"
            else:
                values = ", ".join(column.kinds[:4]) + (
                    f", … ({len(column.kinds)})" if len(column.kinds) > 4 else ""
                )
            found.append(Row(name, f"{role}{column.kind}", column.num_missing, values))
        else:
            found.append(Row(name, "ignored", 0, ""))
    if gaps is not None:
        found.append(
            Row(
                SINCE,
                "number, of the time",
                0,
                f"{_short(gaps[1].min())} to {_short(gaps[1].max())} {gaps[0]}",
            )
        )
    return found


def _short(value: Any) -> str:
    return "nothing" if value is None else f"{value:,.6g}"
