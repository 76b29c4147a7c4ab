"""The recurrent state of one sequence: the layout of its tensors in bytes, and all that depends on it.

At rest a state is its tensors' bytes, one after the other in the manifest's order, little-endian, without
padding and without the batch axis. After the graph's own states come the tensors kept of inputs: the values
of those without a time axis, and what is carried over to the next step; then, of a model of a table with
times, that of the last step. Behind all tensors stand the sizes of
the axes that grow, uint32 each. This file knows the manifest's specs. It knows nothing of engines, stores or
HTTP.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, FailFast

from service.errors import InvalidField, NonFinite, SessionMismatch, WrongShape
from service.manifest import DType, InputSpec, Manifest, StateSpec
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
    dtype: DType
    shape: Annotated[tuple[int, ...], FailFast()]
    grows: int | None = None  # position of an axis that may be shorter than in `shape`

    @property
    def num_bytes(self) -> int:
        """The size of the tensor at rest, at most."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    def with_size(self, size: int) -> tuple[int, ...]:
        """Its shape, with another size of the axis that grows."""
        return tuple(size if axis == self.grows else most for axis, most in enumerate(self.shape))

    @property
    def words(self) -> list[str]:
        """Its shape, for a message."""
        return [f"0 to {n}" if axis == self.grows else str(n) for axis, n in enumerate(self.shape)]


Part = tuple["np.dtype[Any]", int, int, tuple[int, ...]]  # dtype, number of elements, offset in bytes, shape
SIZES = np.dtype("<u4")
LAST_TIME = "last_time"  # float64 [2]: the seconds of the last step, and one of these
NO_STEP, TIMED, UNTIMED = 0.0, 1.0, 2.0  # no step yet; its time is known; it was given without a time


class StateLayout:
    """The tensors of one model version's state, in order."""

    def __init__(
        self, specs: Sequence[StateSpec], kept: Sequence[InputSpec] = (), *, keeps_time: bool = False
    ) -> None:
        """`kept`: inputs of which something is kept; `keeps_time`: whether the last step's time is too."""
        self._specs = tuple(specs)
        self.num_states = len(self._specs)  # the tensors that the graph itself computes
        self.tensors = (
            *(
                StateTensor(name=spec.input, dtype=spec.dtype, shape=spec.row_shape, grows=spec.row_grows)
                for spec in specs
            ),
            *(
                StateTensor(name=spec.graph_input, dtype=spec.dtype, shape=spec.kept_shape or ())
                for spec in kept
            ),
            *([StateTensor(name=LAST_TIME, dtype="float64", shape=(2,))] if keeps_time else []),
        )
        self.time_position = len(self.tensors) - 1 if keeps_time else None
        # The position in a state of each input without a time axis, by its name in a request.
        self._positions = {
            spec.name: position
            for position, spec in enumerate(kept, self.num_states)
            if spec.per == "sequence"
        }
        # The axis that grows of each tensor that has one, by position.
        self._growing = [
            (position, tensor.grows)
            for position, tensor in enumerate(self.tensors)
            if tensor.grows is not None
        ]
        self.num_bytes = sum(tensor.num_bytes for tensor in self.tensors) + self._num_size_bytes  # at most
        # Computed once where no shape changes, since every step unpacks a state.
        self._parts = self._place([tensor.shape for tensor in self.tensors])

    @classmethod
    def of(cls, manifest: Manifest) -> Self:
        """The layout of a model's state."""
        return cls(manifest.states, manifest.kept_inputs, keeps_time=manifest.keeps_time)

    @property
    def _num_size_bytes(self) -> int:
        return len(self._growing) * SIZES.itemsize

    def _place(self, shapes: Iterable[tuple[int, ...]]) -> list[Part]:
        parts: list[Part] = []
        offset = 0
        for tensor, shape in zip(self.tensors, shapes, strict=True):
            dtype, size = np.dtype(tensor.dtype), math.prod(shape)
            parts.append((dtype, size, offset, shape))
            offset += size * dtype.itemsize
        return parts

    def _shapes(self, packed: bytes) -> list[tuple[int, ...]] | None:
        """The tensors' shapes in a packed state; None if it is none of this layout."""
        if len(packed) < self._num_size_bytes:
            return None
        at = len(packed) - self._num_size_bytes
        shapes = [tensor.shape for tensor in self.tensors]
        for (position, axis), size in zip(
            self._growing, np.frombuffer(packed, SIZES, offset=at).tolist(), strict=True
        ):
            if size > shapes[position][axis]:
                return None
            shapes[position] = self.tensors[position].with_size(size)
        return shapes

    def fits(self, packed: bytes) -> bool:
        """Whether `unpack` can read it."""
        if not self._growing:
            return len(packed) == self.num_bytes
        shapes = self._shapes(packed)
        if shapes is None:
            return False
        sizes = [size * dtype.itemsize for dtype, size, _, _ in self._place(shapes)]
        return len(packed) == sum(sizes) + self._num_size_bytes

    def fault(self, packed: bytes) -> str | None:
        """Why no server wrote these bytes as a state; None if one can have."""
        if not self.fits(packed):
            return f"the state has {len(packed)} bytes, its tensors {self.num_bytes}"
        for tensor, array in zip(self.tensors, self.unpack(packed), strict=True):
            if array.dtype == np.bool_ and (array.view(np.uint8) > 1).any():
                return f"the state {tensor.name!r} has a byte that is neither true nor false"
        return None

    def check_finite(self, packed: bytes) -> None:
        """Refuse NaN and infinities in a state without a `fault`. Raises NonFinite."""
        for tensor, array in zip(self.tensors, self.unpack(packed), strict=True):
            if not np.isfinite(array).all():
                raise NonFinite(f"the state {tensor.name!r} contains NaN or an infinity")

    def initial(self) -> State:
        """The state at step 0: one array per tensor. What is kept of inputs is 0."""
        return (
            *(np.full(spec.initial_shape, spec.initial, spec.dtype) for spec in self._specs),
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

    @cached_property
    def recurrent(self) -> dict[str, int]:
        """The positions, by tensor name, of all but the time and the inputs that are given once."""
        given = {*self._positions.values(), self.time_position}
        return {tensor.name: at for at, tensor in enumerate(self.tensors) if at not in given}

    def with_recurrent(self, arrays: Mapping[str, Array]) -> State:
        """The initial state with other recurrent tensors, by name. Raises InvalidField or WrongShape."""
        if set(arrays) != set(self.recurrent):
            expected, found = (", ".join(map(repr, sorted(names))) for names in (self.recurrent, arrays))
            raise InvalidField(f"expected exactly the states {expected}, got {found or 'none'}")
        state = list(self.initial())
        for name, at in self.recurrent.items():
            tensor, array = self.tensors[at], arrays[name]
            if array.dtype != tensor.dtype:
                raise InvalidField(f"the state {name!r} is {array.dtype.name}, the graph's {tensor.dtype}")
            if not _has_shape(tensor, array.shape):
                expected = f"[{', '.join(tensor.words)}]"
                raise WrongShape(f"the state {name!r} has the shape {list(array.shape)}, not {expected}")
            state[at] = array
        if fault := self.fault(self.pack(tuple(state))):
            raise InvalidField(fault)
        return tuple(state)

    def pack(self, state: State) -> bytes:
        """The arrays as bytes."""
        packed = b"".join([np.asarray(array).tobytes() for array in state])
        if not self._growing:
            return packed
        return packed + np.array([state[at].shape[axis] for at, axis in self._growing], SIZES).tobytes()

    def check_size(self, packed: bytes) -> None:
        """Refuse the state of a session that another layout packed. Raises SessionMismatch."""
        if (self._growing or len(packed) != self.num_bytes) and not self.fits(packed):
            raise SessionMismatch(
                f"the session's state has {len(packed)} bytes, its model's state {self.num_bytes}: "
                "the manifest has changed"
            )

    def unpack(self, packed: bytes) -> State:
        """Undo `pack`. The arrays are read-only views of `packed`, which must fit."""
        parts = self._place(self._shapes(packed) or ()) if self._growing else self._parts
        return tuple([np.ndarray(shape, dtype, packed, at) for dtype, _, at, shape in parts])

    def unpack_named(self, packed: bytes) -> dict[str, Array]:
        """The same by tensor name."""
        return {tensor.name: array for tensor, array in zip(self.tensors, self.unpack(packed), strict=True)}

    def parse(self, values: Mapping[str, Any], *, allows_null: bool = False) -> bytes:
        """A client's tensors, lists by name, as bytes. Raises InvalidField, WrongShape or NonFinite.

        `allows_null`: whether null, as which NaN and infinities are shown, is read as NaN.
        """
        names = [tensor.name for tensor in self.tensors]
        if set(values) != set(names):
            raise InvalidField(f"expected exactly the states {', '.join(map(repr, names))}", pointer="/state")
        return self.pack(
            tuple(_parse_tensor(tensor, values[tensor.name], allows_null) for tensor in self.tensors)
        )


def describe(tensors: Iterable[StateTensor]) -> str:
    """Names, dtypes and shapes, for a message."""
    return ", ".join(f"{tensor.name} {tensor.dtype}[{', '.join(tensor.words)}]" for tensor in tensors)


def _parse_tensor(tensor: StateTensor, value: Any, allows_null: bool) -> Array:
    pointer = f"/state/{tensor.name}"
    dtype = np.dtype(tensor.dtype)
    noun, kinds = _VALUES[dtype.kind]
    expected = f"expected {noun} in the shape [{', '.join(tensor.words)}]"
    try:
        array = np.array(value)
    except ValueError as error:  # ragged
        raise WrongShape(expected, pointer=pointer) from error
    if tensor.grows is not None and not array.size:  # no number shows the dtype, nor the axes behind
        array = np.empty(tensor.with_size(0), dtype) if isinstance(value, list) else array
    is_null = np.zeros(array.shape, np.bool_)
    if allows_null and dtype.kind == "f" and array.dtype == np.object_:
        is_null = np.array([item is None for item in array.flat], np.bool_).reshape(array.shape)
        array = np.array(np.where(is_null, 0, array).tolist())
    if array.dtype.kind not in kinds:
        raise InvalidField(expected, pointer=pointer)
    if not _has_shape(tensor, array.shape):
        raise WrongShape(f"{expected}, got {list(array.shape)}", pointer=pointer)
    with np.errstate(over="ignore"):
        packed = array.astype(dtype)
    if not (np.isfinite(packed) if dtype.kind == "f" else packed == array).all():
        raise NonFinite(f"a number does not fit into {tensor.dtype}", pointer=pointer)
    if is_null.any():
        packed[is_null] = np.nan
    return packed


def _has_shape(tensor: StateTensor, shape: tuple[int, ...]) -> bool:
    if tensor.grows is None or len(shape) != len(tensor.shape):
        return shape == tensor.shape
    return shape == tensor.with_size(min(shape[tensor.grows], tensor.shape[tensor.grows]))
