"""Columns of records that are known ahead: a step has their values at later steps too.

    steps   [{"level": 3, "rain": 0}, {"level": 4, "rain": 2}, {"rain": 5}, {"rain": 1}]
             └───────────────── steps ───────────────────────┘ └──── the future ─────┘
    rain+2             5                        1

Records at the end that have none of the targets are of the future: they are no steps, and only their known
columns count. It knows the description of the table and JSON; it knows nothing of sessions or files.
"""

from typing import Any

from service.codec.fields import escaped
from service.errors import InvalidField
from service.manifest import TableColumn, TableSpec

Record = dict[str, Any]


def num_steps(records: list[Record], table: TableSpec) -> int:
    """How many of the records are steps; those behind are of the future, if anything of it is known."""
    count = len(records)
    if table.known_ahead:
        while count and not any(target in records[count - 1] for target in table.targets):
            count -= 1
    return count


def check_times(records: list[Record], count: int, table: TableSpec, pointer: str) -> None:
    """Refuse a record of the future whose time is none. A time there says nothing else, and may be left out.

    Raises InvalidField.
    """
    if table.time is None:
        return
    for index, record in enumerate(records[count:], count):
        value = record.get(table.time.column)
        try:
            if value is not None:
                table.time.seconds(value)
        except ValueError as error:
            at = f"{pointer}/{index}/{escaped(table.time.column)}"
            raise InvalidField(str(error), pointer=at) from None


def values_ahead(
    records: list[Record], count: int, column: TableColumn, table: TableSpec, pointer: str
) -> list[Any]:
    """The value of a column after `column.ahead` more records, for each of the first `count` records.

    Raises InvalidField where there is no such record, or it has no such value.
    """
    assert column.of is not None
    values = []
    for index in range(column.ahead, column.ahead + count):
        if index >= len(records):
            raise InvalidField(
                f"the forecasts need {column.of!r} up to {_furthest(column.of, table)} after the last step: "
                f"append records with {column.of!r} and without {', '.join(map(repr, table.targets))}",
                pointer=pointer,
            )
        if column.of not in records[index]:
            raise InvalidField(
                f"no value of {column.of!r}, which a forecast from {_steps(column.ahead)} before needs",
                pointer=f"{pointer}/{index}",
            )
        values.append(table.value(records[index][column.of]))
    return values


def _furthest(name: str, table: TableSpec) -> str:
    return _steps(max(column.ahead for column in table.columns if column.of == name))


def _steps(count: int) -> str:
    return f"{count} step{'s' * (count > 1)}"
