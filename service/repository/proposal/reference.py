"""What bare ONNX Runtime answers to one sequence, as a manifest describes the graph. No engine, no batching.

It computes the expected answer of an example: what the server answers is then compared with it at every load.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from service.manifest import Axes, InputSpec, Manifest, StateSpec
from service.repository.probe import Probe, ProbeError
from service.sequence import Array


def answer(probe: Probe, manifest: Manifest, values: Mapping[str, Array]) -> Array:
    """The first output at the last step. `values`: by input name, [time, *dims], or [*dims] per sequence.

    Raises ProbeError.
    """
    ports = {port.name: port for port in probe.inputs}
    steps = min(len(values[spec.name]) for spec in manifest.step_inputs)
    axes = manifest.axes
    size = axes.time_size or (1 if axes.time is None else steps)
    states = {state.input: _initial(state) for state in manifest.states}
    outputs: dict[str, Array] = {}
    for start in range(0, steps, size):
        feeds = {name: np.asarray(value, ports[name].dtype) for name, value in manifest.constants.items()}
        for spec in manifest.inputs:
            feeds[spec.graph_input] = _fed(spec, values[spec.name], start, size, axes)
        if manifest.lengths:
            feeds[manifest.lengths] = np.full(_rows(axes), size, ports[manifest.lengths].dtype)
        outputs = probe.run(
            feeds | {n: _repeated(x, s, axes) for (n, x), s in _with(states, manifest.states)}
        )
        states = {state.input: _row(state, outputs[state.output]) for state in manifest.states}
    y = outputs[manifest.outputs[0].name]
    if not y.size:
        raise ProbeError("the answer is an empty array")
    return _last(manifest, y)


def read_steps(manifest: Manifest, steps: Any) -> dict[str, Array]:
    """The values of an example's `steps`: a list for one input, an object for several. Raises ValueError."""
    named = steps if isinstance(steps, dict) else {manifest.inputs[0].name: steps}
    missing = [spec.name for spec in manifest.inputs if spec.name not in named]
    if missing:
        raise ValueError(f"the example has no steps for input {', '.join(missing)}")
    values = {}
    for spec in manifest.inputs:
        array = np.asarray(named[spec.name], spec.dtype)
        shape = spec.dims if spec.per == "sequence" else (len(array), *spec.dims)
        values[spec.name] = array.reshape(shape)
    return values


def _with(states: dict[str, Array], specs: tuple[StateSpec, ...]) -> Any:
    return zip(states.items(), specs, strict=True)


def _initial(state: StateSpec) -> Array:
    return np.full(state.row_shape, state.initial, state.dtype)


def _rows(axes: Axes) -> int:
    return axes.batch_size or 1


def _repeated(row: Array, state: StateSpec, axes: Axes) -> Array:
    if state.batch_axis is None:
        return row
    return np.repeat(np.expand_dims(row, state.batch_axis), _rows(axes), axis=state.batch_axis)


def _row(state: StateSpec, after: Array) -> Array:
    return after.reshape(state.row_shape) if state.batch_axis is None else np.take(after, 0, state.batch_axis)


def _fed(spec: InputSpec, x: Array, start: int, size: int, axes: Axes) -> Array:
    """The steps from `start` on, in the graph's order of axes."""
    if spec.per == "sequence":
        batch = _without_time(axes).batch
        return x if batch is None else np.repeat(np.expand_dims(x, batch), _rows(axes), axis=batch)
    if spec.carry:
        joined = np.concatenate([np.zeros((spec.carry, *x.shape[2:]), x.dtype), *x])
        hop = spec.dims[0]
        part = np.stack([joined[at * hop : at * hop + hop + spec.carry] for at in range(start, start + size)])
    else:
        part = x[start : start + size]
    if axes.time is None:
        return (
            part[0]
            if axes.batch is None
            else np.repeat(np.expand_dims(part[0], axes.batch), _rows(axes), axis=axes.batch)
        )
    if axes.batch is None:
        return np.ascontiguousarray(np.moveaxis(part, 0, axes.time))
    rows = np.repeat(part[np.newaxis], _rows(axes), axis=0)  # [batch, time, *dims]
    return np.ascontiguousarray(np.moveaxis(rows, (0, 1), (axes.batch, axes.time)))


def _last(manifest: Manifest, y: Array) -> Array:
    """The last step of the first row."""
    spec, axes = manifest.outputs[0], manifest.axes
    if spec.axes is not None:
        axes = spec.axes
    elif spec.steps == "last":
        axes = _without_time(axes)
    batch, time = axes.batch, axes.time
    if batch is not None:
        y = np.take(y, 0, axis=batch)
        time = None if time is None else time - (batch < time)
    if time is not None:
        y = np.take(y, -1, axis=time)
    return y.reshape(spec.dims)


def _without_time(axes: Axes) -> Axes:
    """The axes behind the time axis move up."""
    batch = axes.batch
    if batch is not None and axes.time is not None and batch > axes.time:
        batch -= 1
    return Axes(batch=batch, time=None)
