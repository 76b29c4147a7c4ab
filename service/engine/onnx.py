"""One ONNX Runtime session: a batch of chunks in, outputs and new states out.

The engine knows arrays and the manifest; it knows nothing of requests, sessions or scheduling.
"""

import functools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime as ort

from service.engine.device import Kept, kept_of
from service.errors import StartupError
from service.manifest import Manifest
from service.sequence import Array, Batch, Result, State

Provider = Literal["auto", "cpu", "cuda"]
CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
HELPER_SPIN_US = "100"  # longer than what there is to wait for between two parts of a time step
TYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
}


def choose_provider(asked: Provider) -> str:
    """The execution provider's ONNX Runtime name. Raises StartupError when CUDA is asked for and absent."""
    available = ort.get_available_providers()
    if asked == "cuda" and CUDA not in available:
        raise StartupError(
            f"provider cuda: this ONNX Runtime ({ort.__version__}) has only {', '.join(available)}; "
            "install the GPU build in its place: pip uninstall onnxruntime; pip install 'cellgate[gpu]'"
        )
    return CUDA if asked != "cpu" and CUDA in available else CPU


class OnnxEngine:
    """Implements `service.sequence.Engine` with ONNX Runtime.

    Arrays are [batch, time, *dims] on our side; `Manifest.axes` says how the graph wants them.
    Raises StartupError when the graph cannot be loaded or does not fit its manifest.
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
        """`helper_cpus`: where another thread takes its part in every call; it stays awake during one.

        `device`: where states stay between calls, by IO binding's name; "": nowhere; None: on CUDA.
        """
        self.manifest = manifest
        self.provider = choose_provider(provider)
        self._session = load_session(graph, self.provider, threads, helper_cpus=helper_cpus)
        if self._session.get_providers()[0] != self.provider:
            raise StartupError(
                f"provider {self.provider} did not start (ONNX Runtime fell back to "
                f"{self._session.get_providers()[0]}): are the CUDA and cuDNN libraries and a device there?"
            )
        _check_names(manifest, self._session, graph)
        types = {node.name: type_of(node) for node in self._session.get_inputs()}
        self._constants = {name: np.asarray(value, types[name]) for name, value in manifest.constants.items()}
        made = {node.name: node for node in self._session.get_outputs()}
        self.output_dtype = type_of(made[manifest.outputs[0].name])
        self._outputs = [manifest.outputs[0].name, *(state.output for state in manifest.states)]
        can_stay = bool(manifest.states) and all(state.batch_axis is not None for state in manifest.states)
        wanted = device if device is not None else "cuda" if self.provider == CUDA else ""
        self._device = wanted if can_stay and wanted else None
        self.num_resident = 0  # calls that found their states in place
        # Memory for a call's inputs, used again at a later one; as many as there have been calls at once.
        self._buffers: list[list[Array]] = []

    def initial_state(self) -> State:
        """The state of a sequence at step 0: one array per recurrent tensor, without the batch axis."""
        return tuple(np.full(spec.row_shape, spec.initial, spec.dtype) for spec in self.manifest.states)

    def run(self, batch: Batch) -> list[Result]:
        """Compute a batch; one result per chunk, in order. Several threads may, with other sequences each."""
        has_time = self.manifest.outputs[0].steps == "all"
        states: Iterable[State]
        try:
            buffers = self._buffers.pop()
        except IndexError:
            buffers = [np.empty((0, *spec.dims), spec.dtype) for spec in self.manifest.inputs]
        if self._device is None:
            outputs, *tensors = self._session.run(self._outputs, self._feeds(batch, buffers))
            states = self._split_states(tensors, batch)
        else:
            outputs, kept = self._run_on_device(batch, buffers, self._device)
            states = map(kept.row, range(len(batch.chunks)))
        self._buffers.append(buffers)
        y = self._to_batch_time(np.asarray(outputs), has_time)
        return [Result(output, state) for output, state in zip(_split_output(y, batch), states, strict=True)]

    def _run_on_device(self, batch: Batch, buffers: list[Array], device: str) -> tuple[Array, Kept]:
        """The same by IO binding: states are left on the device, and taken as they are when in place."""
        states = self.manifest.states
        kept = kept_of([chunk.sequence.state[0] for chunk in batch.chunks])
        binding = self._session.io_binding()
        for name, array in self._feeds(batch, buffers, with_states=kept is None).items():
            binding.bind_cpu_input(name, np.ascontiguousarray(array))
        if kept is not None:
            self.num_resident += 1
            for state, value in zip(states, kept.values, strict=True):
                binding.bind_ortvalue_input(state.input, value)
        binding.bind_output(self._outputs[0], "cpu")
        for state in states:
            binding.bind_output(state.output, device, 0)
        self._session.run_with_iobinding(binding)
        output, *values = binding.get_outputs()
        axes = [state.batch_axis or 0 for state in states]
        return output.numpy(), Kept(values, axes, len(batch.chunks))

    def _feeds(self, batch: Batch, buffers: list[Array], *, with_states: bool = True) -> dict[str, Any]:
        manifest = self.manifest
        feeds: dict[str, Any] = dict(self._constants)
        for index, spec in enumerate(manifest.inputs):
            feeds[spec.graph_input] = self._to_graph(self._pack(batch, buffers, index))
        if manifest.lengths:
            feeds[manifest.lengths] = np.array([chunk.steps for chunk in batch.chunks], np.int32)
        for index, state in enumerate(manifest.states if with_states else ()):
            rows = [chunk.sequence.state[index] for chunk in batch.chunks]
            axis = state.batch_axis
            feeds[state.input] = np.asarray(rows[0]) if axis is None else _stack(rows, axis)
        return feeds

    def _pack(self, batch: Batch, buffers: list[Array], index: int) -> Array:
        """[batch, time, *dims]: the chunks of input `index`, zeros after those shorter than the longest."""
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

    def _to_batch_time(self, y: Array, has_time: bool) -> Array:
        """The graph's output → [batch, time, *dims]; a graph that keeps one step has a time axis of 1."""
        axes = self.manifest.axes
        if axes.batch is None:
            y = y[np.newaxis]
        if axes.time is None or not has_time:
            return y[:, np.newaxis]
        return y.swapaxes(0, 1) if axes.batch == 1 else y

    def _split_states(self, states: list[Any], batch: Batch) -> Iterable[State]:
        """One state per row; views, which the next call's input copies anyway."""
        if not states:
            return [()] * len(batch.chunks)
        return zip(
            *(
                (state,)
                if spec.batch_axis is None
                else state.transpose(_to_front(state.ndim, spec.batch_axis))
                for spec, state in zip(self.manifest.states, states, strict=True)
            ),
            strict=True,
        )


def load_session(
    path: Path, provider: str, threads: int, *, helper_cpus: Sequence[int] = ()
) -> ort.InferenceSession:
    """An ONNX Runtime session. Raises StartupError when the file is missing or no sound graph."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 2 if helper_cpus else threads
    options.inter_op_num_threads = 1
    # A pool that spins on after a call would take the core that another worker, or HTTP itself, needs.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if helper_cpus else "0")
    if helper_cpus:
        options.add_session_config_entry("session.intra_op.spin_duration_us", HELPER_SPIN_US)
        # ONNX Runtime counts CPUs from 1.
        cpus = ",".join(str(cpu + 1) for cpu in helper_cpus)
        options.add_session_config_entry("session.intra_op_thread_affinities", cpus)
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(str(path), options, providers=list(dict.fromkeys((provider, CPU))))
    except Exception as error:
        raise StartupError(f"{path}: ONNX Runtime cannot load it: {error}") from error


def type_of(node: Any) -> str:
    """The numpy dtype of a graph's input or output. Raises StartupError for one we cannot feed."""
    if node.type not in TYPES:
        raise StartupError(f"{node.name!r} is {node.type}; expected one of {', '.join(TYPES)}")
    return TYPES[node.type]


def _check_names(manifest: Manifest, session: ort.InferenceSession, path: Path) -> None:
    """Hold the manifest against the graph: the same names, dtypes and, where both fix one, sizes."""
    wanted = {spec.graph_input: spec.dtype for spec in manifest.inputs}
    wanted |= {state.input: state.dtype for state in manifest.states}
    wanted |= {manifest.lengths: "int32"} if manifest.lengths else {}
    graph = {node.name: node for node in session.get_inputs()}
    made = {node.name for node in session.get_outputs()}
    faults = [
        f"graph input {name!r} is not in the manifest"
        for name in graph.keys() - wanted.keys() - manifest.constants.keys()
    ]
    for name, dtype in wanted.items():
        if name not in graph:
            faults.append(f"manifest names input {name!r}, the graph has {sorted(graph)}")
        elif (found := TYPES.get(graph[name].type)) != dtype:
            faults.append(
                f"input {name!r} is {found or graph[name].type} in the graph, {dtype} in the manifest"
            )
    faults += [
        f"manifest names output {name!r}, the graph has {sorted(made)}"
        for name in [*(o.name for o in manifest.outputs), *(s.output for s in manifest.states)]
        if name not in made
    ]
    for state in manifest.states:
        shape = list(graph[state.input].shape) if state.input in graph else []
        if shape and not _shapes_agree(shape, list(state.shape)):
            faults.append(
                f"state {state.input!r} is {shape} in the graph, {list(state.shape)} in the manifest"
            )
    if faults:
        raise StartupError(f"{path}: the manifest does not fit the graph: {'; '.join(sorted(faults))}")


def _shapes_agree(graph: list[Any], manifest: list[Any]) -> bool:
    """Equal rank, and equal wherever both sides give a number."""
    return len(graph) == len(manifest) and all(
        a == b for a, b in zip(graph, manifest, strict=True) if isinstance(a, int) and isinstance(b, int)
    )


def _stack(rows: list[Array], axis: int) -> Array:
    """np.stack, in half its time for the few short rows of a batch."""
    rows = [np.asarray(row) for row in rows]
    if not rows[0].ndim:
        return np.array(rows)
    stacked = np.concatenate(rows).reshape(len(rows), *rows[0].shape)
    return np.ascontiguousarray(stacked.transpose(_from_front(stacked.ndim, axis))) if axis else stacked


@functools.cache
def _to_front(ndim: int, axis: int) -> tuple[int, ...]:
    """The permutation that np.moveaxis(…, axis, 0) works out at every call."""
    return (axis, *(other for other in range(ndim) if other != axis))


@functools.cache
def _from_front(ndim: int, axis: int) -> tuple[int, ...]:
    """The permutation of np.moveaxis(…, 0, axis)."""
    return (*range(1, axis + 1), 0, *range(axis + 1, ndim))


def _split_output(y: Array, batch: Batch) -> Iterable[Array]:
    """Each row's true steps, [steps, *dims], or only its last, [1, *dims]; not views of the whole batch."""
    kept = y.shape[1]
    ends = [min(chunk.steps, kept) for chunk in batch.chunks]
    if min(ends) == kept:
        finals = y[:, -1:].copy()
    else:
        finals = y[np.arange(len(ends)), np.array(ends) - 1, np.newaxis]
    return [
        y[row, :end].copy() if chunk.sequence.keep_all else finals[row]
        for row, (chunk, end) in enumerate(zip(batch.chunks, ends, strict=True))
    ]
