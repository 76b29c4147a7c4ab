"""Reads which labels each row of a table has. Knows nothing of sequences' inputs or of networks.

Each label is a column of 0 and 1 (or no and yes, false and true), or one column of texts holds all of a row:
"rain;wind", with --separator. Labels are in alphabetical order, so the order of columns, of options and
within a text changes nothing.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from service.manifest import LabelsSpec
from training.config import Table
from training.data.columns import Column, texts_of
from training.data.file import FIRST_ROW, TableError, listed
from training.data.label_doubts import in_texts, parts_of, separator_in
from training.data.rows import Rows

PAIRS = (("0", "1"), ("no", "yes"), ("false", "true"))  # how false and true are written, in any case
MOST_LABELS = 1000
FEW = 0.1  # if the labels change in a smaller share of the sequences, they may be mistakes

Floats = NDArray[np.float32]


class Labels(NamedTuple):
    """The labels of all rows."""

    names: tuple[str, ...]
    values: Floats  # [rows, labels], in the order of `Rows`: 1, 0, or NaN where unknown
    is_whole: bool  # whether they are those of a sequence, the same in all of its rows
    spec: LabelsSpec
    notes: list[str]


def column_of(values: pl.Series, table: Table) -> Column:
    """A target column of labels: numbers 0 and 1, or texts whose categories are the labels.

    Raises TableError for a value that is neither.
    """
    if table.separator is not None:
        return _separated(values, table.separator)
    texts = texts_of(values).str.strip_chars().str.to_lowercase()
    texts = texts.replace({"1.0": "1", "0.0": "0"})
    found = set(texts.drop_nulls().unique())
    pair = next((pair for pair in PAIRS if found <= set(pair)), None)
    if pair is None:
        raise TableError(_fault(values, texts))
    numbers = texts.replace_strict(dict(zip(pair, (0.0, 1.0), strict=True)), return_dtype=pl.Float64)
    return Column(values.name, "number", numbers, role=f"label, {pair[0]} or {pair[1]}")


def labels_of(columns: list[Column], table: Table, own: Rows, rows: Rows) -> Labels:
    """The labels of the target columns; `own`: the rows of the table, among `rows`, as in `targets_of`.

    Raises TableError for labels that are not several, never vary, or do not belong to a sequence as asked.
    """
    if table.separator is None:
        names, values, notes = _of_columns(columns, rows)
    else:
        names, values, notes = _of_texts(columns[0], table, table.separator, rows)
    _check_vary(names, values, table)
    changing = _changing(values, own)
    is_whole = table.labels_of == "sequence" or (
        table.labels_of is None and not changing and len(own.sequences) > 1
    )
    if is_whole:
        _check_whole(columns, values, rows)
        values = _spread(values, rows)
    elif table.labels_of is None and len(changing) < FEW * _num_long(own):
        places = [own.order[place] for place in changing]
        notes.append(
            f"the labels change within {len(changing)} of {len(own.sequences)} sequences ({listed(places)}), "
            "so those of each step are predicted; --labels-of sequence refuses such rows"
        )
    spec = LabelsSpec(
        of="sequence" if is_whole else "step",
        separator=table.separator,
        empty=None if table.separator is None else table.empty_labels,
    )
    return Labels(names, values, is_whole, spec, notes)


def _fault(values: pl.Series, texts: pl.Series) -> str:
    """What is wrong with a column that is no label."""
    name, known = values.name, texts.is_not_null()
    pair = next((pair for pair in PAIRS if texts.filter(known)[0] in pair), None)
    of = [set(pair)] if pair else [set(pair) for pair in PAIRS]
    wrong = (known & ~texts.is_in(set.union(*of))).arg_true()
    row = int(wrong[0])
    if separator := separator_in(texts_of(values)):
        return (
            f"row {row + FIRST_ROW}, column {name!r}: {values[row]!r} is neither 0 nor 1; --separator "
            f"'{separator[0]}' reads several labels in one column"
        )
    if pair:
        first = int(known.arg_true()[0])
        return (
            f"row {row + FIRST_ROW}, column {name!r}: {values[row]!r}, but row {first + FIRST_ROW} has "
            f"{values[first]!r}; write all as {' and '.join(pair)}"
        )
    return (
        f"row {row + FIRST_ROW}, column {name!r}: {values[row]!r} is neither 0 nor 1 (or no and yes, false "
        "and true); a column of texts that holds several labels needs --separator"
    )


def _separated(values: pl.Series, separator: str) -> Column:
    texts = texts_of(values)
    names = sorted({part for text in texts.drop_nulls().unique() for part in parts_of(text, separator)})
    if len(names) > MOST_LABELS:
        raise TableError(
            f"column {values.name!r} has {len(names)} different labels, at most {MOST_LABELS} are possible; "
            f"is {separator!r} the separator?"
        )
    return Column(values.name, "category", texts, tuple(names), role=f"labels separated by {separator!r}")


def _of_columns(columns: list[Column], rows: Rows) -> tuple[tuple[str, ...], Floats, list[str]]:
    if len(columns) < 2:
        raise TableError(
            f"column {columns[0].name!r} is one label, which --task classify or label predicts as a class; "
            "several labels are several --target, or one column of texts with --separator"
        )
    columns = sorted(columns, key=lambda column: column.name)
    values = np.stack([rows.sorted(column) for column in columns], axis=1).astype(np.float32)
    notes = [
        f"column {column.name!r}: {listed(column.values.is_null().arg_true().to_numpy())} without a value: "
        "the label is unknown there, neither learnt nor scored"
        for column in columns
        if column.num_missing
    ]
    return tuple(column.name for column in columns), values, notes


def _of_texts(
    column: Column, table: Table, separator: str, rows: Rows
) -> tuple[tuple[str, ...], Floats, list[str]]:
    texts, names = column.values, column.categories
    has_several = texts.str.contains(separator, literal=True).fill_null(value=False)
    if not has_several.any() or len(names) < 2:
        guess = separator_in(texts)
        hint = (
            f"; is the separator {guess[0]!r}?" if guess else "; --task classify or label predicts one class"
        )
        raise TableError(
            f"column {column.name!r}: no row has several labels separated by {separator!r}{hint}"
        )
    place = {name: number for number, name in enumerate(names)}
    distinct = texts.drop_nulls().unique().to_list()
    row_of = {text: number for number, text in enumerate(distinct)}
    matrix = np.zeros((len(distinct) + 1, len(names)), np.float32)
    for number, text in enumerate(distinct):
        matrix[number, [place[part] for part in parts_of(text, separator)]] = 1
    matrix[-1] = 0 if table.empty_labels == "none" else np.nan
    codes = np.array([row_of.get(text, len(distinct)) for text in texts.to_list()])
    return names, matrix[codes][rows.order], in_texts(column, separator, table.empty_labels)


def _check_vary(names: Sequence[str], values: Floats, table: Table) -> None:
    """Raise TableError for a label of a column of its own that is never or always true, or unknown."""
    for name, column in zip(names, values.T, strict=True):
        known = column[~np.isnan(column)]
        if not len(known):
            raise TableError(f"label {name!r} has no value in any row: there is nothing to predict")
        if table.separator is None and (known == known[0]).all():
            raise TableError(
                f"label {name!r} is {'true' if known[0] else 'false'} in every row: there is nothing to "
                f"predict; leave out --target {name}, and --ignore it if it is no input"
            )


def _changing(values: Floats, rows: Rows) -> list[int]:
    """The first row of each sequence, in order, at which a label is not what it was before."""
    changing = []
    for one in rows.sequences:
        other = _others(values[one])
        if len(other):
            changing.append(one.start + int(other[0]))
    return changing


def _others(values: Floats) -> NDArray[np.int64]:
    """The rows of [rows, labels] that differ in a known label from the first row that knows it."""
    first = np.array([next(iter(column[~np.isnan(column)]), np.nan) for column in values.T], np.float32)
    return np.flatnonzero(((values != first) & ~np.isnan(values)).any(axis=1))


def _num_long(rows: Rows) -> int:
    return sum(one.stop - one.start > 1 for one in rows.sequences)


def _check_whole(columns: list[Column], values: Floats, rows: Rows) -> None:
    changing = _changing(values, rows)
    if changing:
        names = ", ".join(column.name for column in columns)
        row = int(rows.order[changing[0]]) + FIRST_ROW
        raise TableError(
            f"row {row}, column {names}: the labels differ from those of earlier rows of the sequence; "
            "--labels-of step predicts those of each step"
        )


def _spread(values: Floats, rows: Rows) -> Floats:
    """The same labels in all rows of a sequence; a label that no row of it knows is NaN."""
    values = values.copy()
    for one in rows.sequences:
        known = ~np.isnan(values[one])
        values[one] = np.where(known.any(axis=0), np.nanmax(np.where(known, values[one], -1), axis=0), np.nan)
    return values
