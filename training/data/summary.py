"""Summarises how the columns of a table were interpreted, for the user. Decides nothing."""

from typing import Any, NamedTuple

import numpy as np
import polars as pl

from service.manifest import CalendarFeature, TimeSpec
from training.config import Table
from training.data.columns import Column
from training.data.rows import SINCE, Rows, Spacing

MOST_CATEGORIES = 4  # listed by name
FROM_TIME = "number, from the time"


class ColumnSummary(NamedTuple):
    """The interpretation of a column."""

    name: str
    role: str
    missing: int
    values: str


def summarise(
    frame: pl.DataFrame,
    table: Table,
    columns: dict[str, Column],
    rows: Rows,
    since: Spacing | None,
    calendar: tuple[CalendarFeature, ...] = (),
) -> list[ColumnSummary]:
    """One summary for each column of the table, and for each number that follows from the time."""
    summaries = []
    for name in frame.columns:
        if name == table.id_column:
            summaries.append(ColumnSummary(name, "sequence", 0, f"{frame[name].n_unique():,} different"))
        elif name == table.time_column and rows.times is not None:
            first, last = (int(rows.order[at(rows.times.values)]) for at in (np.argmin, np.argmax))
            role = "time, " + _written(rows.times.spec)
            summaries.append(ColumnSummary(name, role, 0, f"{frame[name][first]} to {frame[name][last]}"))
        elif name in columns:
            column, prefix = columns[name], "target, " if name in table.targets else ""
            role = f"{prefix}{column.role or column.kind}" + (", static" if name in table.static else "")
            role += ", known ahead" if name in table.known else ""
            summaries.append(ColumnSummary(name, role, column.num_missing, _values(column)))
        else:
            summaries.append(ColumnSummary(name, "ignored", 0, ""))
    if since is not None:
        span = f"{_short(since.values.min())} to {_short(since.values.max())} {since.unit}"
        summaries.append(ColumnSummary(SINCE, FROM_TIME, 0, span.rstrip()))
    return summaries + [ColumnSummary(feature, FROM_TIME, 0, "-1 to 1") for feature in calendar]


def _written(spec: TimeSpec) -> str:
    """The format of times and their zone."""
    if spec.format == "number":
        return "unit unknown"
    zones = {None: "", "offset": " with zones"}
    return spec.expected + zones.get(spec.zone, f", zone {spec.zone}")


def _values(column: Column) -> str:
    if column.is_empty:
        return "none"
    if column.kind == "number" and column.role:
        return f"true in {np.nanmean(column.values.to_numpy()):.1%} of the rows"
    if column.kind == "number":
        return f"{_short(column.values.min())} to {_short(column.values.max())}"
    count = len(column.categories)
    more = f", … ({count})" if count > MOST_CATEGORIES else ""
    return ", ".join(column.categories[:MOST_CATEGORIES]) + more


def _short(value: Any) -> str:
    return f"{value:,.6g}"
