"""The inputs without a time axis: given at the start of a sequence, and kept with a session's state.

It knows the layout of states, and sessions that were opened; it knows nothing of their rules or JSON.
"""

from typing import Protocol

import numpy as np

from service.codec.frames import Frame
from service.codec.request import Item
from service.errors import InvalidField
from service.manifest import InputSpec, Manifest
from service.repository import Model
from service.sequence import Array, State
from service.sessions import Opened
from service.state import StateLayout


class HasStates(Protocol):
    """A model, loaded to be served or not."""

    @property
    def manifest(self) -> Manifest:
        """Its manifest."""
        ...

    @property
    def layout(self) -> StateLayout:
        """The tensors of its state."""
        ...

    @property
    def initial_state(self) -> State:
        """The state at step 0."""
        ...


def opening_state(model: HasStates, item: Item | Frame, state: State | None = None) -> State:
    """The state at step 0, the initial one by default, with the item's own values of those inputs.

    Raises InvalidField if one is missing.
    """
    state = model.initial_state if state is None else state
    if not item.kept:
        return state
    given = _given(model, item)
    missing = [spec for spec in model.manifest.sequence_inputs if spec.name not in given]
    if missing:
        raise InvalidField(
            f"{_what(model, missing[0])} is missing: it must be given with the first steps of a sequence"
        )
    return model.layout.with_values(state, given)


def state_of(model: Model, item: Item | Frame, opened: Opened) -> State:
    """The initial state, or that of the session as it was last committed.

    Raises InvalidField or SessionMismatch.
    """
    if opened.resumed is None:
        return opening_state(model, item)
    model.layout.check_size(opened.resumed.state)
    state = model.resume(opened.key, opened.resumed.revision, opened.resumed.state)
    if opened.step == 0 and not opened.resumed.is_begun:  # created without a request
        return opening_state(model, item, state)
    check_unchanged(model, item, state)
    return state


def check_unchanged(model: HasStates, item: Item | Frame, state: State) -> None:
    """Refuse, in a session, values that differ from those that it was started with. Raises InvalidField."""
    if not item.kept:
        return
    given = _given(model, item)
    for spec in model.manifest.sequence_inputs:
        if spec.name not in given:
            continue
        (old, new) = _changed(state, model.layout.with_values(state, {spec.name: given[spec.name]}))
        if not np.array_equal(old, new, equal_nan=old.dtype.kind == "f"):
            raise InvalidField(
                f"{_what(model, spec, old != new)} differs from that at the start of the session, which is "
                "kept: leave it out, or start another session"
            )


def _what(model: HasStates, spec: InputSpec, is_at_fault: Array | None = None) -> str:
    """An input, or the first of its columns in the table that is at fault, for a message."""
    columns = () if model.manifest.table is None else model.manifest.table.of_input(spec.name)
    if not columns:
        return f"the input {spec.name!r}"
    place = 0 if is_at_fault is None or not spec.dims else int(np.argmax(is_at_fault))
    return f"the static column {columns[place].name!r}"


def _given(model: HasStates, item: Item | Frame) -> dict[str, Array]:
    specs = model.manifest.sequence_inputs
    return {spec.name: value for spec, value in zip(specs, item.kept, strict=True) if value is not None}


def _changed(old: State, new: State) -> tuple[Array, Array]:
    """The tensor that `with_values` has replaced, before and after."""
    return next((np.asarray(a), np.asarray(b)) for a, b in zip(old, new, strict=True) if a is not b)
