"""Describes how a table is read, for the run and for the manifest. Decides nothing."""

from collections.abc import Sequence

from service.manifest import TableColumn, TableSpec, TimeSpec
from training.config import Table
from training.data.dataset import Forecast, Input
from training.data.file import MISSING
from training.data.rows import Rows, Spacing


def describe(
    names: Sequence[str],
    table: Table,
    rows: Rows,
    spacing: Spacing | None,
    inputs: tuple[Input, ...],
    forecast: Forecast | None,
) -> TableSpec:
    """The description. `names`: of the columns of the table, in order; `inputs`: of the data set."""
    placed = {column.name: column for input_ in inputs for column in _columns(input_, spacing)}
    own = [placed.pop(name) for name in names if name in placed]
    used = {table.id_column, table.time_column, *(column.name for column in own)}
    return TableSpec(
        id_column=table.id_column,
        time=_time(table, rows, spacing),
        columns=(*own, *placed.values()),
        unused=tuple(name for name in names if name not in used),
        targets=table.targets,
        horizons=forecast.horizons if forecast else (),
        horizon_names=forecast.names if forecast else (),
        missing=tuple(MISSING),
    )


def _columns(input_: Input, spacing: Spacing | None) -> list[TableColumn]:
    """The columns of an input; the derived one is the last of the numbers."""
    if input_.kind == "token":
        return [TableColumn(name=input_.name, kind="category", input=input_.name)]
    columns = [
        TableColumn(name=name, kind="number", input=input_.name, place=place, unit=unit)
        for place, (name, unit) in enumerate(zip(input_.features, input_.units, strict=True))
    ]
    if spacing is not None and not spacing.is_equal:
        columns[-1] = columns[-1].model_copy(update={"derived": "since_previous"})
    return columns


def _time(table: Table, rows: Rows, spacing: Spacing | None) -> TimeSpec | None:
    if table.time_column is None or rows.times is None:
        return None
    return TimeSpec(
        column=table.time_column,
        format="iso8601" if rows.times.has_unit else "number",
        unit=spacing.unit if spacing else "",
        spacing=spacing.usual if spacing else None,
    )
