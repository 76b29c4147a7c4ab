"""Describes how a table is read, for the run and for the manifest. Decides nothing.

The description is kept with the run before the training starts, and compared whenever the table is read
again: another version of this program may read it otherwise, and a network knows its columns by their places
alone.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from service.manifest import TableColumn, TableSpec, TimeSpec
from training.config import Table
from training.data.dataset import Forecast, Input
from training.data.file import MISSING, TableError
from training.data.known import Known
from training.data.rows import Rows, Spacing
from training.data.steps import DerivedKind
from training.data.times import DAYS

TABLE_FILE = "table.json"  # in a run folder
AGAIN = "train it again, with --force or into another --out"


def describe(
    names: Sequence[str],
    table: Table,
    rows: Rows,
    spacing: Spacing | None,
    inputs: tuple[Input, ...],
    forecast: Forecast | None,
    derived: Mapping[str, DerivedKind],
    known: Known | None,
) -> TableSpec:
    """The description. `names`: of the columns of the table, in order; `inputs`: of the data set.

    `derived`: the features that are no columns of the table, by name.
    """
    placed = {column.name: column for input_ in inputs for column in _columns(input_, derived, known)}
    own = [placed.pop(name) for name in names if name in placed]
    used = {table.id_column, table.time_column, *(column.name for column in own)}
    return TableSpec(
        id_column=table.id_column,
        time=_time(rows, spacing),
        columns=(*own, *placed.values()),
        unused=tuple(name for name in names if name not in used),
        targets=table.targets,
        horizons=forecast.horizons if forecast else (),
        horizon_names=forecast.names if forecast else (),
        missing=MISSING if table.missing is None else tuple(dict.fromkeys(("", *table.missing))),
    )


def keep(table: TableSpec, folder: Path) -> None:
    """Write the description into a run folder."""
    (folder / TABLE_FILE).write_text(table.model_dump_json(indent=1) + "\n")


def check_kept(table: TableSpec, folder: Path) -> None:
    """Raise TableError if the table is read otherwise than when the run in this folder was started."""
    try:
        kept = TableSpec.model_validate_json((folder / TABLE_FILE).read_bytes())
    except FileNotFoundError:
        _check_older(table, folder)
        return
    except ValidationError as error:
        raise TableError(f"{folder / TABLE_FILE}: {error.errors()[0]['msg']}; {AGAIN}") from error
    changed = [name for name in TableSpec.model_fields if getattr(kept, name) != getattr(table, name)]
    if changed:
        raise TableError(
            f"{folder}: this version of cellgate reads the table otherwise than the one that trained "
            f"({', '.join(changed)} in {TABLE_FILE}); {AGAIN}"
        )


def _check_older(table: TableSpec, folder: Path) -> None:
    """Raise TableError for a run, older than these descriptions, that mixed up columns or misread times."""
    if table.time is not None and table.time.format == DAYS:
        raise TableError(
            f"{folder} was trained by a version that read dates such as 20240430 as plain numbers; {AGAIN}"
        )
    in_order = [column.name for column in table.columns if column.name in table.targets]
    if in_order and in_order != list(table.targets):
        raise TableError(
            f"{folder} was trained by a version that mixed up targets given in another order "
            f"({', '.join(table.targets)}) than that of the file ({', '.join(in_order)}); {AGAIN}"
        )


def _columns(input_: Input, derived: Mapping[str, DerivedKind], known: Known | None) -> list[TableColumn]:
    """The columns of an input."""
    if input_.kind == "token":
        return [TableColumn(name=input_.name, kind="category", input=input_.name)]
    columns = []
    for place, (name, unit) in enumerate(zip(input_.features, input_.units, strict=True)):
        column = TableColumn(name=name, kind="number", input=input_.name, place=place, unit=unit)
        columns.append(column.model_copy(update=_source(name, input_, derived, known)))
    return columns


def _source(
    name: str, input_: Input, derived: Mapping[str, DerivedKind], known: Known | None
) -> dict[str, Any]:
    """The fields that say where a number comes from, if it is no column of the table."""
    if known is None or not input_.is_ahead:
        return {"derived": derived.get(name)}
    if name in known.ahead:
        of, steps = known.ahead[name]
        return {"of": of, "ahead": steps}
    feature, steps = known.calendar[name]
    return {"derived": feature, "ahead": steps}


def _time(rows: Rows, spacing: Spacing | None) -> TimeSpec | None:
    if rows.times is None or spacing is None:
        return None
    return rows.times.spec.model_copy(update={"unit": spacing.unit, "spacing": spacing.usual})
