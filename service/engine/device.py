"""Recurrent states that stay on the device between engine calls, so that a call need not upload them.

A call leaves its new states on the device as one tensor per state, [.., batch, ..]. If the next call has the
same rows in the same order (a long sequence chunk by chunk, or the same sessions in lockstep), it takes those
tensors as they are. Any other reader, the session store above all, downloads them, at most once per call.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from service.engine.finite import are_finite
from service.errors import NonFiniteOutput
from service.sequence import Array, State

CACHE_BYTES = 1 << 30  # of device memory, for each model and worker

_SIZES = {"tensor(float)": 4, "tensor(float16)": 2, "tensor(int32)": 4}  # bytes; of other dtypes at most 8


class DeviceStates:
    """The states that one call left on the device. `values` are ONNX Runtime's OrtValues, one per state."""

    def __init__(
        self,
        values: Sequence[Any],
        batch_axes: Sequence[int],
        num_rows: int,
        *,
        refuses_non_finite: bool = False,
    ) -> None:
        """`refuses_non_finite`: reading a row with NaN or an infinity raises NonFiniteOutput."""
        self.refuses_non_finite = refuses_non_finite
        self.values = values
        self.batch_axes = batch_axes  # of each value
        self.num_rows = num_rows
        self._host: list[Array] | None = None

    @property
    def num_bytes(self) -> int:
        """The size of all values, where elements have at most 8 bytes."""
        return sum(int(np.prod(value.shape())) * _SIZES.get(value.data_type(), 8) for value in self.values)

    def host(self, index: int) -> Array:
        """State `index` of all rows, the batch axis first; downloaded at most once."""
        if self._host is None:
            self._host = [
                np.moveaxis(value.numpy(), axis, 0)
                for value, axis in zip(self.values, self.batch_axes, strict=True)
            ]
        return self._host[index]

    def row(self, number: int) -> State:
        """One sequence's state: arrays that are downloaded when they are first read."""
        return tuple([DeviceRow(self, index, number) for index in range(len(self.values))])  # type: ignore[misc]


class DeviceRow:
    """One state of one row. numpy reads it as an array."""

    __slots__ = ("index", "number", "states")

    def __init__(self, states: DeviceStates, index: int, number: int) -> None:
        self.states, self.index, self.number = states, index, number

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> Array:
        row = self.states.host(self.index)[self.number]
        if self.states.refuses_non_finite and not are_finite([row]):
            raise NonFiniteOutput("the model's new state has NaN or an infinity")
        return np.array(row, dtype, copy=copy)


def states_in_place(rows: Sequence[Any]) -> DeviceStates | None:
    """The device states that consist of exactly these rows in this order; None if there are none."""
    first = rows[0]
    if not isinstance(first, DeviceRow) or first.states.num_rows != len(rows):
        return None
    states = first.states
    for number, row in enumerate(rows):
        if not isinstance(row, DeviceRow) or row.states is not states or row.number != number:
            return None
    return states


class SessionCache:
    """The device states of the sessions that this worker committed last, by the record's revision.

    The size of an entry is that of everything its call left on the device, since one row keeps the memory of
    all rows. So the bound holds whichever entry is evicted first.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._num_bytes = 0
        self._entries: OrderedDict[bytes, tuple[bytes, State, int]] = OrderedDict()

    def get(self, key: bytes, revision: bytes) -> State | None:
        """The session's state, if it is cached and the store still has that revision of the session."""
        entry = self._entries.get(key)
        return entry[1] if entry is not None and entry[0] == revision else None

    def put(self, key: bytes, revision: bytes, state: State) -> None:
        """Cache a state that has just been committed. A state that is not on the device is ignored."""
        replaced = self._entries.pop(key, None)
        if replaced is not None:
            self._num_bytes -= replaced[2]
        first = state[0] if state else None
        if not isinstance(first, DeviceRow):
            return
        size = first.states.num_bytes
        self._entries[key] = (revision, state, size)
        self._num_bytes += size
        while self._num_bytes > self._max_bytes:
            _, (_, _, freed) = self._entries.popitem(last=False)
            self._num_bytes -= freed
