"""The tensors that the graph gave → each row's outputs and new state.

It knows arrays and the manifest; it knows nothing of ONNX Runtime. A tensor of an unexpected shape is an
error, never a wrong answer.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from service.engine.axes import output_order
from service.errors import InternalError
from service.manifest import Manifest, OutputSpec, StateSpec
from service.sequence import Array, Chunk, State


class Output:
    """One output of the graph."""

    def __init__(self, spec: OutputSpec, manifest: Manifest, *, steps_as_rows: bool) -> None:
        self.name = spec.name
        self._spec = spec
        self._order = output_order(spec, manifest.axes)
        self._dims = spec.dims
        self._has_steps = spec.steps == "all"
        self._steps_as_rows = steps_as_rows
        self._is_long = self._has_steps and not steps_as_rows  # the time axis has every step of the call
        self._is_plain = self._order.is_plain

    @property
    def has_steps(self) -> bool:
        """Whether it has every step of a call."""
        return self._is_long

    def arrange(self, array: Array, rows: int, steps: int) -> Array:
        """[batch, time, *dims] of `rows` rows; time is 1 for the last step alone. Raises InternalError."""
        if not self._is_plain:
            if array.ndim != self._order.rank:
                raise self._fault(array)
            y = self._order.from_graph(array)
        else:
            y = array
        if y.shape != (rows, steps if self._is_long else 1, *self._dims):
            raise self._fault(array)
        return y

    def split(self, y: Array, chunks: list[Chunk]) -> list[Array]:
        """Each row's true steps, [steps, *dims], or its last, [1, *dims]. Copies: no row keeps the batch."""
        if self._steps_as_rows:
            return [
                (part if chunk.sequence.keep_all else part[-1:]).copy()
                for part, chunk in zip(self.parts(y, chunks), chunks, strict=True)
            ]
        length = y.shape[1]
        ends = [min(stop - start, length) for _, start, stop in chunks]
        if min(ends) == length:
            finals = y[:, -1:].copy()
        else:
            finals = y[np.arange(len(ends)), np.array(ends) - 1, np.newaxis]
        return [
            y[row, :end].copy() if chunk.sequence.keep_all else finals[row]
            for row, (chunk, end) in enumerate(zip(chunks, ends, strict=True))
        ]

    def parts(self, y: Array, chunks: list[Chunk]) -> list[Array]:
        """Each row's true steps, [steps, *dims]; or [1, *dims] of an output that has only the last."""
        lengths = [stop - start for _, start, stop in chunks]
        if self._steps_as_rows:
            return np.split(y[:, 0], np.cumsum(lengths[:-1]))
        return [y[row, :length] for row, length in enumerate(lengths)]

    def extra(self, row: Array, chunk: Chunk) -> Array:
        """A row of `split`, for a sequence that wants it beside the first output.

        The last step alone is an answer only at the end of the sequence.
        """
        return row if self._has_steps or chunk.is_last or not chunk.sequence.keep_all else row[:0]

    def _fault(self, array: Array) -> InternalError:
        expected = ", ".join(self._order.describe(self._dims))
        return InternalError(
            f"the graph's output {self.name!r} has the shape {list(array.shape)}, where the manifest says "
            f"[{expected}]" + ("" if self._has_steps else " of the last step")
        )


class States:
    """The recurrent tensors of the graph, which follow its first output in what a call returns."""

    def __init__(
        self, specs: tuple[StateSpec, ...], shapes: list[list[Any]], *, has_fixed_batch: bool = False
    ) -> None:
        """`shapes`: of the graph's outputs; those that the graph does not fix are checked in every call."""
        self._has_fixed_batch = has_fixed_batch
        self._to_front = [
            None if spec.batch_axis is None else _to_front(len(spec.shape), spec.batch_axis) for spec in specs
        ]
        self._stop = 1 + len(specs)
        self._checked = [
            (index, spec)
            for index, (spec, shape) in enumerate(zip(specs, shapes, strict=True), 1)
            if not _is_fixed(spec, shape)
        ]

    def split(self, tensors: list[Any], rows: int) -> Iterable[State]:
        """One state per row: views, since the next call copies its input anyway. Raises InternalError.

        `tensors`: all that the call returned.
        """
        for index, spec in self._checked:
            _check_shape(tensors[index], spec)
        if not self._to_front:
            return [()] * rows
        by_state = [
            (tensor,) if axes is None else tensor.transpose(axes)
            for axes, tensor in zip(self._to_front, tensors[1 : self._stop], strict=True)
        ]
        if self._has_fixed_batch:
            by_state = [tensor[:rows] for tensor in by_state]
        return zip(*by_state, strict=True)


def _is_fixed(spec: StateSpec, shape: list[Any]) -> bool:
    """Whether the graph itself says that the new state has the old one's shape."""
    return (
        len(shape) == len(spec.shape)
        and spec.grows is None
        and all(ours == "batch" or ours == theirs for ours, theirs in zip(spec.shape, shape, strict=True))
    )


def _check_shape(tensor: Array, spec: StateSpec) -> None:
    shape = tuple(tensor.shape)
    if spec.allows(shape):
        return
    most = "a state that changes its shape cannot be kept"
    if spec.grows is not None:
        most = f"it grows beyond {spec.shape[spec.grows]} entries"
    raise InternalError(
        f"the new value of state {spec.input!r} has the shape {list(shape)}, its input "
        f"{list(spec.shape)}: {most}"
    )


def _to_front(ndim: int, axis: int) -> tuple[int, ...]:
    """The permutation of np.moveaxis(…, axis, 0), which numpy would compute at every call."""
    return (axis, *(other for other in range(ndim) if other != axis))
