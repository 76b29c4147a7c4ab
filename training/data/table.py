"""Turns a table of one's own, a row for each step, into sequences: see docs/own-data.md.

A sequence is the rows of one id, in order of time. Its numbers are one input, with gaps where any is missing;
each category is an input of tokens. Where steps are not equally far apart, the time since the step before is
a number too.
"""

import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from training.config import Recipe, Table
from training.data.columns import Column, find, typed
from training.data.dataset import DataSet, Forecast, Input, Split, each_step
from training.data.file import TableError, read
from training.data.rows import (
    Gaps,
    Parts,
    Rows,
    Slices,
    check_labels,
    classes,
    foretold,
    gaps,
    in_order,
    part,
    task_of,
    windows,
)

# One for all: small enough for a laptop; early stopping finds the end.
RECIPES: Mapping[str, Recipe] = {
    "default": Recipe(
        hidden=64, epochs=50, patience=8, batch_size=32, learning_rate=3e-3, dropout=0.2, clip=1, buckets=True
    ),
}
NUMBERS, SINCE = "numbers", "since_previous"  # the input of all numbers, and the one of them that is the gap
OTHER, NOTHING = "<other>", "<missing>"  # a text that the training part does not have; no text


class Row(NamedTuple):
    """What a column was taken for, for people to see."""

    column: str
    taken_for: str
    missing: int
    values: str


class Understood(NamedTuple):
    """A table as a data set, and what people should know of it."""

    data: DataSet
    shown: list[Row]
    notes: list[str]  # what was decided that may surprise, a line each


class _Steps(NamedTuple):
    """What the steps of all rows are made of."""

    inputs: tuple[Input, ...]
    x: NDArray[np.float32]  # [rows, columns], in order
    notes: list[str]


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
    return understand(told).data


def understand(told: Table) -> Understood:
    """The data set, and what each column was taken for. Raises TableError."""
    table = read(Path(told.path))
    _check_names(table, told)
    columns = _columns(table, told)
    rows = in_order(table, told)
    targets = [columns[name] for name in told.targets]
    task = told.task or task_of(targets, rows)
    _check_targets(task, targets)
    codes = None if task == "forecast" else classes(task, targets[0], rows)
    parts = part(rows, told.test, labels=targets[0].kinds if task == "classify" else (), codes=codes)
    if codes is not None:
        check_labels(targets[0], codes, parts)
    truth = foretold(targets, rows, parts, told.horizons) if codes is None else codes

    learnt = parts.learnt(len(table))
    since = gaps(rows, learnt)
    given = {name: column for name, column in columns.items() if codes is None or name not in told.targets}
    empty = [name for name, one in given.items() if one.values.gather(rows.order[learnt]).is_null().all()]
    used = [column for name, column in given.items() if name not in empty]
    used.sort(key=lambda column: column.name not in told.targets)  # what is foretold is first
    if not used and since is None:
        raise TableError(f"{told.path}: there is no column to learn from but {', '.join(told.targets)}")
    steps = _steps(used, since, rows, parts)
    data = _data_set(told, task, targets, steps, truth, parts)
    return Understood(data, _shown(table, told, columns, rows, since), _notes(columns, empty) + steps.notes)


def _data_set(
    told: Table, task: Any, targets: list[Column], steps: _Steps, truth: NDArray[Any], parts: Parts
) -> DataSet:
    is_whole = task == "classify"
    learnt = parts.train if is_whole else windows(parts.train)
    train, validation, test = (
        _split(steps.x, truth, one, is_whole=is_whole) for one in (learnt, parts.validation, parts.test)
    )
    is_forecast = task == "forecast"
    return DataSet(
        name=Path(told.path).stem,
        title=Path(told.path).name,
        citation="A table of one's own",
        license="unstated",
        inputs=steps.inputs,
        labels=tuple(target.name for target in targets) if is_forecast else targets[0].kinds,
        train=train,
        validation=validation,
        test=test,
        task=task,
        forecast=Forecast(tuple(range(len(targets))), told.horizons, ahead_names(told.horizons))
        if is_forecast
        else None,
    )


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


def _check_targets(task: str, targets: list[Column]) -> None:
    texts = [target.name for target in targets if target.kind == "category"]
    if task == "forecast" and texts:
        raise TableError(
            f"column {texts[0]!r} has texts, and only numbers are foretold; "
            "--task classify or label says a class"
        )
    if task != "forecast" and len(targets) > 1:
        names = ", ".join(target.name for target in targets)
        raise TableError(f"several targets are foretold, so they must be numbers: {names}")
    for target in targets:
        if target.is_empty:
            raise TableError(f"column {target.name!r} is empty: there is nothing to be told")


def _columns(table: pl.DataFrame, told: Table) -> dict[str, Column]:
    """All but id, time and what is ignored, in the order of the table."""
    apart = {told.id_column, told.time_column, *told.ignore}
    texts = set(told.categorical) | (set(told.targets) if told.task in ("classify", "label") else set())
    return {
        name: typed(table[name], is_category=name in texts) for name in table.columns if name not in apart
    }


def _steps(used: list[Column], since: Gaps | None, rows: Rows, parts: Parts) -> _Steps:
    """Numbers together, then each category; names of the table's own come before those we give."""
    learnt = parts.learnt(len(rows.order))
    numbers = [column for column in used if column.kind == "number"]
    categories = [column for column in used if column.kind == "category"]
    inputs, x, notes = [], [], []
    if numbers or since is not None:
        values = {column.name: rows.sorted(column).astype(np.float32) for column in numbers}
        has_gaps = any(np.isnan(one[learnt]).any() for one in values.values())
        if not has_gaps:
            notes = [note for name, one in values.items() if (note := _fill(name, one, rows, learnt))]
        units = [""] * len(numbers)
        if since is not None:
            values[_free(SINCE, values)] = since.values.astype(np.float32)
            units.append(since.unit)
        name = _free(NUMBERS, [column.name for column in categories])
        tensor = None if name == NUMBERS else NUMBERS
        inputs.append(
            Input(name, tensor=tensor, features=tuple(values), units=tuple(units), has_gaps=has_gaps)
        )
        x.append(np.stack(list(values.values()), axis=1))
    for number, column in enumerate(categories):
        texts = [NOTHING if text is None else str(text) for text in rows.sorted(column)]
        known = {text for text, is_learnt in zip(texts, learnt, strict=True) if is_learnt}
        vocabulary = (OTHER, *sorted(known - {OTHER}))
        ids = {text: place for place, text in enumerate(vocabulary)}
        # A column may be called like any tensor of the graph, so there it goes by its number.
        inputs.append(
            Input(
                column.name, tensor=f"category_{number}", kind="token", vocabulary=vocabulary,
                unknown=ids[OTHER], missing=ids.get(NOTHING, ids[OTHER]),
            )
        )  # fmt: skip
        x.append(np.array([[ids.get(text, ids[OTHER])] for text in texts], np.float32))
    return _Steps(tuple(inputs), np.hstack(x), notes)


def _free(name: str, taken: Collection[str]) -> str:
    """The name, or one like it that is not taken."""
    while name in taken:
        name += "_"
    return name


def _fill(name: str, values: NDArray[np.float32], rows: Rows, learnt: NDArray[np.bool_]) -> str | None:
    """Fill gaps of a part that is not learnt from: a network that never saw one cannot take them. Says so."""
    lacking = np.isnan(values)
    if not lacking.any():
        return None
    mean = values[learnt].mean(dtype=np.float64)
    for one in rows.sequences:
        when = np.maximum.accumulate(np.where(lacking[one], -1, np.arange(one.stop - one.start)))
        values[one] = np.where(when < 0, mean, values[one][when])
    return (
        f"column {name!r}: {lacking.sum():,} missing, none of them in the part that is learnt from; they are "
        "filled with the last one seen, or the mean, and /predict takes no null"
    )


def _split(x: NDArray[np.float32], truth: NDArray[Any], part: Slices, *, is_whole: bool) -> Split:
    """The steps of each slice with what is true of them."""
    sequences = tuple(np.ascontiguousarray(x[one]) for one in part)
    if is_whole:
        return Split(sequences, np.array([truth[one.start] for one in part]))
    return Split(sequences, each_step([truth[one] for one in part]))


def _notes(columns: dict[str, Column], empty: list[str]) -> list[str]:
    doubts = [f"column {name!r}: {column.doubt}" for name, column in columns.items() if column.doubt]
    where = {name: "" if columns[name].is_empty else " in the part that is learnt from" for name in empty}
    return doubts + [f"column {name!r} is empty{where[name]}: ignored" for name in empty]


def _shown(
    table: pl.DataFrame, told: Table, columns: dict[str, Column], rows: Rows, since: Gaps | None
) -> list[Row]:
    """What each column was taken for."""
    found = []
    for name in table.columns:
        if name == told.id_column:
            found.append(Row(name, "the sequence", 0, f"{table[name].n_unique():,} different"))
        elif name == told.time_column and rows.times is not None:
            first, last = (int(rows.order[at(rows.times.values)]) for at in (np.argmin, np.argmax))
            what = "the time" if rows.times.has_unit else "the time, in no known unit"
            found.append(Row(name, what, 0, f"{table[name][first]} to {table[name][last]}"))
        elif name in columns:
            column, role = columns[name], "target, " if name in told.targets else ""
            found.append(Row(name, f"{role}{column.kind}", column.num_missing, _range(column)))
        else:
            found.append(Row(name, "ignored", 0, ""))
    if since is not None:
        ends = f"{_short(since.values.min())} to {_short(since.values.max())}"
        found.append(Row(SINCE, "number, of the time", 0, f"{ends} {since.unit}".rstrip()))
    return found


def _range(column: Column) -> str:
    if column.is_empty:
        return "none"
    if column.kind == "number":
        low, high = column.values.min(), column.values.max()
        return f"{_short(low)} to {_short(high)}"
    more = f", … ({len(column.kinds)})" if len(column.kinds) > 4 else ""
    return ", ".join(column.kinds[:4]) + more


def _short(value: Any) -> str:
    return f"{value:,.6g}"
