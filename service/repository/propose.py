"""Proposes a manifest for a graph that somebody else exported, from the names and shapes in it.

It guesses; a person reads what it says before it is served. It knows nothing of what the numbers mean.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from service.engine.graph import dtype_of, load_session
from service.errors import StartupError
from service.manifest import Axes, InputSpec, Manifest, OutputSpec, StateSpec

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
    """A manifest without an example. Raises StartupError that says what a person has to write by hand."""
    session = load_session(graph, "CPUExecutionProvider", 1)
    given = [Node(node.name, dtype_of(node), tuple(node.shape)) for node in session.get_inputs()]
    made = [Node(node.name, dtype_of(node), tuple(node.shape)) for node in session.get_outputs()]
    pairs = _pair_states(given, made)
    rest = [node for node in given if node not in {pair[0] for pair in pairs}]
    lengths = next(
        (n for n in rest if n.dtype == "int32" and len(n.shape) == 1 and "len" in n.name.lower()), None
    )
    constants = [node for node in rest if not node.shape]
    sequences = [node for node in rest if node.shape and node is not lengths]
    outputs = [node for node in made if node not in {pair[1] for pair in pairs}]
    if not sequences or not outputs:
        raise StartupError(f"{graph}: no input or no output beside the states; write the manifest by hand")
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


def _pair_states(given: list[Node], made: list[Node]) -> list[tuple[Node, Node]]:
    """Inputs that look like a state, each with the first unused output of its dtype and sizes."""
    pairs: list[tuple[Node, Node]] = []
    for node in given:
        if not (node.is_float and STATE_NAME.search(node.name)):
            continue
        fits = [m for m in made if m.dtype == node.dtype and _fixed(m) == _fixed(node)]
        free = [m for m in fits if m not in {pair[1] for pair in pairs}]
        named = [m for m in free if STATE_NAME.search(m.name)]
        if named or free:
            pairs.append((node, (named or free)[0]))
    return pairs


def _fixed(node: Node) -> tuple[int | None, ...]:
    """Sizes, with every dynamic one alike."""
    return tuple(size if isinstance(size, int) else None for size in node.shape)


def _axes(node: Node, graph: Path) -> Axes:
    """[batch, time, …], [time, batch, …], [batch, …] without time, each with the batch free or fixed."""
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
