"""The recurrent state of one sequence: the layout of its tensors in bytes, and all that depends on it.

At rest a state is its tensors' bytes, one after the other in the manifest's order, little-endian, without
padding and without the batch axis. This file knows the manifest's states. It knows nothing of engines, stores
or HTTP.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from service.errors import InvalidField, NonFinite, WrongShape
from service.manifest import StateDType, StateSpec
from service.sequence import Array, State


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

    def __init__(self, specs: Sequence[StateSpec]) -> None:
        self._specs = tuple(specs)
        self.tensors = tuple(
            StateTensor(name=spec.input, dtype=spec.dtype, shape=spec.row_shape) for spec in specs
        )
        self.num_bytes = sum(tensor.num_bytes for tensor in self.tensors)
        # dtype, number of elements, offset in bytes, shape: computed once, since every step unpacks a state.
        self._parts: list[tuple[np.dtype[Any], int, int, tuple[int, ...]]] = []
        offset = 0
        for tensor in self.tensors:
            self._parts.append((np.dtype(tensor.dtype), math.prod(tensor.shape), offset, tensor.shape))
            offset += tensor.num_bytes

    def initial(self) -> State:
        """The state at step 0: one array per tensor."""
        return tuple(np.full(spec.row_shape, spec.initial, spec.dtype) for spec in self._specs)

    def pack(self, state: State) -> bytes:
        """The arrays as bytes."""
        return b"".join([np.ascontiguousarray(array).tobytes() for array in state])

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
    expected = f"expected numbers in the shape {list(tensor.shape)}"
    try:
        array = np.array(value)
    except ValueError as error:  # ragged
        raise WrongShape(expected, pointer=pointer) from error
    if array.dtype.kind not in "iuf":
        raise InvalidField(expected, pointer=pointer)
    if array.shape != tensor.shape:
        raise WrongShape(f"{expected}, got {list(array.shape)}", pointer=pointer)
    with np.errstate(over="ignore"):
        packed = array.astype(tensor.dtype)
    if not np.isfinite(packed).all():
        raise NonFinite(f"a number does not fit into {tensor.dtype}", pointer=pointer)
    return packed.tobytes()
