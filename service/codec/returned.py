"""What an answer holds beside its output, or without it: the state as tensors, and the gates of a graph.

    "return": "all"                                 the output at every step
    "return": ["output", "state", "gates", "all"]   these, at every step

It knows manifests, arrays and JSON; it knows nothing of how they are computed.
"""

import math
from collections.abc import Sequence as Several
from typing import Any, NamedTuple

import numpy as np
import orjson

from service.codec.fields import kind
from service.codec.numbers import writable
from service.codec.sizes import json_bytes
from service.errors import GatesNotSupported, InvalidField
from service.manifest import Manifest, OutputSpec
from service.sequence import Array, Sequence, State
from service.state import StateLayout

STEPS = ("last", "all")
PARTS = ("output", "state", "gates")
RULE = '"last", "all", or a list of "output", "state" and "gates", with "last" or "all" or neither'
_GATES = 96  # characters of the names of the fields of one gate

Place = int | None  # of a word in the list; None: it is not there


class Returned(NamedTuple):
    """What is returned of each sequence, where that is not its output alone."""

    output: Place
    state: Place
    gates: Place

    def pointer(self, place: Place) -> str:
        """To a word in the request."""
        return f"/return/{place}"

    @property
    def key(self) -> bytes:
        """Tells a request from others of the same steps."""
        return b"returned%d%d%d" % tuple([place is not None for place in self])

    def words(self, steps: str) -> list[str]:
        """As a list in a request; `steps`: last or all."""
        return [name for name, place in zip(PARTS, self, strict=True) if place is not None] + [steps]


def read_return(document: dict[str, Any]) -> tuple[str | None, Returned | None]:
    """The field "return": last, all or None (by task); and the parts, None for the output alone.

    Raises InvalidField.
    """
    value = document.get("return")
    if value is None or (isinstance(value, str) and value in STEPS):
        return value, None
    if not isinstance(value, list) or not value:
        actual = f'"{value}"' if isinstance(value, str) else kind(value)
        raise InvalidField(f"expected {RULE}, got {actual}", pointer="/return")
    places: dict[str, int] = {}
    for place, word in enumerate(value):
        if not isinstance(word, str) or word not in (*PARTS, *STEPS):
            raise InvalidField(f"expected {RULE}", pointer=f"/return/{place}")
        if word in places:
            raise InvalidField("this word appears twice", pointer=f"/return/{place}")
        if word in STEPS and not places.keys().isdisjoint(STEPS):
            raise InvalidField('"last" and "all" exclude each other', pointer=f"/return/{place}")
        places[word] = place
    steps = next((word for word in STEPS if word in places), None)
    returned = Returned(*[places.get(part) for part in PARTS])
    is_plain = returned.state is None and returned.gates is None
    return steps, None if is_plain else returned


def gates_of(manifest: Manifest, returned: Returned, chosen: tuple[int, ...]) -> tuple[int, ...]:
    """The outputs `chosen`, and those that are gates if they are requested. Raises GatesNotSupported."""
    if returned.gates is None:
        return chosen
    if not manifest.gates:
        raise GatesNotSupported(
            "the model shows no gates; cellgate-train export --trace adds them to a graph",
            pointer=returned.pointer(returned.gates),
        )
    return (*chosen, *[index for index in manifest.gates if index not in chosen])


def inside_bytes(layout: StateLayout, returned: Returned, manifest: Manifest, steps: int) -> int:
    """At most: of the states and the names of the gates in an answer with so many steps of each.

    The numbers of gates are counted as those of outputs.
    """
    size = 0
    if returned.state is not None:
        for tensor in layout.tensors:
            lists = 2 + 2 * math.prod(tensor.shape[:-1])
            size += len(tensor.name) + 8 + steps * (json_bytes(tensor.dtype, math.prod(tensor.shape)) + lists)
    if returned.gates is not None:
        gates = [spec.gates for index in manifest.gates if (spec := manifest.outputs[index]).gates]
        names = [name for each in gates for name in each.names]
        size += sum([_GATES + len(orjson.dumps(name)) + 2 * steps for name in names])
    return size


def with_inside(
    answer: bytes, *, states: dict[str, Any] | None, gates: list[tuple[OutputSpec, Array]] | None
) -> bytes:
    """An encoded answer, `{}` or more, with the members "states" and "gates"; None: without."""
    members: dict[str, Any] = {} if states is None else {"states": states}
    if gates is not None:
        members["gates"] = gates_as_json(gates)
    added = orjson.dumps(members, option=orjson.OPT_SERIALIZE_NUMPY)
    return added if answer == b"{}" else b"%b,%b" % (answer[:-1], added[1:])


def states_of(layout: StateLayout, sequence: Sequence) -> dict[str, Any]:
    """The tensors after the last step by name, or, with every step's output, after each step."""
    if not sequence.keep_all:
        return state_by_name(layout, sequence.state)
    return _by_name(layout, [_stacked(arrays) for arrays in zip(*sequence.states, strict=True)])


def state_by_name(layout: StateLayout, state: State) -> dict[str, Any]:
    """The tensors of a state by name."""
    return _by_name(layout, [writable(np.asarray(array)) for array in state])


def gates_as_json(outputs: Several[tuple[OutputSpec, Array]]) -> list[dict[str, Any]]:
    """One entry for each gate: its layer, direction and name, and its values [units] or [time, units].

    `outputs`: of a manifest, each [*dims] or [time, *dims]; those that are no gates are left out.
    """
    entries = []
    for spec, output in outputs:
        if spec.gates is None:
            continue
        lead = output.shape[: output.ndim - len(spec.dims)]
        by_gate = output.reshape(*lead, len(spec.gates.names), -1)
        head = {"layer": spec.gates.layer, "direction": spec.gates.direction}
        entries += [
            head | {"gate": name, "values": writable(by_gate[..., place, :])}
            for place, name in enumerate(spec.gates.names)
        ]
    return entries


def read_gates(entries: list[dict[str, Any]], spec: OutputSpec) -> list[Any]:
    """What `gates_as_json` has written of an output, as lists [time, gates · units]. Raises LookupError."""
    assert spec.gates is not None
    by_name = {
        each["gate"]: each["values"]
        for each in entries
        if (each["layer"], each["direction"]) == (spec.gates.layer, spec.gates.direction)
    }
    parts = [by_name[name] for name in spec.gates.names]
    return [[value for part in step for value in part] for step in zip(*parts, strict=True)]


def _by_name(layout: StateLayout, values: list[Any]) -> dict[str, Any]:
    return {tensor.name: value for tensor, value in zip(layout.tensors, values, strict=True)}


def _stacked(arrays: tuple[Array, ...]) -> Any:
    """A tensor after each step; one that grows has another shape each time."""
    plain: State = tuple([np.asarray(array) for array in arrays])
    if all(array.shape == plain[0].shape for array in plain):
        return writable(np.stack(plain))
    return [writable(array) for array in plain]
