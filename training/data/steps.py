"""Turns the columns of a table into the inputs of a network and the values of all steps. Knows no sequence.

The numbers are one input; each category is a token input, with the categories of the training part.
"""

from collections.abc import Collection
from dataclasses import replace
from typing import Literal, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from service.manifest import CalendarFeature
from training.data.columns import Column
from training.data.dataset import Input
from training.data.file import listed
from training.data.known import Known
from training.data.rows import SINCE, Rows
from training.data.splits import Parts

NUMBERS = "numbers"  # the input of all numbers
STATIC = "static"  # of those with one value in each sequence
KNOWN = "known"  # of those of later steps
DerivedKind = Literal["since_previous"] | CalendarFeature
OTHER, MISSING = "<other>", "<missing>"  # tokens: a text that the training part does not have; no text


class Derived(NamedTuple):
    """A number of a step that is no column of the table, but follows from the times."""

    kind: DerivedKind
    unit: str
    values: NDArray[np.float32]  # [rows], in order


class Steps(NamedTuple):
    """The steps of all rows."""

    inputs: tuple[Input, ...]
    x: NDArray[np.float32]  # [rows, columns], in order
    notes: list[str]
    derived: dict[str, DerivedKind]  # the features that are no columns of the table, by name


def steps_of(
    used: list[Column],
    derived: list[Derived],
    rows: Rows,
    parts: Parts,
    names: Collection[str],
    static: Collection[str] = (),
    known: Known | None = None,
) -> Steps:
    """The inputs of all numbers, each category, all static numbers, and numbers that are known ahead.

    `derived`: numbers behind those of the table. `names`: of all columns of the table; they win over our own.
    `static`: of columns with one value in each sequence; static numbers have no gaps.
    """
    in_training = parts.in_training(len(rows.order))
    numbers, its_numbers = _apart([column for column in used if column.kind == "number"], static)
    categories, its_categories = _apart([column for column in used if column.kind == "category"], static)
    taken = [column.name for column in (*categories, *its_categories)]
    inputs, x = [], []
    notes: list[str] = []
    by_name = {_free(one.kind, names): one for one in derived}
    if numbers or derived:
        name = _free(NUMBERS, taken)
        input_, values, notes = _numbers_input(name, numbers, by_name, rows, in_training)
        inputs.append(input_)
        x.append(values)
    for number, column in enumerate((*categories, *its_categories)):
        input_, values = _category_input(number, column, rows, in_training)
        inputs.append(input_ if number < len(categories) else replace(input_, per="sequence"))
        x.append(values)
        if not column.doubt and (note := _unknown_categories(column, values, rows, in_training)):
            notes.append(note)
    if its_numbers:
        name = _free(STATIC, [*taken, *(input_.name for input_ in inputs)])
        inputs.append(_static_input(name, [column.name for column in its_numbers]))
        x.append(np.stack([rows.sorted(column).astype(np.float32) for column in its_numbers], axis=1))
    if known is not None:
        name = _free(KNOWN, [*taken, *(input_.name for input_ in inputs)])
        inputs.append(_known_input(name, known))
        x.append(known.values)
    kinds = {name: one.kind for name, one in by_name.items()}
    return Steps(tuple(inputs), np.hstack(x), notes, kinds)


def _apart(columns: list[Column], static: Collection[str]) -> tuple[list[Column], list[Column]]:
    """The columns of a step, and those of a sequence as a whole."""
    steps = [column for column in columns if column.name not in static]
    return steps, [column for column in columns if column.name in static]


def _static_input(name: str, features: list[str]) -> Input:
    tensor = None if name == STATIC else STATIC
    return Input(name, tensor=tensor, features=tuple(features), units=("",) * len(features), per="sequence")


def _known_input(name: str, known: Known) -> Input:
    return Input(
        name,
        tensor=None if name == KNOWN else KNOWN,
        features=known.names,
        units=("",) * len(known.names),
        has_gaps=known.has_gaps,
        is_ahead=True,
    )


def _numbers_input(
    name: str,
    numbers: list[Column],
    derived: dict[str, Derived],
    rows: Rows,
    in_training: NDArray[np.bool_],
) -> tuple[Input, NDArray[np.float32], list[str]]:
    """The input of all numbers, its values [rows, numbers], and notes about filled gaps."""
    values = {column.name: rows.sorted(column).astype(np.float32) for column in numbers}
    has_gaps = any(np.isnan(one[in_training]).any() for one in values.values())
    notes: list[str] = []
    if not has_gaps:
        filled = (_fill(column, one, rows, in_training) for column, one in values.items())
        notes = [note for note in filled if note]
    values |= {name: one.values for name, one in derived.items()}
    units = [""] * len(numbers) + [one.unit for one in derived.values()]
    places: dict[str, int] = {one.kind: len(numbers) + place for place, one in enumerate(derived.values())}
    input_ = Input(
        name,
        tensor=None if name == NUMBERS else NUMBERS,
        features=tuple(values),
        units=tuple(units),
        has_gaps=has_gaps,
        elapsed=places.get(SINCE),
    )
    return input_, np.stack(list(values.values()), axis=1), notes


def _category_input(
    number: int, column: Column, rows: Rows, in_training: NDArray[np.bool_]
) -> tuple[Input, NDArray[np.float32]]:
    """A token input with the categories of the training part, and its ids [rows, 1]."""
    texts = column.values.gather(rows.order).fill_null(MISSING)
    known = set(texts.filter(pl.Series(in_training)).unique())
    vocabulary = (OTHER, *sorted(known - {OTHER}))
    ids = {text: index for index, text in enumerate(vocabulary)}
    input_ = Input(
        column.name,
        tensor=f"category_{number}",  # the column's name may be that of another tensor
        kind="token",
        vocabulary=vocabulary,
        unknown=ids[OTHER],
        missing=ids.get(MISSING, ids[OTHER]),
        numbers="tokens",
    )
    numbers = texts.replace_strict(ids, default=ids[OTHER], return_dtype=pl.Float32)
    return input_, numbers.to_numpy()[:, None]


def _unknown_categories(
    column: Column, ids: NDArray[np.float32], rows: Rows, in_training: NDArray[np.bool_]
) -> str | None:
    """A note about the categories that the training part does not have; None if it has all."""
    texts = column.values.gather(rows.order)
    places = np.flatnonzero((ids[:, 0] == 0) & ~in_training & texts.is_not_null().to_numpy())
    names = sorted(set(texts.gather(places).unique()) - {OTHER})
    if not names:
        return None
    shown = ", ".join(map(repr, names[:3])) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return (
        f"column {column.name!r}: {shown} in {listed(rows.order[places])} only, not in the training part; "
        f"read as {OTHER}, the mean of the known ones"
    )


def _free(name: str, taken: Collection[str]) -> str:
    """The name, with as many underscores after it as needed to be unique."""
    while name in taken:
        name += "_"
    return name


def _fill(name: str, values: NDArray[np.float32], rows: Rows, in_training: NDArray[np.bool_]) -> str | None:
    """Fill the gaps of a column without gaps in the training part, in place; return a note, or None."""
    is_missing = np.isnan(values)
    if not is_missing.any():
        return None
    mean = values[in_training].mean(dtype=np.float64)
    for one in rows.sequences:
        last = np.maximum.accumulate(np.where(is_missing[one], -1, np.arange(one.stop - one.start)))
        values[one] = np.where(last < 0, mean, values[one][last])
    return (
        f"column {name!r}: {is_missing.sum():,} missing, none of them in the training part; they are "
        "filled with the last observed value or the mean, and /predict accepts no null"
    )
