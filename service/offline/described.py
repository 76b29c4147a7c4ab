"""Rows of a described table → the arrays of a model, a column at a time.

    frame   oven mode temperature at          inputs    numbers [rows, 2]   mode [rows]
            a    run  40          10:00                 40  0               2
            a    run  -           10:05                 NaN 5               2
            b    fly  41          10:01                 41  0               0

`service.codec.records` says what a record is. Here only rows are read whose every value is usual, so that
both give the same; a sequence with any other row, and so every error, is left to it. A kind of column that
this file does not know makes no row usual.
"""

from typing import NamedTuple

import numpy as np
import polars as pl

from service.codec.arrays import decode_input
from service.errors import BadInput
from service.manifest import InputSpec, Manifest, TableColumn, TableSpec
from service.offline.columns import floats_of, values_as_json
from service.offline.times import seconds_of
from service.sequence import Array
from service.times import UNITS


class Arrays(NamedTuple):
    """All rows of a frame."""

    inputs: tuple[Array, ...]  # one per input with a time axis, each [rows, *dims]
    static: tuple[Array, ...]  # one per input without, each [sequences, *dims]
    seconds: Array | None  # [rows] of their times, float64; None: the frame has no times
    is_usual: Array  # [sequences] bool: the other sequences are to be read record by record


def arrays_of(frame: pl.DataFrame, ends: Array, manifest: Manifest) -> Arrays:
    """The arrays of a model with a table; `ends`: the row behind each sequence."""
    table = manifest.table
    assert table is not None
    is_usual = np.full(len(frame), fill_value=True)
    seconds = None
    derived: dict[str, Array] = {}
    if table.time is not None and table.time.column in frame.columns:
        seconds = seconds_of(frame[table.time.column], table.time)
        elapsed = np.diff(seconds, prepend=seconds[:1])
        elapsed[ends[:-1]] = 0
        derived = _calendar(table, seconds)
        if table.since_previous is not None:
            derived[table.since_previous.name] = elapsed / UNITS[table.time.unit]
        is_usual &= (elapsed >= 0) & ~np.isnan(seconds)
    arrays = []
    for spec, columns in (*manifest.table_inputs, *manifest.static_inputs):
        array = np.empty((len(frame), *spec.dims), spec.dtype)
        places = array.reshape(len(frame), -1)
        for column in columns:
            values = derived.get(column.name) if column.derived else _values(frame, column, spec)
            is_usual &= _put(places, column.place, values, spec)
        arrays.append(array)
    starts = np.concatenate(([0], ends[:-1]))
    count = len(manifest.table_inputs)
    for array in arrays[count:]:
        rows = array.reshape(len(frame), -1)
        is_usual &= (rows == np.repeat(rows[starts], ends - starts, axis=0)).all(axis=1)
    static = tuple([array[starts] for array in arrays[count:]])
    return Arrays(tuple(arrays[:count]), static, seconds, np.logical_and.reduceat(is_usual, starts))


def _calendar(table: TableSpec, seconds: Array) -> dict[str, Array]:
    """[rows] of each feature of the calendar, by name; infinity, which no input takes, where it has none."""
    if not table.calendar:
        return {}
    different, places = np.unique(seconds, return_inverse=True)
    rows = [_calendar_at(table, moment) for moment in different.tolist()]
    columns = np.array(rows).reshape(-1, len(table.calendar))[places].T
    return {column.name: values for column, values in zip(table.calendar, columns, strict=True)}


def _calendar_at(table: TableSpec, seconds: float) -> list[float]:
    try:
        return table.calendar_at(seconds)
    except ValueError:  # also of NaN
        return [np.inf] * len(table.calendar)


def _values(frame: pl.DataFrame, column: TableColumn, spec: InputSpec) -> Array | None:
    """[rows] of numbers as `floats_of`; of a category the ids, and -1 for none. None: unknown."""
    if column.of is not None:
        return None
    if column.name not in frame.columns:
        return _missing(len(frame), spec)
    series = frame[column.name]
    if spec.kind == "token":
        return _ids(series, spec)
    return floats_of(series)


def _missing(rows: int, spec: InputSpec) -> Array | None:
    if spec.kind == "token":
        return np.full(rows, -1 if spec.missing_token is None else spec.missing_token)
    return np.full(rows, np.nan)


def _ids(column: pl.Series, spec: InputSpec) -> Array | None:
    """The id of each value: the codec looks up each different one once."""
    if not (column.dtype.is_numeric() or column.dtype in (pl.String, pl.Boolean, pl.Null)):
        return None
    different = column.unique()
    ids = [_id(value, spec) for value in values_as_json(different, spec)]
    found = column.replace_strict(different, pl.Series(ids, dtype=pl.Int64), return_dtype=pl.Int64)
    return found.to_numpy()


def _id(value: object, spec: InputSpec) -> int:
    try:
        return int(decode_input([value], spec, "", 1)[0])
    except BadInput:
        return -1


def _put(places: Array, place: int, values: Array | None, spec: InputSpec) -> Array:
    """Write a column of an input, [rows, width]; which of its values are usual."""
    if values is None or (spec.kind != "token" and not spec.dtype.startswith("float")):
        return np.zeros(len(places), np.bool_)
    with np.errstate(over="ignore"):  # an infinity then
        places[:, place] = values
    written = places[:, place]
    if spec.kind == "token":
        return written >= 0
    return ~np.isinf(written) if spec.missing == "nan" else np.isfinite(written)
