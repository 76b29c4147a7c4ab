"""The times of steps that are given by name: the time since the previous step, also across requests.

    state: the last time ─┬─→ since_previous of the first step
    times of the request ─┴─→ since_previous of the others, and the last time of the new state

It knows the description of the table and the state; it knows nothing of sessions' rules, JSON or files.
"""

from dataclasses import replace

import numpy as np

from service.codec.records import Times
from service.codec.request import Item
from service.errors import InvalidField
from service.manifest import Manifest
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
    place = _derived_place(model.manifest)
    seconds, since = _seconds(model, times, state, needs_first=place is not None)
    changed = list(inputs)
    if place is not None:
        index, column = place
        array = changed[index].copy()
        array.reshape(len(array), -1)[:, column] = since
        changed[index] = array
    return (*changed, seconds)


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


def _derived_place(manifest: Manifest) -> tuple[int, int] | None:
    """The input and the place in its step of the time since the previous step."""
    column = None if manifest.table is None else manifest.table.since_previous
    if column is None:
        return None
    return [spec.name for spec in manifest.step_inputs].index(column.input), column.place


def _pointer(times: Times, index: int, column: str) -> str:
    return f"{times.pointer}/{index}/{column.replace('~', '~0').replace('/', '~1')}"
