"""Proposes a manifest for a graph of unknown origin, from the names and shapes in it.

It guesses, so a person must check the manifest before it is served. It does not know what the numbers mean.
"""

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from service.engine import CPU, OnnxEngine, dtype_of, load_session
from service.errors import StartupError
from service.manifest import Axes, Example, InputSpec, Manifest, OutputSpec, StateSpec
from service.repository.rehearsal import has_all_steps, one_shot_scheduler, run_to_end
from service.sequence import Array, Sequence

STATE_NAME = re.compile(
    r"(^|[^a-z])(h|c|h0|c0|hn|cn|h_in|c_in|hx|cx)([^a-z]|$)|hidden|state|cell|memory", re.IGNORECASE
)
TIME_NAME = re.compile(r"time|seq|step|len|^t$", re.IGNORECASE)
Size = int | str | None


@dataclass(slots=True, frozen=True)
class Node:
    """An input or output of the graph."""

    name: str
    dtype: str
    shape: tuple[Size, ...]

    @property
    def is_float(self) -> bool:
        """Whether it holds floating-point numbers."""
        return self.dtype.startswith("float")


def propose(graph: Path) -> Manifest:
    """A manifest without an example. Raises StartupError that names what must be written by hand."""
    session = load_session(graph, CPU, 1)
    inputs = [Node(node.name, dtype_of(node), tuple(node.shape)) for node in session.get_inputs()]
    outputs = [Node(node.name, dtype_of(node), tuple(node.shape)) for node in session.get_outputs()]
    pairs = _pair_states(inputs, outputs)
    rest = [node for node in inputs if node not in {pair[0] for pair in pairs}]
    lengths = next(
        (n for n in rest if n.dtype == "int32" and len(n.shape) == 1 and "len" in n.name.lower()), None
    )
    constants = [node for node in rest if not node.shape]
    sequences = [node for node in rest if node.shape and node is not lengths]
    outputs = [node for node in outputs if node not in {pair[1] for pair in pairs}]
    if not sequences or not outputs:
        raise StartupError(f"{graph}: no input or no output except the states; write the manifest by hand")
    axes = _axes(sequences[0], graph)
    return Manifest(
        description=f"proposed from {graph.name}; the task, kinds and labels are guesses",
        task="label",
        inputs=tuple(_input(node, axes, graph) for node in sequences),
        lengths=lengths.name if lengths else None,
        constants={node.name: 0 for node in constants},
        axes=axes,
        states=tuple(_state(before, after, axes) for before, after in pairs),
        outputs=tuple(_output(node, axes, graph) for node in outputs),
    )


def _pair_states(inputs: list[Node], outputs: list[Node]) -> list[tuple[Node, Node]]:
    """Inputs named like a state, each with the first unused output of its dtype and sizes."""
    pairs: list[tuple[Node, Node]] = []
    for node in inputs:
        if not (node.is_float and STATE_NAME.search(node.name)):
            continue
        fits = [output for output in outputs if output.dtype == node.dtype and _fixed(output) == _fixed(node)]
        free = [output for output in fits if output not in {pair[1] for pair in pairs}]
        named = [output for output in free if STATE_NAME.search(output.name)]
        if named or free:
            pairs.append((node, (named or free)[0]))
    return pairs


def _fixed(node: Node) -> tuple[int | None, ...]:
    """Sizes, with None for every dynamic one."""
    return tuple(size if isinstance(size, int) else None for size in node.shape)


def _axes(node: Node, graph: Path) -> Axes:
    """[batch, time, …], [time, batch, …], [batch, …] without time, each with a dynamic or fixed batch."""
    rank = len(node.shape) - (1 if node.is_float else 0)  # floats have a features axis, ids have none
    if rank == 0:
        return Axes(batch=None, time=None)
    if rank == 1:
        size = node.shape[0]
        return Axes(batch=0, time=None, batch_size=size if isinstance(size, int) else None)
    if rank > 2:
        raise StartupError(
            f"{graph}: input {node.name!r} of shape {list(node.shape)}: say which axis is time"
        )
    first, second = node.shape[:2]
    time_first = isinstance(first, str) and bool(TIME_NAME.search(first))
    time: Literal[0, 1] = 0 if time_first else 1
    size = second if time_first else first
    return Axes(batch=1 if time_first else 0, time=time, batch_size=size if isinstance(size, int) else None)


def _dims(node: Node, axes: Axes, graph: Path) -> tuple[int, ...]:
    taken = sum(axis is not None for axis in (axes.batch, axes.time))
    dims = node.shape[taken:]
    if not all(isinstance(size, int) for size in dims):
        raise StartupError(
            f"{graph}: {node.name!r} is {list(node.shape)}: a width must be fixed in the manifest"
        )
    return tuple(size for size in dims if isinstance(size, int))


def _input(node: Node, axes: Axes, graph: Path) -> InputSpec:
    fields: dict[str, Any] = {"name": node.name, "dtype": node.dtype, "dims": _dims(node, axes, graph)}
    return InputSpec(kind="numeric" if node.is_float else "token", **fields)


def _state(before: Node, after: Node, axes: Axes) -> StateSpec:
    free = [index for index, size in enumerate(before.shape) if not isinstance(size, int)]
    batch = free[0] if free and axes.batch_size is None else None
    shape: list[Any] = ["batch" if index == batch else size for index, size in enumerate(before.shape)]
    fields: dict[str, Any] = {"shape": shape, "dtype": before.dtype}
    return StateSpec(input=before.name, output=after.name, **fields)


def _output(node: Node, axes: Axes, graph: Path) -> OutputSpec:
    has_time = axes.time is None or (len(node.shape) > 1 and not isinstance(node.shape[axes.time], int))
    inner = axes if has_time else axes.model_copy(update={"time": None})
    return OutputSpec(name=node.name, dims=_dims(node, inner, graph), steps="all" if has_time else "last")


def with_example(graph: Path, manifest: Manifest, steps: int = 5) -> Manifest:
    """Add an example to a proposed manifest: small invented numbers, and the graph's answer to them.

    Raises StartupError if the graph does not run as the manifest says.
    """
    engine = OnnxEngine(graph, manifest, provider="cpu")
    inputs = tuple(_invent(spec.dims, spec.dtype, steps) for spec in manifest.inputs)
    sequence = Sequence(inputs, engine.initial_state, keep_all=has_all_steps(manifest))
    output = run_to_end(engine, [sequence], one_shot_scheduler(manifest), graph)[0]
    rows = [array.tolist() for array in inputs]
    example = Example(
        steps=rows[0] if len(rows) == 1 else dict(zip((s.name for s in manifest.inputs), rows, strict=True)),
        output=(output[-1] if has_all_steps(manifest) else output).tolist(),
    )
    return manifest.model_copy(update={"example": example})


def _invent(dims: tuple[int, ...], dtype: str, steps: int) -> Array:
    """[steps, *dims]: eighths for floats, 0 and 1 for token ids."""
    numbers = np.arange(steps * math.prod(dims))
    x: Array = (numbers % 7 / 8 if dtype.startswith("float") else numbers % 2).astype(dtype)
    return x.reshape(steps, *dims)
