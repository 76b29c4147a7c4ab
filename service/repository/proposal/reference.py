"""What bare ONNX Runtime answers to one sequence, as a manifest describes the graph. No engine, no batching.

It computes the expected answer of an example: what the server answers is then compared with it at every load.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from service.engine.axes import input_order, output_order
from service.manifest import InputSpec, Manifest, StateSpec
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
            feeds[spec.graph_input] = np.asarray(_fed(manifest, spec, values[spec.name], start, size))
        if manifest.lengths:
            feeds[manifest.lengths] = np.full(_rows(manifest), size, ports[manifest.lengths].dtype)
        for state in manifest.states:
            feeds[state.input] = _repeated(state, states[state.input], _rows(manifest))
        outputs = probe.run(feeds)
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


def _initial(state: StateSpec) -> Array:
    return np.full(state.initial_shape, state.initial, state.dtype)


def _rows(manifest: Manifest) -> int:
    return manifest.axes.batch_size or 1


def _repeated(state: StateSpec, row: Array, rows: int) -> Array:
    if state.batch_axis is None:
        return np.asarray(row)
    return np.repeat(np.expand_dims(row, state.batch_axis), rows, axis=state.batch_axis)


def _row(state: StateSpec, after: Array) -> Array:
    return after if state.batch_axis is None else np.take(after, 0, state.batch_axis)


def _fed(manifest: Manifest, spec: InputSpec, x: Array, start: int, size: int) -> Array:
    """The steps from `start` on, in the graph's order of axes."""
    part = x[np.newaxis] if spec.per == "sequence" else _steps(spec, x, start, size)
    rows = np.repeat(part[np.newaxis], _rows(manifest), axis=0)  # [batch, time, *dims]
    return np.array(input_order(spec, manifest.axes).to_graph(rows), order="C")


def _steps(spec: InputSpec, x: Array, start: int, size: int) -> Array:
    """[size, *graph_dims]: steps, each after the numbers that are carried over from those before."""
    if not spec.carry:
        return x[start : start + size]
    stream, hop = np.concatenate([np.zeros((spec.carry, *x.shape[2:]), x.dtype), *x]), spec.dims[0]
    return np.stack([stream[at * hop : (at + 1) * hop + spec.carry] for at in range(start, start + size)])


def _last(manifest: Manifest, y: Array) -> Array:
    """The last step of the first row."""
    spec = manifest.outputs[0]
    order = output_order(spec, manifest.axes)
    if y.ndim != order.rank:
        raise ProbeError(f"output {spec.name!r} has {y.ndim} axes, the manifest says {order.rank}")
    return np.asarray(order.from_graph(y)[0, -1]).reshape(spec.dims)
