"""The chunks of a batch → the tensors that the graph takes, and what is kept of them for the next call.

    rows of equal length      [batch, time, *dims]; shorter rows end in zeros
    independent steps         [all steps of all rows, 1, *dims]: nothing is padded
    a fixed batch             the last row again, until the batch is full

It knows arrays and the manifest; it knows nothing of ONNX Runtime.
"""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from service.engine.axes import Order, input_order, takes_steps_as_rows
from service.errors import WrongShape
from service.manifest import InputSpec, Manifest
from service.sequence import Array, Chunk, State
from service.state import TIMED, UNTIMED

Buffers = list[Array]  # memory for a call's inputs, one per input with time steps


class Inputs:
    """Builds the tensors of a call, for one manifest."""

    def __init__(self, manifest: Manifest, lengths_dtype: str = "int32") -> None:
        axes = manifest.axes
        self._lengths, self._lengths_dtype = manifest.lengths, lengths_dtype
        self._step_inputs = [
            (spec.graph_input, index, input_order(spec, axes))
            for index, spec in enumerate(manifest.step_inputs)
        ]
        self._specs = manifest.step_inputs
        self._states = [(spec.input, spec.batch_axis) for spec in manifest.states]
        self._kept = _kept_positions(manifest)  # by graph input
        self._sequence_inputs = [
            (self._kept[spec.graph_input], spec.graph_input, input_order(spec, axes))
            for spec in manifest.sequence_inputs
        ]
        # The position of each carry in a state, and the index of its input.
        self._carries = [
            (self._kept[spec.graph_input], index) for index, spec in enumerate(self._specs) if spec.carry
        ]
        self.steps_as_rows = takes_steps_as_rows(manifest)
        self._keeps_time = manifest.keeps_time
        self.keeps = bool(manifest.kept_inputs) or manifest.keeps_time
        self._num_states = len(manifest.states)
        self._fixed_batch = axes.batch_size
        # The steps of every chunk; None: any number.
        fixed_steps = 1 if axes.time is None else axes.time_size
        self._fixed_steps = None if self.steps_as_rows else fixed_steps

    def new_buffers(self) -> Buffers:
        """Memory that `feeds` uses and enlarges. Two calls at once need their own."""
        return [np.empty((0, *spec.graph_dims), spec.dtype) for spec in self._specs]

    def feeds(
        self, chunks: list[Chunk], steps: int, buffers: Buffers, *, with_states: bool = True
    ) -> dict[str, Any]:
        """The graph's inputs by name. `steps`: of the longest chunk. Raises WrongShape.

        With a fixed batch, or independent steps, there are other rows than chunks; see the drawing above.
        """
        if self._fixed_steps is not None:
            self._check_steps(chunks)
        if self._fixed_batch is not None and len(chunks) < self._fixed_batch:
            chunks = chunks + chunks[-1:] * (self._fixed_batch - len(chunks))
        feeds: dict[str, Any] = {}
        for name, index, order in self._step_inputs:
            feeds[name] = order.to_graph(self._pack(chunks, steps, buffers, index))
        if self._lengths:
            lengths = [stop - start for _, start, stop in chunks]
            feeds[self._lengths] = np.array(lengths, self._lengths_dtype)
        for position, name, order in self._sequence_inputs:
            feeds[name] = self._values(chunks, position, order)
        if with_states:
            # By tensor; behind those of the graph's states are those kept of inputs.
            rows = zip(*[chunk.sequence.state for chunk in chunks], strict=True)
            for (name, axis), states in zip(self._states, rows, strict=not self.keeps):
                feeds[name] = np.asarray(states[0]) if axis is None else _stack(states, axis)
        return feeds

    def rows(self, inputs: Sequence[Array], lengths: Array) -> dict[str, Any]:
        """The same from an array [batch, time, *dims] of each input, without states."""
        feeds: dict[str, Any] = {
            name: order.to_graph(inputs[index]) for name, index, order in self._step_inputs
        }
        if self._lengths:
            feeds[self._lengths] = lengths.astype(self._lengths_dtype)
        return feeds

    def repeat(self, state: State, rows: int) -> dict[str, Any]:
        """The graph's states of so many rows, all alike, by the names of its inputs."""
        pairs = zip(self._states, state, strict=not self.keeps)
        return {
            name: np.repeat(np.expand_dims(np.asarray(array), axis), rows, axis)
            for (name, axis), array in pairs
            if axis is not None
        }

    def num_rows(self, chunks: list[Chunk]) -> int:
        """The rows of a call's tensors."""
        if self.steps_as_rows:
            return sum([stop - start for _, start, stop in chunks])
        return len(chunks) if self._fixed_batch is None else self._fixed_batch

    def kept(self, chunk: Chunk) -> State:
        """What is kept of the inputs after a chunk: the tensors behind the graph's in its new state."""
        sequence, start, stop = chunk
        kept = list(sequence.state[self._num_states :])
        for position, index in self._carries:
            spec, at = self._specs[index], position - self._num_states
            stream = _stream(sequence.inputs[index][start:stop], kept[at])
            kept[at] = stream[len(stream) - spec.carry :].copy()
        if self._keeps_time:
            kept[-1] = self._time(sequence.inputs, stop)
        return tuple(kept)

    def _time(self, inputs: tuple[Array, ...], stop: int) -> Array:
        """The time of the step before `stop`, as a state holds it; those of all are behind the inputs."""
        if len(inputs) == len(self._specs):
            return np.array((0.0, UNTIMED))
        return np.array((inputs[-1][stop - 1], TIMED))

    def _check_steps(self, chunks: list[Chunk]) -> None:
        for _, start, stop in chunks:
            if stop - start != self._fixed_steps:
                noun = "step" if self._fixed_steps == 1 else "steps"
                raise WrongShape(f"expected exactly {self._fixed_steps} {noun} in a call, got {stop - start}")

    def _pack(self, chunks: list[Chunk], steps: int, buffers: Buffers, index: int) -> Array:
        """[batch, time, *dims] of input `index`."""
        parts = [sequence.inputs[index][start:stop] for sequence, start, stop in chunks]
        if self._carries:
            parts = self._with_carry(chunks, parts, index)
        if self.steps_as_rows:
            return np.concatenate(parts)[:, np.newaxis]
        if len(parts) == 1:
            return parts[0][np.newaxis]
        total = len(parts) * steps
        if len(buffers[index]) < total:
            buffers[index] = np.empty((total, *parts[0].shape[1:]), parts[0].dtype)
        flat = buffers[index][:total]
        x: Array = flat.reshape(len(parts), steps, *parts[0].shape[1:])
        if sum(map(len, parts)) == total:
            np.concatenate(parts, out=flat)
            return x
        for row, part in enumerate(parts):
            x[row, : len(part)] = part
            x[row, len(part) :] = 0
        return x

    def _with_carry(self, chunks: list[Chunk], parts: list[Array], index: int) -> list[Array]:
        spec = self._specs[index]
        if not spec.carry:
            return parts
        position = self._kept[spec.graph_input]
        return [
            _windows(_stream(part, np.asarray(chunk.sequence.state[position])), spec)
            for chunk, part in zip(chunks, parts, strict=True)
        ]

    def _values(self, chunks: list[Chunk], position: int, order: Order) -> Array:
        """The graph's tensor of an input without a time axis: a row per row of the batch."""
        values = np.stack([np.asarray(chunk.sequence.state[position]) for chunk in chunks])  # [batch, *dims]
        if self.steps_as_rows:
            values = np.repeat(values, [stop - start for _, start, stop in chunks], axis=0)
        return order.to_graph(values[:, np.newaxis])


def _kept_positions(manifest: Manifest) -> dict[str, int]:
    """The position in a state of what is kept of an input, by the name of the graph input."""
    kept = enumerate(manifest.kept_inputs, len(manifest.states))
    return {spec.graph_input: position for position, spec in kept}


def _stream(steps: Array, carry: Array) -> Array:
    """[carry + time · dims[0], …]: what was carried, then the steps [time, *dims], end to end."""
    return np.concatenate((carry, steps.reshape(-1, *steps.shape[2:])))


def _windows(stream: Array, spec: InputSpec) -> Array:
    """[time, carry + dims[0], …]: the window of each step; one begins dims[0] numbers after the other."""
    hop, size = spec.dims[0], spec.dims[0] + spec.carry
    windows = np.lib.stride_tricks.sliding_window_view(stream, size, axis=0)[::hop]  # [time, …, size]
    return np.ascontiguousarray(np.moveaxis(windows, -1, 1))


def _stack(states: tuple[Array, ...], axis: int) -> Array:
    """np.stack, in half its time for the few short rows of a batch."""
    rows = [np.asarray(state) for state in states]
    if not rows[0].ndim:
        return np.array(rows)
    if len(rows) == 1:
        return np.ascontiguousarray(rows[0][(slice(None),) * axis + (np.newaxis,)])
    stacked = np.concatenate(rows).reshape(len(rows), *rows[0].shape)
    return np.ascontiguousarray(stacked.transpose(_from_front(stacked.ndim, axis))) if axis else stacked


@functools.cache
def _from_front(ndim: int, axis: int) -> tuple[int, ...]:
    """The permutation of np.moveaxis(…, 0, axis)."""
    return (*range(1, axis + 1), 0, *range(axis + 1, ndim))
