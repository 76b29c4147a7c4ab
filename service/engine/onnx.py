"""One ONNX Runtime session: a batch of chunks in, outputs and new states out.

The engine knows arrays and the manifest; it knows nothing of requests or scheduling. A session is to it a key
under which a state may stay on the device.
"""

import math
from collections.abc import Hashable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from service.engine.content import GraphContent
from service.engine.device import CACHE_BYTES, DeviceStates, SessionCache, states_in_place
from service.engine.finite import FiniteCheck, are_finite
from service.engine.fit import check_manifest
from service.engine.graph import (
    CUDA,
    Optimization,
    Provider,
    choose_provider,
    dtype_of,
    load_session,
    raise_bad_input,
)
from service.engine.inputs import Buffers, Inputs
from service.engine.outputs import Output, States
from service.errors import NonFiniteOutput
from service.manifest import Manifest, StateSpec
from service.sequence import Array, Batch, Chunk, Result, State
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
        optimization: Optimization = "all",
        content: GraphContent | None = None,
    ) -> None:
        """`helper_cpus`: the CPUs of a second thread, which takes part in every call and spins during one.

        `device`: where states stay between calls, by IO binding's name; "": nowhere; None: on CUDA.
        `optimization`: how far ONNX Runtime rewrites the graph. `content`: of the graph and the files that
        it names; None: they are read from the disk.
        """
        self.manifest = manifest
        self.layout = StateLayout.of(manifest)
        self.initial_state = self.layout.initial()  # of a sequence at step 0; shared, never written to
        self.provider = choose_provider(provider)
        self._session = load_session(
            graph, self.provider, threads, helper_cpus=helper_cpus, optimization=optimization, content=content
        )
        check_manifest(manifest, self._session, graph)
        dtypes = {node.name: dtype_of(node) for node in self._session.get_inputs()}
        values = manifest.constants.items()
        self._constants = {name: np.asarray(value, dtypes[name]) for name, value in values}
        self._inputs = Inputs(manifest, dtypes.get(manifest.lengths or "", "int32"))
        as_rows = self._inputs.steps_as_rows
        self._outputs = [Output(spec, manifest, steps_as_rows=as_rows) for spec in manifest.outputs]
        nodes = {node.name: node for node in self._session.get_outputs()}
        self.output_dtypes = tuple(dtype_of(nodes[spec.name]) for spec in manifest.outputs)
        self._states = States(
            manifest.states,
            [list(nodes[spec.output].shape) for spec in manifest.states],
            has_fixed_batch=manifest.axes.batch_size is not None,
        )
        # The outputs of every call: the first output and the new states, of which one may be the output.
        self._names = [spec.name for spec in manifest.outputs[:1]] + [s.output for s in manifest.states]
        self._has_row_per_chunk = not as_rows and manifest.axes.batch_size is None
        self._has_extra = len(manifest.outputs) > 1
        on_cuda = "cuda" if self.provider == CUDA else ""
        self._device = (on_cuda if device is None else device) or None if _can_stay(manifest) else None
        self._check = self._finite_check() if manifest.non_finite == "refuse" else None
        self._initial_rows: dict[int, dict[str, Any]] = {}  # the states of so many sequences at step 0
        self._cache = SessionCache(CACHE_BYTES) if self._device is not None else None
        # Memory for a call's inputs, reused by later calls; as many entries as there were concurrent calls.
        self._buffers: list[Buffers] = []

    @property
    def output_dtype(self) -> str:
        """That of the first output."""
        return self.output_dtypes[0]

    @cached_property
    def runs_rows(self) -> bool:
        """Whether `run_rows` can run this graph."""
        manifest = self.manifest
        axes = manifest.axes
        is_plain = not manifest.kept_inputs and not manifest.grows
        has_rows = axes.batch is not None and all(state.batch_axis is not None for state in manifest.states)
        is_free = axes.batch_size is None and axes.time_size is None and axes.time is not None
        has_steps = self._outputs[0].has_steps
        return is_plain and has_rows and is_free and has_steps and manifest.lengths is not None

    def run_rows(self, inputs: Sequence[Array], lengths: Array) -> Array | None:
        """The first output, [batch, time, *dims], of sequences that begin at the initial state.

        `inputs`: each [batch, time, *dims] in its dtype, with zeros behind the `lengths` of the rows. None:
        an answer or a state has NaN or an infinity. Raises what ONNX Runtime does.
        """
        rows, steps = inputs[0].shape[:2]
        if rows not in self._initial_rows:
            self._initial_rows = {rows: self._inputs.repeat(self.initial_state, rows)}
        feeds = self._inputs.rows(inputs, lengths) | self._initial_rows[rows] | self._constants
        tensors = self._session.run(self._names, feeds)
        if self._check is not None and not self._check.passes(tensors):
            return None
        return self._outputs[0].arrange(np.asarray(tensors[0]), rows, steps)

    def resume(self, key: bytes, revision: bytes, packed: bytes) -> State:
        """The state of a stored session: from the device if that revision is still there, else unpacked."""
        cached = self._cache.get(key, revision) if self._cache is not None else None
        return self.layout.unpack(packed) if cached is None else cached

    def keep(self, key: bytes, revision: bytes, state: State) -> None:
        """Keep the state of a session that has just been committed, if it is on a device."""
        if self._cache is not None:
            self._cache.put(key, revision, state)

    def run(self, batch: Batch) -> list[Result]:
        """Compute a batch; one result per chunk, in order. Several threads may, with other sequences each.

        A row that gives NaN or an infinity has a result with an error. Raises an InvalidField for an input
        that the graph refuses, and InternalError if its answer has another shape than the manifest's.
        """
        if self.manifest.grows and len(batch.chunks) > 1:
            return self._run_by_shape(batch)
        return self._run(batch)

    def _run_by_shape(self, batch: Batch) -> list[Result]:
        """Rows share a call only if their states have equal shapes, which change as the states grow."""
        places: dict[tuple[tuple[int, ...], ...], list[int]] = {}
        for place, chunk in enumerate(batch.chunks):
            shapes = tuple([state.shape for state in chunk.sequence.state])
            places.setdefault(shapes, []).append(place)
        results: dict[int, Result] = {}
        for group in places.values():
            part = Batch([batch.chunks[place] for place in group])
            results |= dict(zip(group, self._run(part), strict=True))
        return [results[place] for place in range(len(batch.chunks))]

    def _run(self, batch: Batch) -> list[Result]:
        """`run`, of rows that share a call."""
        try:
            buffers = self._buffers.pop()
        except IndexError:
            buffers = self._inputs.new_buffers()
        extra = self._extra_of(batch.chunks) if self._has_extra else ()
        names = self._names + [self._outputs[index].name for index in extra] if extra else self._names
        states: Iterable[State]
        if self._device is None:
            tensors = self._run_session(names, batch, buffers)
            states = self._states.split(tensors, len(batch.chunks))
        else:
            tensors, on_device = self._run_on_device(batch, buffers, names, self._device)
            states = map(on_device.row, range(len(batch.chunks)))
        self._buffers.append(buffers)
        return self._results(batch, tensors, states, extra)

    def _feeds(self, batch: Batch, buffers: Buffers, *, with_states: bool = True) -> dict[str, Any]:
        feeds = self._inputs.feeds(batch.chunks, batch.steps, buffers, with_states=with_states)
        return feeds | self._constants if self._constants else feeds

    def _run_session(self, names: list[str], batch: Batch, buffers: Buffers) -> list[Any]:
        feeds = self._feeds(batch, buffers)
        try:
            return self._session.run(names, feeds)  # type: ignore[no-any-return]
        except Exception as error:
            raise_bad_input(error, self.manifest, batch.steps)
            raise

    def _run_on_device(
        self, batch: Batch, buffers: Buffers, names: list[str], device: str
    ) -> tuple[list[Array], DeviceStates]:
        """Run with IO binding: new states stay on the device, and states in place are not uploaded."""
        states = self.manifest.states
        in_place = states_in_place([chunk.sequence.state[0] for chunk in batch.chunks])
        binding = self._session.io_binding()
        for name, array in self._feeds(batch, buffers, with_states=in_place is None).items():
            binding.bind_cpu_input(name, np.ascontiguousarray(array))
        if in_place is not None:
            for state, value in zip(states, in_place.values, strict=True):
                binding.bind_ortvalue_input(state.input, value)
        stop = 1 + len(states)
        for index, name in enumerate(names):
            binding.bind_output(name, device if 1 <= index < stop else "cpu", 0)
        try:
            self._session.run_with_iobinding(binding)
        except Exception as error:
            raise_bad_input(error, self.manifest, batch.steps)
            raise
        values = binding.get_outputs()
        axes = [state.batch_axis or 0 for state in states]
        on_device = DeviceStates(
            values[1:stop], axes, len(batch.chunks), refuses_non_finite=self._check is not None
        )
        return [value.numpy() for value in (values[0], *values[stop:])], on_device

    def _results(
        self, batch: Batch, tensors: list[Any], states: Iterable[State], extra: tuple[int, ...]
    ) -> list[Result]:
        """One result per chunk, from the graph's outputs: the first, perhaps the states, the further ones."""
        chunks = batch.chunks
        rows = len(chunks) if self._has_row_per_chunk else self._inputs.num_rows(chunks)
        first = self._outputs[0]
        y = first.arrange(np.asarray(tensors[0]), rows, batch.steps)
        is_finite = self._check is None or self._check.passes(tensors)
        if is_finite and extra and self._check is not None:
            is_finite = are_finite(tensors[-len(extra) :])
        if is_finite and not extra and not self._inputs.keeps:
            return [
                Result(output, state) for output, state in zip(first.split(y, chunks), states, strict=True)
            ]
        further = zip(extra, tensors[len(tensors) - len(extra) :], strict=True)
        arranged = {0: y} | {
            index: self._outputs[index].arrange(np.asarray(tensor), rows, batch.steps)
            for index, tensor in further
        }
        states = list(states)
        results = self._full_results(chunks, arranged, states)
        return results if is_finite else self._refuse(chunks, arranged, states, results)

    def _full_results(
        self, chunks: list[Chunk], arranged: dict[int, Array], states: list[State]
    ) -> list[Result]:
        """With the further outputs that each sequence wants, and with what is kept of inputs."""
        parts = {index: self._outputs[index].split(y, chunks) for index, y in arranged.items()}
        results: list[Result] = []
        for row, chunk in enumerate(chunks):
            extra = tuple([
                self._outputs[index].extra(parts[index][row], chunk) for index in chunk.sequence.extra
            ])  # fmt: skip
            state = states[row] + self._inputs.kept(chunk) if self._inputs.keeps else states[row]
            results.append(Result(parts[0][row], state, extra))
        return results

    def _refuse(
        self, chunks: list[Chunk], arranged: dict[int, Array], states: list[State], results: list[Result]
    ) -> list[Result]:
        """An error in the place of each row with NaN or an infinity in its true steps or its new state."""
        parts = {index: self._outputs[index].parts(y, chunks) for index, y in arranged.items()}
        refused = list(results)
        for row, chunk in enumerate(chunks):
            tensors = [
                (f"output {self._outputs[index].name!r}", parts[index][row])
                for index in (0, *chunk.sequence.extra)
            ]
            if self._device is None:  # those on the device are checked where they are read
                specs = self.manifest.states
                tensors += [
                    (f"state {spec.input!r}", value) for spec, value in zip(specs, states[row], strict=True)
                ]
            for name, value in tensors:
                if not are_finite([value]):
                    error = NonFiniteOutput(f"the model's {name} has NaN or an infinity")
                    refused[row] = results[row]._replace(error=error)
                    break
        return refused

    def _finite_check(self) -> FiniteCheck:
        """Of the first output and, if they are not left on the device, the new states."""
        states = self.manifest.states if self._device is None else ()
        sizes = [(spec.dtype, _size_key(spec)) for spec in states]
        return FiniteCheck([(self.output_dtype, None), *sizes])

    def _extra_of(self, chunks: list[Chunk]) -> tuple[int, ...]:
        """The further outputs that some sequence of a call wants, by index."""
        return tuple(sorted({index for chunk in chunks for index in chunk.sequence.extra}))


def _size_key(spec: StateSpec) -> Hashable:
    """Equal for states that have the same size in every call."""
    if spec.grows is not None:
        return spec.input
    return math.prod(spec.row_shape), spec.batch_axis is None


def _can_stay(manifest: Manifest) -> bool:
    """Whether states may stay on the device: if they are tensors of the graph, with a row per sequence."""
    has_rows = all(state.batch_axis is not None for state in manifest.states)
    keeps = manifest.kept_inputs or manifest.keeps_time
    is_plain = not keeps and manifest.axes.batch_size is None and not manifest.grows
    answers = {spec.name for spec in manifest.outputs}
    are_apart = not any(state.output in answers for state in manifest.states)
    return bool(manifest.states) and has_rows and is_plain and are_apart
