"""The columns of a table → values as JSON has them, and records by the description in the manifest.

It knows polars and the manifest; it knows nothing of files or sequences.
"""

from typing import Any

import numpy as np
import polars as pl

from service.errors import StartupError
from service.manifest import InputSpec, Manifest
from service.offline.flat_block import is_number
from service.offline.times import times_as_written
from service.sequence import Array

MISSING = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "?")  # texts of a CSV file that stand for no value


def columns_of(spec: InputSpec) -> tuple[str, ...]:
    """The columns that an input is read from. Raises StartupError if they have no names."""
    if not spec.dims:
        return (spec.name,)
    if not spec.features:
        raise StartupError(
            f"the model names no features of its input {spec.name!r}, so the columns of a table cannot be "
            "matched to them; send the sequences as NDJSON"
        )
    return spec.features


def names_in(manifest: Manifest, found: list[str]) -> tuple[list[str], list[str]]:
    """The columns of a file that a model is given, and those that it lacks."""
    table = manifest.table
    if table is None:
        names = [name for spec in manifest.step_inputs for name in columns_of(spec)]
        return names, [name for name in names if name not in found]
    own = [column.name for column in table.columns if column.is_own]
    required = set(manifest.required_columns | manifest.static_columns | table.known_ahead)
    if table.time is not None:
        own.append(table.time.column)
        required |= {table.time.column} if table.needs_times else set()
    return [name for name in own if name in found], sorted(required - set(found))


def numbers_of(manifest: Manifest) -> list[str]:
    """The columns of floating-point numbers."""
    if manifest.table is not None:
        specs = {spec.name: spec for spec in manifest.inputs}
        return [
            column.name
            for column in manifest.table.columns
            if column.is_own and is_number(specs[column.input])
        ]
    return [name for spec in manifest.step_inputs if is_number(spec) for name in columns_of(spec)]


def texts_of_null(manifest: Manifest) -> list[str]:
    """The texts of a CSV file that stand for no value."""
    return list(MISSING if manifest.table is None else manifest.table.missing)


def array_of(frame: pl.DataFrame, spec: InputSpec) -> Array:
    """An input's numbers of all rows, [rows, *dims] in its dtype and in C order; see `floats_of`."""
    numbers = [floats_of(frame[name]) for name in columns_of(spec)]
    array = np.empty((len(frame), len(numbers)), spec.dtype)
    with np.errstate(over="ignore"):  # an infinity then, which is refused
        for place, column in enumerate(numbers):
            array[:, place] = column
    return array if spec.dims else array[:, 0]


def floats_of(column: pl.Series) -> Array:
    """[rows] of floats: NaN for null; an infinity, which no input takes, for what is no number."""
    numbers = as_number(column)
    if numbers.dtype == pl.String:
        numbers = numbers.str.strip_chars().cast(pl.Float64, strict=False)
        numbers = numbers.set(numbers.is_null() & column.is_not_null(), np.inf)
    if not numbers.dtype.is_float():
        return np.full(len(column), np.inf)
    return numbers.to_numpy()


def values_of(frame: pl.DataFrame, spec: InputSpec) -> Any:
    """An input's values of all rows: an array in which NaN is a null, or lists as JSON has them."""
    names = columns_of(spec)
    if is_number(spec):
        numbers = [as_number(frame[name]) for name in names]
        if all(column.dtype.is_float() for column in numbers):
            array = pl.DataFrame(numbers).to_numpy()
            return array if spec.dims else array[:, 0]
    rows = [values_as_json(frame[name], spec) for name in names]
    return [list(row) for row in zip(*rows, strict=True)] if spec.dims else rows[0]


def records_of(frame: pl.DataFrame, manifest: Manifest) -> list[dict[str, Any]]:
    """The rows as `/predict` takes them by name. The column of the sequences is left out."""
    table = manifest.table
    assert table is not None
    specs = {spec.name: spec for spec in manifest.inputs}
    series = {
        column.name: values_as_json(frame[column.name], specs[column.input])
        for column in table.columns
        if column.is_own and column.name in frame.columns
    }
    if table.time is not None and table.time.column in frame.columns:
        series[table.time.column] = times_as_written(frame[table.time.column], table.time)
    names = list(series)
    return [dict(zip(names, row, strict=True)) for row in zip(*series.values(), strict=True)]


def as_plain(column: pl.Series, nulls: list[str]) -> pl.Series:
    """Dictionaries as texts, decimals as floats, and null for texts that stand for no value."""
    if column.dtype in (pl.Categorical, pl.Enum):
        column = column.cast(pl.String)
    if column.dtype == pl.String:
        return column.set(column.is_in(nulls), None)
    return column.cast(pl.Float64) if column.dtype == pl.Null or column.dtype.is_decimal() else column


def without_targets(records: list[dict[str, Any]], manifest: Manifest) -> list[dict[str, Any]]:
    """A sequence whose last rows, if they have no target, are of the future, and have none as records."""
    table = manifest.table
    if table is None or not table.known_ahead:
        return records
    for record in reversed(records):
        if any(record.get(name) is not None for name in table.targets):
            break
        for name in table.targets:
            record.pop(name, None)
    return records


def as_number(column: pl.Series) -> pl.Series:
    """Numbers, or texts that are some, as floats; any other column as it is."""
    if column.dtype == pl.String:
        numbers = column.str.strip_chars().cast(pl.Float64, strict=False)
        return numbers if numbers.null_count() == column.null_count() else column
    if column.dtype.is_numeric() and not column.dtype.is_float():
        return column.cast(pl.Float64)
    return column


def values_as_json(column: pl.Series, spec: InputSpec) -> list[Any]:
    """The values as JSON has them. A text that is a number is one, where the input has no texts."""
    if column.dtype == pl.String and not spec.vocabulary:
        numbers = column.str.strip_chars().cast(pl.Int64 if spec.takes_integers else pl.Float64, strict=False)
        return [text if number is None else number for text, number in zip(column, numbers, strict=True)]
    return [None if value != value else value for value in column.to_list()]
