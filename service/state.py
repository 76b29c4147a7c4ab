"""The recurrent state of one sequence: the layout of its tensors in bytes, and all that depends on it.

At rest a state is its tensors' bytes, one after the other in the manifest's order, little-endian, without
padding and without the batch axis. After the graph's own states come the tensors kept of inputs: the values
of those without a time axis, and what is carried over to the next step. This file knows the manifest's specs.
It knows nothing of engines, stores or HTTP.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from service.errors import InvalidField, NonFinite, SessionMismatch, WrongShape
from service.manifest import InputSpec, StateDType, StateSpec
from service.sequence import Array, State

_VALUES = {  # of a dtype's kind: what a client sends, and numpy's kinds for it
    "f": ("numbers", "iuf"),
    "i": ("integers", "iu"),
    "u": ("integers", "iu"),
    "b": ("true or false", "b"),
}


class StateTensor(BaseModel):
    """One recurrent tensor, without the batch axis."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    dtype: StateDType
    shape: tuple[int, ...]

    @property
    def num_bytes(self) -> int:
        """The size of the tensor at rest."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


class StateLayout:
    """The tensors of one model version's state, in order."""

    def __init__(self, specs: Sequence[StateSpec], kept: Sequence[InputSpec] = ()) -> None:
        """`kept`: inputs of which something is kept, `Manifest.kept_inputs`."""
        self._specs = tuple(specs)
        self.num_states = len(self._specs)  # the tensors that the graph itself computes
        self.tensors = (
            *(StateTensor(name=spec.input, dtype=spec.dtype, shape=spec.row_shape) for spec in specs),
            *(
                StateTensor(name=spec.graph_input, dtype=spec.dtype, shape=spec.kept_shape or ())
                for spec in kept
            ),
        )
        # The position in a state of each input without a time axis, by its name in a request.
        self._positions = {
            spec.name: position
            for position, spec in enumerate(kept, self.num_states)
            if spec.per == "sequence"
        }
        self.num_bytes = sum(tensor.num_bytes for tensor in self.tensors)
        # dtype, number of elements, offset in bytes, shape: computed once, since every step unpacks a state.
        self._parts: list[tuple[np.dtype[Any], int, int, tuple[int, ...]]] = []
        offset = 0
        for tensor in self.tensors:
            self._parts.append((np.dtype(tensor.dtype), math.prod(tensor.shape), offset, tensor.shape))
            offset += tensor.num_bytes

    def initial(self) -> State:
        """The state at step 0: one array per tensor. What is kept of inputs is 0."""
        return (
            *(np.full(spec.row_shape, spec.initial, spec.dtype) for spec in self._specs),
            *(np.zeros(tensor.shape, tensor.dtype) for tensor in self.tensors[self.num_states :]),
        )

    def with_values(self, state: State, values: Mapping[str, Array]) -> State:
        """`state` with new values [*dims] of inputs without a time axis, by their names in a request."""
        arrays = list(state)
        for name, value in values.items():
            position = self._positions[name]
            arrays[position] = np.asarray(value, self._parts[position][0]).reshape(
                self.tensors[position].shape
            )
        return tuple(arrays)

    def pack(self, state: State) -> bytes:
        """The arrays as bytes."""
        return b"".join([np.ascontiguousarray(array).tobytes() for array in state])

    def check_size(self, packed: bytes) -> None:
        """Refuse the state of a session that another layout packed. Raises SessionMismatch."""
        if len(packed) != self.num_bytes:
            raise SessionMismatch(
                f"the session's state has {len(packed)} bytes, its model's state {self.num_bytes}: "
                "the manifest has changed"
            )

    def unpack(self, packed: bytes) -> State:
        """Undo `pack`. The arrays are read-only views of `packed`, which must have `num_bytes` bytes."""
        return tuple(
            [np.frombuffer(packed, dtype, size, at).reshape(shape) for dtype, size, at, shape in self._parts]
        )

    def unpack_named(self, packed: bytes) -> dict[str, Array]:
        """The same by tensor name."""
        return {tensor.name: array for tensor, array in zip(self.tensors, self.unpack(packed), strict=True)}

    def parse(self, values: Mapping[str, Any]) -> bytes:
        """A client's tensors, lists by name, as bytes. Raises InvalidField, WrongShape or NonFinite."""
        names = [tensor.name for tensor in self.tensors]
        if set(values) != set(names):
            raise InvalidField(f"expected exactly the states {', '.join(map(repr, names))}", pointer="/state")
        return b"".join(_parse_tensor(tensor, values[tensor.name]) for tensor in self.tensors)


def describe(tensors: Iterable[StateTensor]) -> str:
    """Names, dtypes and shapes, for a message."""
    return ", ".join(f"{tensor.name} {tensor.dtype}{list(tensor.shape)}" for tensor in tensors)


def _parse_tensor(tensor: StateTensor, value: Any) -> bytes:
    pointer = f"/state/{tensor.name}"
    dtype = np.dtype(tensor.dtype)
    noun, kinds = _VALUES[dtype.kind]
    expected = f"expected {noun} in the shape {list(tensor.shape)}"
    try:
        array = np.array(value)
    except ValueError as error:  # ragged
        raise WrongShape(expected, pointer=pointer) from error
    if array.dtype.kind not in kinds:
        raise InvalidField(expected, pointer=pointer)
    if array.shape != tensor.shape:
        raise WrongShape(f"{expected}, got {list(array.shape)}", pointer=pointer)
    with np.errstate(over="ignore"):
        packed = array.astype(dtype)
    if not (np.isfinite(packed) if dtype.kind == "f" else packed == array).all():
        raise NonFinite(f"a number does not fit into {tensor.dtype}", pointer=pointer)
    return packed.tobytes()
