"""The times of steps that are given by name, and what follows from them, also across requests.

    state: the last time ─┬─→ since_previous of the first step
    times of the request ─┼─→ since_previous of the others, and the last time of the new state
                          └─→ features of the calendar

It knows the description of the table and the state; it knows nothing of sessions' rules, JSON or files.
"""

from dataclasses import replace

import numpy as np

from service.codec.fields import escaped
from service.codec.records import Times
from service.codec.request import Item
from service.errors import InvalidField
from service.manifest import TableSpec
from service.predict.kept import HasStates
from service.sequence import Array, State
from service.state import NO_STEP, TIMED


def with_times(model: HasStates, item: Item, state: State) -> Item:
    """The item with all that follows from its times, which it no longer has; itself if it has none.

    `state`: before its first step. Behind its inputs follow the seconds of each step, [time] float64.
    Raises InvalidField for a time that is none, or is before that of the step before.
    """
    if item.times is None:
        return item
    return replace(item, inputs=timed_inputs(model, item.inputs, item.times, state), times=None)


def timed_inputs(
    model: HasStates, inputs: tuple[Array, ...], times: Times, state: State
) -> tuple[Array, ...]:
    """The same for the inputs alone."""
    table = model.manifest.table
    assert table is not None and table.time is not None
    seconds, since = _seconds(model, times, state, needs_first=table.since_previous is not None)
    return _with_derived(model, inputs, seconds, since, _calendar(table, times, seconds))


def spaced_inputs(
    model: HasStates, inputs: tuple[Array, ...], state: State, pointer: str
) -> tuple[Array, ...]:
    """The same of steps that have no times, and follow that of `state` at the usual distance.

    Raises InvalidField where the model needs times, and these are not known.
    """
    table = model.manifest.table
    if table is None or table.time is None:
        return inputs
    assert model.layout.time_position is not None
    before, status = np.asarray(state[model.layout.time_position]).tolist()
    if status != TIMED or table.time.spacing is None:
        if not table.needs_times:
            return inputs
        raise InvalidField(
            f"the time of the session's last step is not known: give {table.time.column!r} in each record",
            pointer=pointer,
        )
    count = len(inputs[0])
    seconds = before + table.time.spacing_s * np.arange(1, count + 1)
    try:
        rows = [table.calendar_at(before, later) for later in range(1, count + 1)]
    except ValueError as error:
        raise InvalidField(str(error), pointer=pointer) from None
    return _with_derived(model, inputs, seconds, [table.time.spacing] * count, rows)


def _with_derived(
    model: HasStates, inputs: tuple[Array, ...], seconds: Array, since: list[float], rows: list[list[float]]
) -> tuple[Array, ...]:
    """The inputs with the time since the previous step and the calendar; behind them the seconds."""
    table = model.manifest.table
    assert table is not None
    derived = [] if table.since_previous is None else [(table.since_previous, since)]
    if table.calendar:
        derived += zip(table.calendar, map(list, zip(*rows, strict=True)), strict=True)
    names = [spec.name for spec in model.manifest.step_inputs]
    changed = list(inputs)
    for index in {names.index(column.input) for column, _ in derived}:
        changed[index] = changed[index].copy()
    for column, values in derived:
        array = changed[names.index(column.input)]
        array.reshape(len(array), -1)[:, column.place] = values
    return (*changed, seconds)


def _calendar(table: TableSpec, times: Times, seconds: Array) -> list[list[float]]:
    """[steps, features] of the calendar. Raises InvalidField."""
    assert table.time is not None
    rows: list[list[float]] = []
    for index, moment in enumerate(seconds.tolist() if table.calendar else ()):
        try:
            rows.append(table.calendar_at(moment))
        except ValueError as error:
            raise InvalidField(str(error), pointer=_pointer(times, index, table.time.column)) from None
    return rows


def _seconds(model: HasStates, times: Times, state: State, *, needs_first: bool) -> tuple[Array, list[float]]:
    """The seconds of each step, and the time since the previous step in its unit."""
    table = model.manifest.table
    assert table is not None and table.time is not None and model.layout.time_position is not None
    spec = table.time
    before_s, status = np.asarray(state[model.layout.time_position]).tolist()
    before = before_s if status == TIMED else None
    if needs_first and status not in (NO_STEP, TIMED):
        raise InvalidField(
            f"the step before was given without a time, so that since it is unknown: give {spec.column!r} in "
            "every request of a session, or in none",
            pointer=f"{times.pointer}/0",
        )
    seconds, since = np.empty(len(times.values)), []
    for index, value in enumerate(times.values):
        try:
            now = spec.seconds(value, before)
        except ValueError as error:
            raise InvalidField(str(error), pointer=_pointer(times, index, spec.column)) from None
        if before is not None and now < before:
            raise InvalidField(
                f"{value!r} is before the time of the step before: times must not go back",
                pointer=_pointer(times, index, spec.column),
            )
        since.append(spec.since(before, now))
        seconds[index] = before = now
    return seconds, since


def _pointer(times: Times, index: int, column: str) -> str:
    return f"{times.pointer}/{index}/{escaped(column)}"
