"""One ONNX Runtime session: a batch of chunks in, outputs and new states out.

The engine knows arrays and the manifest; it knows nothing of requests or scheduling. A session is to it a key
under which a state may stay on the device.
"""

import functools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from service.engine.device import CACHE_BYTES, DeviceStates, SessionCache, states_in_place
from service.engine.graph import CUDA, Provider, check_manifest, choose_provider, dtype_of, load_session
from service.errors import StartupError
from service.manifest import Manifest
from service.sequence import Array, Batch, Result, State
from service.state import StateLayout


class OnnxEngine:
    """Implements `service.sequence.Engine` with ONNX Runtime.

    The caller's arrays are [batch, time, *dims]; `Manifest.axes` says how the graph orders its own.
    Raises StartupError if the graph cannot be loaded or does not fit its manifest.
    """

    def __init__(
        self,
        graph: Path,
        manifest: Manifest,
        *,
        provider: Provider = "auto",
        threads: int = 1,
        helper_cpus: Sequence[int] = (),
        device: str | None = None,
    ) -> None:
        """`helper_cpus`: the CPUs of a second thread, which takes part in every call and spins during one.

        `device`: where states stay between calls, by IO binding's name; "": nowhere; None: on CUDA.
        """
        self.manifest = manifest
        self.layout = StateLayout(manifest.states)
        self.initial_state = self.layout.initial()  # of a sequence at step 0; shared, never written to
        self.provider = choose_provider(provider)
        self._session = load_session(graph, self.provider, threads, helper_cpus=helper_cpus)
        if self._session.get_providers()[0] != self.provider:
            raise StartupError(
                f"provider {self.provider} did not start (ONNX Runtime fell back to "
                f"{self._session.get_providers()[0]}): are the CUDA and cuDNN libraries and a device there?"
            )
        check_manifest(manifest, self._session, graph)
        dtypes = {node.name: dtype_of(node) for node in self._session.get_inputs()}
        self._constants = {
            name: np.asarray(value, dtypes[name]) for name, value in manifest.constants.items()
        }
        output = manifest.outputs[0].name
        self.output_dtype = next(
            dtype_of(node) for node in self._session.get_outputs() if node.name == output
        )
        self._outputs = [output, *(state.output for state in manifest.states)]
        self._has_time = manifest.outputs[0].steps == "all"
        self._inputs = [(spec.graph_input, index) for index, spec in enumerate(manifest.inputs)]
        self._states = [(spec.input, spec.batch_axis) for spec in manifest.states]
        # The permutation that brings the batch axis to the front; None: there is no batch axis.
        self._to_front = [
            None if spec.batch_axis is None else _to_front(len(spec.shape), spec.batch_axis)
            for spec in manifest.states
        ]
        can_stay = bool(manifest.states) and None not in self._to_front
        if device is None:
            device = "cuda" if self.provider == CUDA else ""
        self._device = device if can_stay and device else None
        self._cache = SessionCache(CACHE_BYTES) if self._device is not None else None
        # Memory for a call's inputs, reused by later calls; as many entries as there were concurrent calls.
        self._buffers: list[list[Array]] = []

    def resume(self, key: bytes, revision: bytes, packed: bytes) -> State:
        """The state of a stored session: from the device if that revision is still there, else unpacked."""
        cached = self._cache.get(key, revision) if self._cache is not None else None
        return self.layout.unpack(packed) if cached is None else cached

    def keep(self, key: bytes, revision: bytes, state: State) -> None:
        """Keep the state of a session that has just been committed, if it is on a device."""
        if self._cache is not None:
            self._cache.put(key, revision, state)

    def run(self, batch: Batch) -> list[Result]:
        """Compute a batch; one result per chunk, in order. Several threads may, with other sequences each."""
        states: Iterable[State]
        try:
            buffers = self._buffers.pop()
        except IndexError:
            buffers = [np.empty((0, *spec.dims), spec.dtype) for spec in self.manifest.inputs]
        if self._device is None:
            outputs, *tensors = self._session.run(self._outputs, self._feeds(batch, buffers))
            states = self._split_states(tensors, batch)
        else:
            outputs, on_device = self._run_on_device(batch, buffers, self._device)
            states = map(on_device.row, range(len(batch.chunks)))
        self._buffers.append(buffers)
        y = self._to_batch_time(np.asarray(outputs))
        return [Result(output, state) for output, state in zip(_split_output(y, batch), states, strict=True)]

    def _run_on_device(self, batch: Batch, buffers: list[Array], device: str) -> tuple[Array, DeviceStates]:
        """Run with IO binding: new states stay on the device, and states in place are not uploaded."""
        states = self.manifest.states
        in_place = states_in_place([chunk.sequence.state[0] for chunk in batch.chunks])
        binding = self._session.io_binding()
        for name, array in self._feeds(batch, buffers, with_states=in_place is None).items():
            binding.bind_cpu_input(name, np.ascontiguousarray(array))
        if in_place is not None:
            for state, value in zip(states, in_place.values, strict=True):
                binding.bind_ortvalue_input(state.input, value)
        binding.bind_output(self._outputs[0], "cpu")
        for state in states:
            binding.bind_output(state.output, device, 0)
        self._session.run_with_iobinding(binding)
        output, *values = binding.get_outputs()
        axes = [state.batch_axis or 0 for state in states]
        return output.numpy(), DeviceStates(values, axes, len(batch.chunks))

    def _feeds(self, batch: Batch, buffers: list[Array], *, with_states: bool = True) -> dict[str, Any]:
        lengths = self.manifest.lengths
        feeds: dict[str, Any] = dict(self._constants)
        for name, index in self._inputs:
            feeds[name] = self._to_graph(self._pack(batch, buffers, index))
        if lengths:
            feeds[lengths] = np.array([stop - start for _, start, stop in batch.chunks], np.int32)
        if with_states:
            rows = zip(*[chunk.sequence.state for chunk in batch.chunks], strict=True)
            for (name, axis), states in zip(self._states, rows, strict=True):
                feeds[name] = np.asarray(states[0]) if axis is None else _stack(states, axis)
        return feeds

    def _pack(self, batch: Batch, buffers: list[Array], index: int) -> Array:
        """[batch, time, *dims]: the chunks of input `index`; those shorter than the longest end in zeros."""
        chunks, steps = batch.chunks, batch.steps
        parts = [sequence.inputs[index][start:stop] for sequence, start, stop in chunks]
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

    def _to_graph(self, x: Array) -> Array:
        """[batch, time, *dims] → the graph's own order of axes."""
        axes = self.manifest.axes
        if axes.time is None:
            x = x[:, 0]
        if axes.batch is None:
            first: Array = x[0]
            return first
        return np.ascontiguousarray(x.swapaxes(0, 1)) if axes.time is not None and axes.batch == 1 else x

    def _to_batch_time(self, y: Array) -> Array:
        """The graph's output → [batch, time, *dims]; the time axis of a last-step output has length 1."""
        axes = self.manifest.axes
        if axes.batch is None:
            y = y[np.newaxis]
        if axes.time is None or not self._has_time:
            return y[:, np.newaxis]
        return y.swapaxes(0, 1) if axes.batch == 1 else y

    def _split_states(self, states: list[Any], batch: Batch) -> Iterable[State]:
        """One state per row: views, since the next call copies its input anyway."""
        if not states:
            return [()] * len(batch.chunks)
        by_state = [
            (state,) if axes is None else state.transpose(axes)
            for axes, state in zip(self._to_front, states, strict=True)
        ]
        return zip(*by_state, strict=True)


def _stack(states: tuple[Array, ...], axis: int) -> Array:
    """np.stack, in half its time for the few short rows of a batch."""
    rows = [np.asarray(state) for state in states]
    if not rows[0].ndim:
        return np.array(rows)
    if len(rows) == 1:
        return np.ascontiguousarray(rows[0][(slice(None),) * axis + (np.newaxis,)])
    stacked = np.concatenate(rows).reshape(len(rows), *rows[0].shape)
    return np.ascontiguousarray(stacked.transpose(_from_front(stacked.ndim, axis))) if axis else stacked


def _to_front(ndim: int, axis: int) -> tuple[int, ...]:
    """The permutation of np.moveaxis(…, axis, 0), which numpy would compute at every call."""
    return (axis, *(other for other in range(ndim) if other != axis))


@functools.cache
def _from_front(ndim: int, axis: int) -> tuple[int, ...]:
    """The permutation of np.moveaxis(…, 0, axis)."""
    return (*range(1, axis + 1), 0, *range(axis + 1, ndim))


def _split_output(y: Array, batch: Batch) -> Iterable[Array]:
    """Each row's true steps, [steps, *dims], or only its last, [1, *dims]. Copies: no row keeps the batch."""
    length = y.shape[1]
    ends = [min(stop - start, length) for _, start, stop in batch.chunks]
    if min(ends) == length:
        finals = y[:, -1:].copy()
    else:
        finals = y[np.arange(len(ends)), np.array(ends) - 1, np.newaxis]
    return [
        y[row, :end].copy() if chunk.sequence.keep_all else finals[row]
        for row, (chunk, end) in enumerate(zip(batch.chunks, ends, strict=True))
    ]
