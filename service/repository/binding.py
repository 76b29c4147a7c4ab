"""What ties sessions to a version: a fingerprint of its files, and of what its manifest makes of them.

A state means something only together with the graph that computed it and with the manifest that says which
tensors it is, and what goes into the graph beside it. Texts, labels, the example and outputs do not count.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from service.manifest import Axes, InputSpec, Manifest, StateSpec
from service.repository.graph import Graph, Size, Value
from service.repository.sizes import with_fixed_sizes
from service.sessions import Binding

Shapes = dict[str, tuple[Size, ...]]


def bind(folder: Path, files: bytes, manifest: Manifest, graph: Graph) -> Binding:
    """`files`: the fingerprint of the graph and its weights, 8 bytes.

    It is the version's own where the manifest only repeats what the graph says, as those of native exports
    do. Otherwise the manifest's part is hashed too.
    """
    manifest = with_fixed_sizes(manifest, graph.inputs)
    if not _follows(manifest, graph):
        part = json.dumps(_recurrence(manifest), sort_keys=True, separators=(",", ":"))
        files = hashlib.sha256(files + part.encode()).digest()[:8]
    return Binding(folder.parent.name, folder.name, files)


def _recurrence(manifest: Manifest) -> dict[str, Any]:
    """All of a manifest that decides what a state holds, and how the next steps change it."""
    part = {
        "inputs": [_input(spec) for spec in manifest.inputs],
        "lengths": manifest.lengths,
        "constants": manifest.constants,
        "axes": manifest.axes.model_dump(),
        # Without defaults, so that a field that is added later changes no fingerprint.
        "states": [spec.model_dump(exclude_defaults=True) for spec in manifest.states],
    }
    return part | ({"keeps_time": True} if manifest.keeps_time else {})


def _input(spec: InputSpec) -> dict[str, Any]:
    fields = spec.model_dump(include={"dtype", "dims", "per", "carry"})
    return fields | {"tensor": spec.graph_input}


def _follows(manifest: Manifest, graph: Graph) -> bool:
    """Whether no other manifest of this form fits the graph.

    It has the axes [batch, time, …], no constants, nothing kept of inputs or times, and states that start at
    0 and are paired in the graph's order. The graph fixes every size but the batch's and the time's.
    """
    axes = manifest.axes
    if manifest.constants or manifest.kept_inputs or manifest.keeps_time or axes != Axes():
        return False
    inputs, outputs = _shapes(graph.inputs), _shapes(graph.outputs)
    states = manifest.states
    return (
        [spec.input for spec in states] == [n for n in inputs if n in {spec.input for spec in states}]
        and [spec.output for spec in states] == [n for n in outputs if n in {spec.output for spec in states}]
        and all(_is_fixed(spec, inputs) for spec in states)
        and all(_has_fixed_dims(spec, inputs) for spec in manifest.inputs)
    )


def _shapes(values: tuple[Value, ...]) -> Shapes:
    return {value.name: value.shape or () for value in values}


def _is_fixed(spec: StateSpec, shapes: Shapes) -> bool:
    """Whether the graph itself says the shape of a state."""
    shape = [size if isinstance(size, int) else "batch" for size in shapes[spec.input]]
    fields = spec.model_dump(exclude={"input", "output", "dtype"}, exclude_defaults=True)
    return shape.count("batch") == 1 and fields == {"shape": tuple(shape)}


def _has_fixed_dims(spec: InputSpec, shapes: Shapes) -> bool:
    """Whether the graph itself says the shape of a step, behind batch and time."""
    shape = [size if isinstance(size, int) else None for size in shapes.get(spec.graph_input, ())]
    return shape == [None, None, *spec.dims]
