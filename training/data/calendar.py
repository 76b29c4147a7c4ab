"""Chooses the features of the calendar of a table, and computes them. Knows nothing of networks.

They follow from the column of times alone, so the server makes them too: see `service.calendar`.
"""

from typing import NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from service.manifest import CalendarFeature, CalendarPart, calendar, features_of
from training.config import Table
from training.data.file import FIRST_ROW, TableError
from training.data.rows import Rows, Spacing
from training.data.stamps import DAY_S

PARTS: tuple[CalendarPart, ...] = get_args(CalendarPart)
AUTO, NONE = "auto", "none"
STEPS_PER_CYCLE = 4  # with fewer, a cycle is a pattern of steps, which a network sees without its phase
CYCLES = 2  # in the training part, at least: what comes once is no pattern
PROPOSED: dict[CalendarPart, float] = {"hour": DAY_S, "weekday": 7 * DAY_S, "day_of_year": 365 * DAY_S}


class Calendar(NamedTuple):
    """The features of all rows, in order."""

    features: tuple[CalendarFeature, ...]
    values: NDArray[np.float32]  # [rows, features]
    notes: tuple[str, ...]


def calendar_of(table: Table, rows: Rows, in_training: NDArray[np.bool_]) -> Calendar:
    """The features that the table asks for. Raises TableError where its times have no calendar."""
    proposed = _proposal(rows, in_training)
    names, notes = table.calendar, []
    if names == (AUTO,):
        parts = proposed
        listed = ", ".join(map(_flag, parts)) or "no part, since none repeats"
        notes.append(f"--calendar auto: {listed}")
    elif names in ((), (NONE,)):
        parts = ()
        if proposed and not names:
            flags = ",".join(map(_flag, proposed))
            notes.append(
                f"column {table.time_column!r}: --calendar {flags} makes inputs of the calendar; "
                "--calendar none makes none, without this note"
            )
    else:
        parts = tuple(map(_part, names))
    if names not in ((), (NONE,)):
        notes += _check(table, rows)
    features = tuple(feature for part in parts for feature in features_of(part))
    return Calendar(features, _values(table, rows, in_training, features), tuple(notes))


def _part(name: str) -> CalendarPart:
    for part in PARTS:
        if name.replace("-", "_") == part:
            return part
    raise TableError(
        f"--calendar {name}: expected {', '.join(map(_flag, PARTS))}; auto or none alone, or nothing"
    )


def _flag(part: CalendarPart) -> str:
    return part.replace("_", "-")


def _proposal(rows: Rows, in_training: NDArray[np.bool_]) -> tuple[CalendarPart, ...]:
    """The parts whose cycle is long beside a step and short beside the training part, from the shortest."""
    if rows.times is None or rows.times.spec.scale is not None:
        return ()
    moments = np.unique(rows.times.values[in_training])
    if len(moments) < 2:
        return ()
    span, step = moments[-1] - moments[0], float(np.median(np.diff(moments)))
    return tuple(
        part
        for part, cycle_s in PROPOSED.items()
        if step * STEPS_PER_CYCLE <= cycle_s and span >= CYCLES * cycle_s
    )


def _check(table: Table, rows: Rows) -> list[str]:
    """Notes about the zone. Raises TableError for times that are no dates."""
    if rows.times is None:
        raise TableError("--calendar needs --time-column")
    spec = rows.times.spec
    if not rows.times.has_unit:
        raise TableError(
            f"--calendar: the times of column {table.time_column!r} are plain numbers of unknown unit; "
            "--time-format seconds reads them as seconds since 1970"
        )
    if spec.scale is not None:
        return [f"--calendar: the numbers of column {table.time_column!r} count from 1970, in UTC"]
    if spec.zone == "offset":
        return [
            f"--calendar: the clock of column {table.time_column!r} is UTC; --time-zone Europe/Berlin, for "
            "example, states another"
        ]
    return []


def _values(
    table: Table, rows: Rows, in_training: NDArray[np.bool_], features: tuple[CalendarFeature, ...]
) -> NDArray[np.float32]:
    """[rows, features]. Raises TableError for a part that does not change in the training part."""
    values = np.zeros((len(rows.order), len(features)), np.float32)
    if not features or rows.times is None:
        return values
    values[:] = values_at(table, rows, [(feature, 0) for feature in features])
    for place, feature in enumerate(features):
        if feature.endswith("_cos") and np.ptp(values[in_training, place - 1 : place + 1], axis=0).max() == 0:
            part = _flag(_part(feature.removesuffix("_cos")))
            raise TableError(
                f"--calendar {part}: it is the same at all steps of the training part, which cannot be learnt"
            )
    return values


def values_at(
    table: Table, rows: Rows, wanted: list[tuple[CalendarFeature, int]], spaced: Spacing | None = None
) -> NDArray[np.float32]:
    """[rows, features]: each feature so many steps of the usual spacing after each row. Raises TableError."""
    assert rows.times is not None
    spec = rows.times.spec
    if spaced is not None:
        spec = spec.model_copy(update={"unit": spaced.unit, "spacing": spaced.usual})
    different, places = np.unique(rows.times.values, return_inverse=True)
    made = []
    for moment in different.tolist():
        try:
            made.append(calendar(spec, wanted, moment))
        except ValueError as error:
            row = int(rows.order[rows.times.values == moment][0]) + FIRST_ROW
            raise TableError(f"row {row}, column {table.time_column!r}: {error}") from None
    return np.array(made).astype(np.float32)[places]
