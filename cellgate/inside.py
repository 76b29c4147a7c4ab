"""What is inside a model: its recurrent state, and the gates that it shows, from the JSON of a reply."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cellgate.errors import BadReply

Array = NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Gate:
    """One gate of one layer of a recurrent model."""

    name: str
    """Such as in_gate, forget_gate, out_gate or in_transform."""
    layer: int
    """From 0, the lowest."""
    direction: Literal["forward", "backward"]
    """backward: of a layer that reads the sequence from its end."""
    values: Array = field(repr=False)
    """[units] at the last step or, with all steps, [time, units]; float64."""


def states_in(entry: Mapping[str, Any]) -> dict[str, Array] | None:
    """The recurrent tensors of a prediction by name; None: they were not requested.

    float64 holds what the server wrote of numbers with a fraction, whose dtype only the model's graph knows.
    """
    states = entry.get("states")
    return None if states is None else {name: _tensor(value) for name, value in states.items()}


def gates_in(entry: Mapping[str, Any]) -> tuple[Gate, ...] | None:
    """The gates of a prediction; None: they were not requested. Raises BadReply."""
    gates = entry.get("gates")
    if gates is None:
        return None
    try:
        return tuple(
            Gate(each["gate"], each["layer"], each["direction"], np.asarray(each["values"], np.float64))
            for each in gates
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BadReply(f"not a list of gates: {error!r}") from error


def _tensor(value: Any) -> Array:
    """A tensor, or one of each step: of a state that grows, an array of arrays."""
    try:
        array = np.asarray(value)
    except ValueError:
        ragged = np.empty(len(value), object)
        ragged[:] = [_tensor(each) for each in value]
        return ragged
    return array.astype(np.float64) if array.dtype == object else array
