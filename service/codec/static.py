"""Static columns of records: one value in a sequence, given with its first steps, and kept by its session.

    [{"depth": 10, "flow": 3}, {"flow": 4}, {"depth": 10, "flow": 5}] ─→ {"static": [10]}

It knows the manifest and JSON; it does not know the values that a session keeps.
"""

from typing import Any, NamedTuple

from service.codec.fields import escaped
from service.errors import InvalidField
from service.manifest import Manifest, TableColumn, TableSpec

Record = dict[str, Any]


class Given(NamedTuple):
    """The value of a column in a sequence."""

    value: Any
    record: int  # of the first one that has it


def static_values(records: list[Record], manifest: Manifest, pointer: str) -> dict[str, Any]:
    """The values of each input without time steps, by its name; none of an input that no record has.

    Raises InvalidField for a value that changes, or for some columns of an input without the others.
    """
    table = manifest.table
    assert table is not None
    values: dict[str, Any] = {}
    for spec, columns in manifest.static_inputs:
        given = [_given(records, column, table, pointer) for column in columns]
        if not any(given):
            continue
        for column, one in zip(columns, given, strict=True):
            if one is None:
                raise InvalidField(
                    f"no value of {column.name!r}: the static columns of a sequence are given together",
                    pointer=f"{pointer}/0",
                )
        row = [one.value for one in given if one is not None]
        values[spec.name] = row if spec.dims else row[0]
    return values


def pointer_of(inner: str, records: list[Record], manifest: Manifest) -> str | None:
    """The pointer to the first record with a value, of one into `static_values`: /static/0 → /3/depth.

    None: it is none of those.
    """
    for spec, columns in manifest.static_inputs:
        head, _, place = inner.rpartition("/")
        if inner == f"/{spec.name}" or (spec.dims and head == f"/{spec.name}"):
            column = columns[int(place) if spec.dims and head else 0].name
            index = next((at for at, record in enumerate(records) if column in record), 0)
            return f"/{index}/{escaped(column)}"
    return None


def _given(records: list[Record], column: TableColumn, table: TableSpec, pointer: str) -> Given | None:
    """The column's value, which is null if all records that have the column have null; None: none has it."""
    found: Given | None = None
    for index, record in enumerate(records):
        if column.name not in record:
            continue
        value = table.value(record[column.name])
        if found is None or found.value is None:
            found = Given(value, index if found is None else found.record)
        elif value is not None and value != found.value:
            raise InvalidField(
                f"{value!r} is another value of {column.name!r} than {found.value!r} before; the column is "
                "static, with one value in a sequence",
                pointer=f"{pointer}/{index}/{escaped(column.name)}",
            )
    return found
