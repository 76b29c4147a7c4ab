"""States that stay where the next call wants them: on the device.

A call leaves its new states on the device as one tensor per state, [.., batch, ..]. If the next call has the
same rows in the same order (a long sequence chunk by chunk, or the same sessions in lockstep), it takes those
tensors as they are. Whoever wants a row's numbers, the session store above all, gets them by a download, one
per call.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from service.sequence import Array, State


class Kept:
    """What one call left on the device. `values` are ONNX Runtime's OrtValues, one per state."""

    def __init__(self, values: Sequence[Any], axes: Sequence[int], rows: int) -> None:
        self.values = values
        self.axes = axes  # the batch axis of each
        self.rows = rows
        self._host: list[Array] | None = None

    def host(self, index: int) -> Array:
        """State `index` of all rows, the batch axis first; downloaded at most once."""
        if self._host is None:
            self._host = [
                np.moveaxis(value.numpy(), axis, 0)
                for value, axis in zip(self.values, self.axes, strict=True)
            ]
        return self._host[index]

    def row(self, number: int) -> State:
        """One sequence's state: arrays that are downloaded when they are looked at."""
        return tuple([Row(self, index, number) for index in range(len(self.values))])  # type: ignore[misc]


class Row:
    """One state of one row, to numpy an array."""

    __slots__ = ("index", "kept", "number")

    def __init__(self, kept: Kept, index: int, number: int) -> None:
        self.kept, self.index, self.number = kept, index, number

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> Array:
        row = self.kept.host(self.index)[self.number]
        return np.array(row, dtype, copy=copy)


def kept_of(rows: Sequence[Any]) -> Kept | None:
    """What already holds exactly these rows in this order; None if nothing does."""
    first = rows[0]
    if not isinstance(first, Row) or first.kept.rows != len(rows):
        return None
    kept = first.kept
    for number, row in enumerate(rows):
        if not isinstance(row, Row) or row.kept is not kept or row.number != number:
            return None
    return kept


class HotSessions:
    """The device states of the sessions last committed here, by the revision the store must still have.

    Each entry is counted with all that its call left on the device, so the bound holds whoever leaves first.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._entries: OrderedDict[bytes, tuple[bytes, State, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, key: bytes, revision: bytes) -> State | None:
        """The session's state, if it is here and nobody has moved it since."""
        entry = self._entries.get(key)
        return entry[1] if entry is not None and entry[0] == revision else None

    def keep(self, key: bytes, revision: bytes, state: State) -> None:
        """Remember a state that a commit has just written; one that is not on the device is not kept."""
        self.forget(key)
        first = state[0] if state else None
        if not isinstance(first, Row):
            return
        size = sum(int(np.prod(value.shape())) * 4 for value in first.kept.values)
        self._entries[key] = (revision, state, size)
        self._bytes += size
        while self._bytes > self._max_bytes:
            _, (_, _, freed) = self._entries.popitem(last=False)
            self._bytes -= freed

    def forget(self, key: bytes) -> None:
        """The session is gone, or elsewhere."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= entry[2]
