"""Whether a manifest fits its graph: names, dtypes, ranks and fixed sizes, before anything is computed.

It knows what ONNX Runtime says of a graph's inputs and outputs; `service.engine.onnx` computes.
"""

from pathlib import Path
from typing import Any

import onnxruntime as ort

from service.engine.axes import BATCH, Order, input_order, output_order
from service.engine.graph import DTYPES
from service.errors import StartupError
from service.manifest import Manifest

LENGTHS_DTYPES = ("int32", "int64")
Nodes = dict[str, Any]  # ONNX Runtime's inputs or outputs of a graph, by name


def check_manifest(manifest: Manifest, session: ort.InferenceSession, path: Path) -> None:
    """Compare names, dtypes, ranks and, where both are fixed, sizes of manifest and graph.

    Raises StartupError with every difference.
    """
    inputs = {node.name: node for node in session.get_inputs()}
    outputs = {node.name: node for node in session.get_outputs()}
    faults = [
        *_name_faults(manifest, inputs, outputs),
        *_dtype_faults(manifest, inputs, outputs),
        *_input_faults(manifest, inputs),
        *_state_faults(manifest, inputs, outputs),
        *_output_faults(manifest, outputs),
    ]
    if faults:
        raise StartupError(f"{path}: the manifest does not fit the graph: {'; '.join(sorted(faults))}")


def _name_faults(manifest: Manifest, inputs: Nodes, outputs: Nodes) -> list[str]:
    named = [spec.graph_input for spec in manifest.inputs] + [state.input for state in manifest.states]
    named += [manifest.lengths] if manifest.lengths else []
    faults = [
        f"graph input {name!r} is not in the manifest"
        for name in inputs.keys() - set(named) - manifest.constants.keys()
    ]
    faults += [
        f"manifest names input {name!r}, the graph has {sorted(inputs)}"
        for name in [*named, *manifest.constants]
        if name not in inputs
    ]
    answers = [spec.name for spec in manifest.outputs] + [state.output for state in manifest.states]
    return faults + [
        f"manifest names output {name!r}, the graph has {sorted(outputs)}"
        for name in dict.fromkeys(answers)
        if name not in outputs
    ]


def _dtype_faults(manifest: Manifest, inputs: Nodes, outputs: Nodes) -> list[str]:
    """An output's dtype counts only if the manifest says it: it had none before there were further dtypes."""
    expected = [("input", inputs, spec.graph_input, spec.dtype) for spec in manifest.inputs]
    for state in manifest.states:
        expected.append(("input", inputs, state.input, state.dtype))
        expected.append(("output", outputs, state.output, state.dtype))
    expected += [
        ("output", outputs, spec.name, spec.dtype)
        for spec in manifest.outputs
        if "dtype" in spec.model_fields_set
    ]
    faults = []
    for noun, nodes, name, dtype in expected:
        actual = _dtype(nodes, name)
        if actual not in (None, dtype):
            faults.append(f"{noun} {name!r} is {actual} in the graph, {dtype} in the manifest")
    actual = _dtype(inputs, manifest.lengths or "")
    if actual not in (None, *LENGTHS_DTYPES):
        faults.append(f"the lengths {manifest.lengths!r} are {actual} in the graph, not int32 or int64")
    return list(dict.fromkeys(faults))


def _dtype(nodes: Nodes, name: str) -> str | None:
    """None: there is no such node."""
    return DTYPES.get(nodes[name].type, nodes[name].type) if name in nodes else None


def _input_faults(manifest: Manifest, inputs: Nodes) -> list[str]:
    axes = manifest.axes
    faults = []
    for spec in manifest.inputs:
        if shape := _shape(inputs, spec.graph_input):
            order = input_order(spec, axes)
            words = order.describe(spec.graph_dims, axes.batch_size, axes.time_size)
            faults += _shape_faults(f"input {spec.graph_input!r}", shape, order, words)
    shape = _shape(inputs, manifest.lengths or "")
    if len(shape) > 1:
        faults.append(f"the lengths {manifest.lengths!r} are {shape} in the graph, where [batch] is expected")
    return faults


def _shape_faults(what: str, graph: list[Any], order: Order, manifest: list[str]) -> list[str]:
    """`manifest`: the shape in words, of `order`."""
    if len(graph) != len(manifest):
        return [f"{what} is {_words(graph)} in the graph, {_words(manifest)} in the manifest: another rank"]
    for axis, (theirs, ours) in enumerate(zip(graph, manifest, strict=True)):
        if not isinstance(theirs, int) or str(theirs) == ours:
            continue
        label = order.labels[axis]
        if ours == label:  # the manifest says nothing of the size
            return [
                f"{what}: the graph fixes its {label} axis to {theirs}; set axes.{label}_size to {theirs}"
            ]
        return [f"{what} is {_words(graph)} in the graph, {_words(manifest)} in the manifest"]
    return []


def _state_faults(manifest: Manifest, inputs: Nodes, outputs: Nodes) -> list[str]:
    faults = []
    for state in manifest.states:
        shape, new = _shape(inputs, state.input), _shape(outputs, state.output)
        if shape and not _shapes_agree(shape, list(state.shape), manifest.axes.batch_size):
            faults.append(
                f"state {state.input!r} is {shape} in the graph, {list(state.shape)} in the manifest"
            )
        elif shape and state.grows is not None and isinstance(shape[state.grows], int):
            faults.append(f"state {state.input!r} cannot grow: its shape in the graph is {shape}")
        if new and len(new) != len(state.shape):
            faults.append(
                f"state {state.input!r} is {list(state.shape)}, its new value {state.output!r} {new}: "
                "another rank"
            )
    return faults


def _output_faults(manifest: Manifest, outputs: Nodes) -> list[str]:
    """Ranks alone: exporters write sizes of outputs that are not true of every call."""
    faults = []
    for spec in manifest.outputs:
        order, shape = output_order(spec, manifest.axes), _shape(outputs, spec.name)
        words = order.describe(spec.dims)
        if shape and len(shape) != order.rank:
            faults.append(
                f"output {spec.name!r} is {_words(shape)} in the graph, {_words(words)} in the manifest: "
                "another rank; see dims, axes and steps of the output"
            )
        if spec.steps == "all" and not order.has_time and _has_many_steps(manifest):
            faults.append(
                f"output {spec.name!r} has no time axis, but the inputs have one of many steps: "
                'set its steps to "last"'
            )
    return faults


def _has_many_steps(manifest: Manifest) -> bool:
    return manifest.axes.time is not None and manifest.axes.time_size != 1


def _shape(nodes: Nodes, name: str) -> list[Any]:
    """ONNX Runtime's shape of a node; empty also if the graph does not say it, or has no such node."""
    return list(nodes[name].shape) if name in nodes else []


def _words(shape: list[Any]) -> str:
    return f"[{', '.join(str(size if size is not None else '?') for size in shape)}]"


def _shapes_agree(graph: list[Any], manifest: list[Any], batch_size: int | None) -> bool:
    """Equal rank, and equal wherever both sides give a number."""
    ours = [batch_size if size == BATCH else size for size in manifest]
    return len(graph) == len(ours) and all(
        a == b for a, b in zip(graph, ours, strict=True) if isinstance(a, int) and isinstance(b, int)
    )
