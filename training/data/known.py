"""Values of later steps that are known when a forecast is made: columns such as a holiday, and the calendar.

    row t:   holiday[t+1], hour_sin[t+1], …, holiday[t+24], hour_sin[t+24], …    for the horizons 1 and 24

They are aligned within a sequence, whatever the part of a later row: what is known in advance is no leak, and
the targets of rows at the end of a part are unknown. A step of the calendar ahead is the usual spacing, as
for the server. Knows nothing of networks.
"""

from collections.abc import Collection
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.manifest import CalendarFeature
from training.config import Table
from training.data.calendar import values_at
from training.data.columns import Column
from training.data.file import TableError
from training.data.rows import Rows, Spacing
from training.data.series import ahead


class Known(NamedTuple):
    """The numbers of the input, by name and in order."""

    ahead: dict[str, tuple[str, int]]  # of a column: the column, and how many steps later
    calendar: dict[str, tuple[CalendarFeature, int]]  # of the calendar, behind those
    values: NDArray[np.float32]  # [rows, numbers]
    has_gaps: bool

    @property
    def names(self) -> tuple[str, ...]:
        """The features of the input."""
        return (*self.ahead, *self.calendar)


def check(table: Table, task: str, columns: dict[str, Column]) -> None:
    """Raise TableError for columns that cannot be known ahead of a forecast."""
    if table.known and task != "forecast":
        raise TableError(f"--known {table.known[0]!r}: the task is {task}; only forecasts have later steps")
    for name in table.known:
        if name in table.targets:
            raise TableError(
                f"--known {name!r} is the target: its later values are what is forecast, and would leak"
            )
        if name in table.static:
            raise TableError(f"--known {name!r} is also --static: it never changes")
        if name not in columns:
            raise TableError(f"--known {name!r} is also the id, the time, the split, the group, or ignored")
        if columns[name].kind == "category":
            raise TableError(
                f"--known {name!r} has texts such as {columns[name].categories[0]!r}; only numbers can be "
                "known ahead: write 1 and 0 in a column for each text that matters"
            )


def known_ahead(
    table: Table,
    columns: dict[str, Column],
    features: tuple[CalendarFeature, ...],
    rows: Rows,
    spaced: Spacing | None,
    in_training: NDArray[np.bool_],
    taken: Collection[str],
) -> Known | None:
    """What is known ahead; None: nothing. `taken`: names that the numbers cannot have."""
    names = [(name, steps) for steps in table.horizons for name in table.known]
    of_columns = {_free(f"{name}+{steps}", taken): (name, steps) for name, steps in names}
    of_calendar: dict[str, tuple[CalendarFeature, int]] = {}
    if features and spaced is not None and spaced.usual:
        for steps in table.horizons:
            of_calendar |= {_free(f"{name}+{steps}", taken): (name, steps) for name in features}
    if not of_columns and not of_calendar:
        return None
    parts = [_later(columns[name], steps, rows) for name, steps in of_columns.values()]
    has_gaps = any(np.isnan(rows.sorted(columns[name])[in_training]).any() for name in table.known)
    if not has_gaps:
        for part in parts:  # behind the end of a sequence, where no target is known
            part[np.isnan(part)] = np.nanmean(part[in_training], dtype=np.float64)
    values = np.empty((len(rows.order), len(parts) + len(of_calendar)), np.float32)
    for place, part in enumerate(parts):
        values[:, place] = part
    if of_calendar and spaced is not None:
        values[:, len(parts) :] = values_at(table, rows, list(of_calendar.values()), spaced)
    return Known(of_columns, of_calendar, values, has_gaps)


def _later(column: Column, steps: int, rows: Rows) -> NDArray[np.float32]:
    """[rows]: the value so many rows later in the same sequence; NaN if there is none."""
    values = rows.sorted(column)
    return np.concatenate([ahead(values[one], (steps,))[:, 0] for one in rows.sequences])


def _free(name: str, taken: Collection[str]) -> str:
    while name in taken:
        name += "_"
    return name
