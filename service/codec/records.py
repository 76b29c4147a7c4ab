"""Steps by name: records of a table → what the model's inputs take, by the description in the manifest.

    [{"temperature": 41, "mode": "run", "timestamp": "2026-01-01T00:00"}, …]
      ─→ {"numbers": [[41, 0], …], "mode": ["run", …]}, and the times as they are written

What follows from times is 0 here: it may depend on the step before the first, which only the state knows
(`service.predict.timed`). This file knows the manifest and JSON; it knows nothing of sessions or files.
"""

from typing import Any, NamedTuple

from service.codec import known
from service.codec.arrays import Kept, Steps, check_num_steps, decode_inputs
from service.codec.fields import escaped, kind
from service.codec.static import pointer_of, static_values
from service.errors import BadInput, InvalidField
from service.manifest import Manifest, TableColumn, TableSpec

Record = dict[str, Any]
MOST_NAMED = 20  # columns in a message


class Times(NamedTuple):
    """The times of a sequence's steps as they are written."""

    values: tuple[str | float, ...]
    pointer: str  # to the steps


class Decoded(NamedTuple):
    """One sequence."""

    inputs: Steps
    kept: Kept
    times: Times | None  # None: rows, or records of a table without times


def decode_steps(steps: Any, manifest: Manifest, pointer: str, max_steps: int) -> Decoded:
    """The arrays of one sequence, whose steps are rows or records. Raises a BadInput at the fault.

    A column that the records do not have is null. Raises InvalidField for a column that is neither in the
    table nor null, and for a name that the table does not have.
    """
    table = manifest.table
    if table is None or not isinstance(steps, list) or not steps or not isinstance(steps[0], dict):
        return Decoded(*decode_inputs(steps, manifest, pointer, max_steps), None)
    _check_names(steps, table, pointer)
    num_steps = known.num_steps(steps, table)
    check_num_steps(num_steps, max_steps, pointer)
    _check_required(steps[:num_steps], manifest.required_columns, pointer)
    if table.id_column is not None:
        _check_one_sequence(steps, num_steps, table.id_column, pointer)
    times = _times(steps[:num_steps], table, pointer)
    known.check_times(steps, num_steps, table, pointer)
    values = _by_input(steps, num_steps, manifest, pointer)
    try:
        inputs, kept = decode_inputs(values, manifest, pointer, max_steps)
    except BadInput as error:
        if error.pointer is not None:
            inner = error.pointer.removeprefix(pointer)
            static = pointer_of(inner, steps, manifest)
            error.pointer = _by_record(inner, manifest, pointer) if static is None else pointer + static
        raise
    return Decoded(inputs, kept, times)


class Rows(NamedTuple):
    """Records of steps ahead, as values of each input by its name, in which null is unknown."""

    values: Any
    times: Times | None  # None: no record has one

    def pointer(self, inner: str, records: list[Record], manifest: Manifest) -> str:
        """The pointer into the records, of one into `values`."""
        static = pointer_of(inner, records, manifest)
        return _by_record(inner, manifest, "") if static is None else static


def rows_ahead(records: list[Any], count: int, manifest: Manifest, pointer: str) -> Rows:
    """The first `count` records as steps ahead of a session; those behind are of the future.

    Raises InvalidField, also for fewer records.
    """
    table = manifest.table
    assert table is not None
    _check_names(records, table, pointer)
    if len(records) < count:
        raise InvalidField(
            f"{len(records)} records, but the horizon is {count}: give one for each step", pointer=pointer
        )
    name = None if table.time is None else table.time.column
    has_times = any(record.get(name) is not None for record in records[:count])
    times = _times(records[:count], table, pointer) if has_times else None
    known.check_times(records, count, table, pointer)
    return Rows(_by_input(records, count, manifest, pointer), times)


def _by_input(records: list[Record], num_steps: int, manifest: Manifest, pointer: str) -> Any:
    """The values of each input by its name, or those of the only input."""
    table = manifest.table
    assert table is not None
    values: dict[str, Any] = {}
    for spec, columns in manifest.table_inputs:
        series = [_column(records, num_steps, column, table, pointer) for column in columns]
        values[spec.name] = [list(row) for row in zip(*series, strict=True)] if spec.dims else series[0]
    if len(manifest.inputs) == 1:
        return next(iter(values.values()))
    return values | static_values(records, manifest, pointer) if manifest.static_inputs else values


def _column(
    records: list[Record], num_steps: int, column: TableColumn, table: TableSpec, pointer: str
) -> list[Any]:
    if column.derived:
        return [0] * num_steps
    if column.of is not None:
        return known.values_ahead(records, num_steps, column, table, pointer)
    return [table.value(record.get(column.name)) for record in records[:num_steps]]


def _by_record(inner: str, manifest: Manifest, pointer: str) -> str:
    """The pointer into the records, of one into what `_by_input` returns: /numbers/3/0 → /3/temperature."""
    fitting = manifest.table_inputs
    if len(manifest.inputs) > 1:  # a name may have slashes, and be the beginning of another
        fitting = tuple(each for each in fitting if inner.startswith(f"/{each[0].name}/"))
    if not fitting:
        return pointer
    spec, columns = max(fitting, key=lambda each: len(each[0].name))
    if len(manifest.inputs) > 1:
        inner = inner.removeprefix(f"/{spec.name}")
    parts = inner.split("/")[1:]
    if not parts:
        return pointer
    place = int(parts[1]) if len(parts) > 1 and spec.dims else 0
    column = columns[place]
    return f"{pointer}/{int(parts[0]) + column.ahead}/{escaped(column.of or column.name)}"


def _check_names(records: list[Any], table: TableSpec, pointer: str) -> None:
    for index, record in enumerate(records):
        if not isinstance(record, dict):
            raise InvalidField(
                f"expected an object with the table's columns, as the first step is, got {kind(record)}",
                pointer=f"{pointer}/{index}",
            )
        if not record.keys() <= table.known:
            name = next(name for name in record if name not in table.known)
            raise InvalidField(
                f"the table has no column {name!r}; it has {_listed(table.known)}",
                pointer=f"{pointer}/{index}/{escaped(name)}",
            )


def _check_required(records: list[Record], required: frozenset[str], pointer: str) -> None:
    for index, record in enumerate(records):
        if not required <= record.keys():
            lacking = _listed(required - record.keys())
            raise InvalidField(
                f"no value of {lacking}, and the model takes no missing values there",
                pointer=f"{pointer}/{index}",
            )


def _listed(names: frozenset[str]) -> str:
    """The first names: a reply does not grow with the width of the table times the faults of a request."""
    return ", ".join(map(repr, sorted(names)[:MOST_NAMED])) + (", …" if len(names) > MOST_NAMED else "")


def _check_one_sequence(records: list[Record], num_steps: int, name: str, pointer: str) -> None:
    first = records[0].get(name)
    for index, record in enumerate(records):
        if record.get(name, first if index >= num_steps else None) != first:
            raise InvalidField(
                f"{record.get(name)!r} is another sequence than {first!r}, that of the first step: send each "
                "as one of its own",
                pointer=f"{pointer}/{index}/{escaped(name)}",
            )


def _times(records: list[Record], table: TableSpec, pointer: str) -> Times | None:
    """The times of all records; None if none has one and none is needed."""
    if table.time is None:
        return None
    name = table.time.column
    values = [record.get(name) for record in records]
    if not table.needs_times and all(value is None for value in values):
        return None
    for index, value in enumerate(values):
        if value is None or not isinstance(value, str | int | float) or isinstance(value, bool):
            expected = f"expected a time ({table.time.expected}) in {name!r}"
            actual = kind(value) if name in records[index] else "nothing"
            at = f"/{escaped(name)}" if name in records[index] else ""
            raise InvalidField(f"{expected}, got {actual}", pointer=f"{pointer}/{index}{at}")
    return Times(tuple(values), pointer)  # type: ignore[arg-type]
