"""Turns a user's table, one row for each step, into sequences: see docs/own-data.md. Knows no network.

A sequence is the rows of one id in the order of time. Its numbers are one input, with gaps if any is missing;
each category is a token input. If the steps are not equally spaced, the time since the previous step is a
number too.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from training.config import Recipe, Table
from training.data import doubts, known, static, texts
from training.data import season as seasons
from training.data.appended import append
from training.data.calendar import Calendar, calendar_of
from training.data.columns import Column, find, typed
from training.data.criteria import criteria
from training.data.dataset import QUANTILES, DataSet, Forecast, Split, each_step
from training.data.description import describe
from training.data.file import MISSING, TableError, read, read_bytes
from training.data.label_doubts import never_learnt
from training.data.labels import column_of as labels_column
from training.data.rows import SINCE, Rows, Spacing, in_order, spacing
from training.data.splits import Parts, Slices, split_sequences, windows
from training.data.steps import Derived, Steps, steps_of
from training.data.summary import ColumnSummary, summarise
from training.data.targets import Targets, targets_of, truth_of

# One for all tables: small enough for a laptop; early stopping decides the number of epochs.
RECIPES: Mapping[str, Recipe] = {
    "default": Recipe(
        hidden=64, epochs=50, patience=8, batch_size=32, learning_rate=3e-3, dropout=0.2, clip=1, buckets=True
    ),
}


class Interpreted(NamedTuple):
    """A table as a data set, and what the user should know about it."""

    data: DataSet
    columns: list[ColumnSummary]
    notes: list[str]  # decisions that may surprise, one line each


def fingerprint(path: Path) -> str:
    """The SHA-256 of a file. Raises TableError."""
    return hashlib.sha256(read_bytes(path)).hexdigest()


def load(table: Table, test_data: Path | None = None) -> DataSet:
    """The table as a data set; see `interpret`."""
    return interpret(table, test_data).data


def interpret(table: Table, test_data: Path | None = None) -> Interpreted:
    """The data set, and the interpretation of each column. Raises TableError, also if a file has changed.

    `test_data`: a file that replaces the test part; the other parts and all that follows from them stay.
    """
    if table.task == "language":
        return Interpreted(*texts.interpret(table, test_data))
    if table.tokens or table.vocabulary:
        raise TableError("--tokens and --vocabulary are for texts: --task language")
    _check_label_options(table)
    missing = MISSING if table.missing is None else table.missing
    content = read(Path(table.path), missing, sha256=table.sha256)
    frame = content.frame
    _check_names(frame, table)
    rows = own = in_order(frame, table)
    second = test_data or (Path(table.test_data) if table.test_data else None)
    if second is not None:
        sha256 = None if test_data else table.test_sha256
        frame, rows = append(frame, own, table, second, sha256, lambda one: _columns(one, table))
    static.check_names(table)
    columns = _columns(frame, table)
    targets = targets_of(table, columns, own, rows)
    known.check(table, targets.task, columns)
    parts = split_sequences(criteria(frame, own, table), table, targets.for_split)
    if second is not None:
        parts = parts._replace(test=rows.sequences[len(own.sequences) :])
    truth = truth_of(targets, table, rows, parts)

    in_training = parts.in_training(len(rows.order))
    spaced = spacing(rows, in_training)
    since = None if spaced is None or spaced.is_equal else spaced
    calendar = calendar_of(table, rows, in_training)
    used, empty = _used(columns, table, targets, rows.order[in_training])
    derived = _derived(since, calendar)
    if not derived and all(column.name in table.static for column in used):
        raise TableError(f"{table.path}: no column is left to learn from besides {', '.join(table.targets)}")
    used, its_notes = _with_static(used, table, rows, in_training)
    later = calendar.features if targets.task == "forecast" else ()
    ahead = known.known_ahead(table, columns, later, rows, spaced, in_training, frame.columns)
    steps = steps_of(used, derived, rows, parts, frame.columns, table.static, ahead)
    data = _data_set(table, targets, steps, truth, parts)
    described = describe(frame.columns, table, rows, spaced, data.inputs, data.forecast, steps.derived, ahead)
    described = described.model_copy(update={"labels": targets.several and targets.several.spec})
    data = replace(data, table=described)
    summaries = summarise(frame, table, columns, rows, since, calendar.features)
    notes = [
        *rows.notes,
        *calendar.notes,
        *_notes(columns, empty),
        *doubts.missing_texts(columns, content),
        *steps.notes,
        *its_notes,
    ]
    notes += doubts.codes({column.name: column for column in (*used, *targets.columns)}, table, targets.task)
    notes += _target_notes(table, targets, rows, spaced, in_training)
    return Interpreted(data, summaries, notes)


def _target_notes(
    table: Table, targets: Targets, rows: Rows, spaced: Spacing | None, in_training: NDArray[np.bool_]
) -> list[str]:
    """What is doubtful about the targets."""
    if targets.task == "forecast":
        return doubts.distances(table, rows, spaced)
    notes: list[str] = []
    if targets.several is not None:
        notes += targets.several.notes
        notes += never_learnt(targets.labels, targets.several.values, in_training)
    if targets.codes is not None:
        notes += doubts.several_labels(targets.columns[0])
        notes += doubts.classes_never_learnt(targets.columns[0], targets.codes, rows, in_training)
    return notes


def _used(
    columns: dict[str, Column], table: Table, targets: Targets, training_rows: NDArray[np.int64]
) -> tuple[list[Column], list[str]]:
    """The columns that are inputs, the targets of a forecast first; and those without a training value."""
    candidates = {
        name: column for name, column in columns.items() if targets.are_inputs or name not in table.targets
    }
    empty = [
        name for name, column in candidates.items() if column.values.gather(training_rows).is_null().all()
    ]
    used = [column for name, column in candidates.items() if name not in empty]
    return sorted(used, key=lambda column: column.name not in table.targets), empty


def _with_static(
    used: list[Column], table: Table, rows: Rows, in_training: NDArray[np.bool_]
) -> tuple[list[Column], list[str]]:
    """The columns, where static ones have their value in every row; and notes about these and others."""
    made: list[Column] = []
    notes: list[str] = []
    for column in used:
        if column.name in table.static:
            column, note = static.filled(column, rows, in_training)
            notes += [note] if note else []
        made.append(column)
    return made, [*notes, *static.proposal(used, rows, table)]


def _derived(since: Spacing | None, calendar: Calendar) -> list[Derived]:
    """The numbers of a step that follow from its time."""
    derived = [] if since is None else [Derived(SINCE, since.unit, since.values.astype(np.float32))]
    for place, feature in enumerate(calendar.features):
        derived.append(Derived(feature, "", calendar.values[:, place]))
    return derived


def _data_set(table: Table, targets: Targets, steps: Steps, truth: NDArray[Any], parts: Parts) -> DataSet:
    is_whole = targets.is_whole
    slices = (parts.train if is_whole else windows(parts.train), parts.validation, parts.test)
    train, validation, test = (_split(steps.x, truth, part, is_whole=is_whole) for part in slices)
    if not is_whole:
        train = replace(train, series=_split(steps.x, truth, parts.train, is_whole=False))
    forecast = None
    if targets.task == "forecast":
        columns = tuple(steps.inputs[0].features.index(name) for name in table.targets)
        season = table.season
        if season is None:
            season = seasons.find([[steps.x[one, column] for one in parts.train] for column in columns])
        forecast = Forecast(
            columns,
            table.horizons,
            horizon_names(table.horizons),
            quantiles=table.quantiles or QUANTILES,
            season=season,
        )
    return DataSet(
        name=Path(table.path).stem,
        title=Path(table.path).name,
        citation="A table of one's own",
        license="unstated",
        inputs=steps.inputs,
        labels=targets.labels,
        train=train,
        validation=validation,
        test=test,
        task=targets.task,
        forecast=forecast,
        quantiles=table.quantiles if targets.task == "regress" else (),
    )


def horizon_names(horizons: tuple[int, ...]) -> tuple[str, ...]:
    """The names of horizons: "+1 step", "+4 steps"."""
    return tuple(f"+{steps} step{'s' * (steps > 1)}" for steps in horizons)


def _check_names(frame: pl.DataFrame, table: Table) -> None:
    if not table.targets:
        raise TableError(f"--target is missing; the columns are {', '.join(frame.columns)}")
    flags: dict[str, tuple[str | None, ...]] = {
        "--target": table.targets,
        "--ignore": table.ignore,
        "--categorical": table.categorical,
        "--static": table.static,
        "--known": table.known,
        "--id-column": (table.id_column,),
        "--time-column": (table.time_column,),
        "--split-column": (table.split_column,),
        "--group-column": (table.group_column,),
    }
    for flag, names in flags.items():
        for name in filter(None, names):
            find(frame, name, flag)
    twice = [name for place, name in enumerate(table.targets) if name in table.targets[:place]]
    if twice:
        raise TableError(f"--target {twice[0]!r} is given twice")
    if table.id_column and table.id_column == table.time_column:
        raise TableError(f"--id-column and --time-column are the same column, {table.id_column!r}")
    for name in table.targets:
        if name in _not_inputs(table):
            raise TableError(f"--target {name!r} is also the id, the time, the split, the group, or ignored")


def _check_label_options(table: Table) -> None:
    """Raise TableError for options of labels that have no effect."""
    given = {
        "--separator": table.separator is not None,
        "--labels-of": table.labels_of is not None,
        "--empty-labels": table.empty_labels != "none",
    }
    flags = [flag for flag, is_given in given.items() if is_given]
    if flags and table.task != "multilabel":
        raise TableError(f"{flags[0]} is for several labels: --task multilabel")
    if table.separator is not None and len(table.targets) > 1:
        raise TableError(f"--separator is for one target column, not for {', '.join(table.targets)}")
    if table.empty_labels != "none" and table.separator is None:
        raise TableError(
            "--empty-labels requires --separator: in a column of 0 and 1 an empty field is unknown"
        )


def _not_inputs(table: Table) -> set[str | None]:
    """The columns of the id, the time, the split and the group, and ignored ones."""
    return {table.id_column, table.time_column, table.split_column, table.group_column, *table.ignore}


def _columns(frame: pl.DataFrame, table: Table) -> dict[str, Column]:
    """All columns that may be inputs or targets, in the order of the table."""
    excluded = _not_inputs(table)
    texts = set(table.categorical) | (set(table.targets) if table.task in ("classify", "label") else set())
    labels = set(table.targets) if table.task == "multilabel" else set()
    return {
        name: labels_column(frame[name], table)
        if name in labels
        else typed(frame[name], is_category=name in texts)
        for name in frame.columns
        if name not in excluded
    }


def _split(x: NDArray[np.float32], truth: NDArray[Any], part: Slices, *, is_whole: bool) -> Split:
    """The steps of each slice with their targets."""
    sequences = tuple(np.ascontiguousarray(x[one]) for one in part)
    if is_whole:
        return Split(sequences, np.array([truth[one.start] for one in part]))
    return Split(sequences, each_step([truth[one] for one in part]))


def _notes(columns: dict[str, Column], empty: list[str]) -> list[str]:
    doubts = [f"column {name!r}: {column.doubt}" for name, column in columns.items() if column.doubt]
    where = {name: "" if columns[name].is_empty else " in the training part" for name in empty}
    return doubts + [f"column {name!r} is empty{where[name]}: ignored" for name in empty]
