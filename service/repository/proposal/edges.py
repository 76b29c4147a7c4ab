"""Follows the edges of a graph: which output is the new value of which state input, and what inputs are for.

It reads operators, never weights; it knows nothing of shapes.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from service.repository.graph import Graph, Node, Tensor
from service.repository.graph_file import GraphFile

LENGTHS_INPUT = 4  # of LSTM, GRU and RNN
# By operator: input of the state before → outputs that hold the state after, the surest first.
CELLS: dict[str, dict[int, tuple[int, ...]]] = {
    "LSTM": {5: (1, 0), 6: (2,)},
    "GRU": {5: (1, 0)},
    "RNN": {5: (1, 0)},
    "DynamicQuantizeLSTM": {5: (1, 0), 6: (2,)},
    "CausalConvWithState": {3: (1,)},
    "LinearAttention": {3: (1,)},
    "GroupQueryAttention": {3: (1,), 4: (2,)},
    "Attention": {4: (1,), 5: (2,)},
}
SEQUENCE_CELLS = ("LSTM", "GRU", "RNN", "DynamicQuantizeLSTM")
LOOP_STATES = 2  # inputs of Loop before its states: trip count, condition
# Operators that only move numbers, and the inputs whose numbers they move.
MOVES: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(("Identity", "Squeeze", "Unsqueeze", "Transpose", "Reshape", "Slice", "Split"), (0,)),
    **dict.fromkeys(("Gather", "Cast", "Flatten", "Expand", "Pad", "Tile"), (0,)),
    "Concat": tuple(range(64)),
}
SCALES = {"Mul": (0, 1), "Where": (1, 2)}  # a state that a flag resets
BLENDS = SCALES | {"Add": (0, 1), "Sub": (0, 1), "Sum": tuple(range(64)), "Div": (0,)}  # f·c + i·g
TABLES = ("Gather", "DequantizeLinear", "Cast", "Identity")  # between an embedding's weights and its use


@dataclass(slots=True, frozen=True)
class Recurrence:
    """A state input, with the graph outputs that hold its new value."""

    input: str
    outputs: tuple[str, ...]  # the surest first
    has_cell: bool  # false: the input is only moved to an output, as a cache is


class Edges:
    """The operators of a graph and of its branches, by what they read and write."""

    def __init__(self, file: GraphFile) -> None:
        self._file = file
        self._nodes = list(_flatten(file.graph, file.functions))
        self._consumers: dict[str, list[tuple[Node, int]]] = defaultdict(list)
        self._producer: dict[str, Node] = {}
        for node in self._nodes:
            for position, name in enumerate(node.inputs):
                self._consumers[name].append((node, position))
            self._producer |= {name: node for name in node.outputs if name}
        self._outputs = [value.name for value in file.outputs]

    def recurrences(self) -> list[Recurrence]:
        """The inputs that a recurrent operator reads as its state before, or that are moved to an output."""
        found = []
        for value in self._file.inputs:
            cells = list(self._through_cells(value.name))
            moved = [name for name in self._moved(value.name) if name in self._outputs]
            outputs = dict.fromkeys(cells or moved)
            if outputs:
                found.append(Recurrence(value.name, tuple(outputs), bool(cells)))
        return found

    def blended(self, name: str) -> list[str]:
        """The graph outputs that an input reaches when it is only moved, scaled and added to: f·c + i·g."""
        reached = self._moved(name, MOVES | BLENDS)
        return [output for output in self._outputs if output in reached]

    @property
    def lengths(self) -> list[str]:
        """The inputs that recurrent operators read as the lengths of rows."""
        return [value.name for value in self._file.inputs if self._is_lengths(value.name)]

    def embedding_size(self, name: str) -> int | None:
        """The rows of the table that an input of ids selects from; None if it selects from none."""
        sizes = []
        for node, position in self._uses(name):
            if node.op_type == "Gather" and position == 1 and (table := self._table(node.inputs[0])):
                axis = node.attributes.get("axis", 0)
                sizes.append(table.dims[axis] if isinstance(axis, int) and axis < len(table.dims) else 0)
        return min((size for size in sizes if size), default=None)

    @cached_property
    def weight_sizes(self) -> list[int]:
        """The sizes of the axes of all weights, each once, in order: candidates for an unknown width."""
        return sorted({dim for tensor in self._tensors.values() for dim in tensor.dims if dim > 1})

    @cached_property
    def _tensors(self) -> dict[str, Tensor]:
        constants = {
            node.outputs[0]: value
            for node in self._nodes
            if node.op_type == "Constant" and isinstance(value := node.attributes.get("value"), Tensor)
        }
        return self._file.initializers | constants

    def _through_cells(self, name: str) -> Iterator[str]:
        for node, position in self._uses(name, MOVES | SCALES):
            for number in _new_states(node, position):
                if number < len(node.outputs) and node.outputs[number]:
                    reached = self._moved(node.outputs[number])
                    yield from (output for output in self._outputs if output in reached)

    def _is_lengths(self, name: str) -> bool:
        return any(
            node.op_type in SEQUENCE_CELLS and position == LENGTHS_INPUT
            for node, position in self._uses(name)
        )

    def _uses(self, name: str, moves: dict[str, tuple[int, ...]] = MOVES) -> Iterator[tuple[Node, int]]:
        """Who reads the numbers of a tensor, however moved, and as which input."""
        for moved in self._moved(name, moves):
            yield from self._consumers[moved]

    def _moved(self, name: str, moves: dict[str, tuple[int, ...]] = MOVES) -> list[str]:
        """The tensors that hold the numbers of `name`, itself included."""
        found, waiting = {name: None}, [name]
        while waiting:
            for node, position in self._consumers[waiting.pop()]:
                if position in moves.get(node.op_type, ()):
                    fresh = [output for output in node.outputs if output and output not in found]
                    found |= dict.fromkeys(fresh)
                    waiting += fresh
        return list(found)

    def _table(self, name: str) -> Tensor | None:
        while name not in self._tensors:
            node = self._producer.get(name)
            if node is None or node.op_type not in TABLES:
                return None
            name = node.inputs[0]
        return self._tensors[name]


def _new_states(node: Node, position: int) -> Iterable[int]:
    """The outputs that hold the new value of the state that a node reads as input `position`."""
    if node.op_type == "Scan":
        scanned = node.attributes.get("num_scan_inputs", 0)
        num_states = len(node.inputs) - (scanned if isinstance(scanned, int) else 0)
        return (position,) if position < num_states else ()
    if node.op_type == "Loop":
        return (position - LOOP_STATES,) if position >= LOOP_STATES else ()
    return CELLS.get(node.op_type, {}).get(position, ())


def _flatten(graph: Graph, functions: dict[tuple[str, str], Graph]) -> Iterator[Node]:
    """The nodes of a graph, with the branches of each If and the bodies of functions in their place."""
    for node in graph.nodes:
        body = functions.get((node.domain, node.op_type))
        if body is not None:
            yield from _flatten(_called(node, body), functions)
            continue
        yield node
        for branch in node.subgraphs.values() if node.op_type == "If" else ():
            yield from _flatten(branch, functions)
            yield from map(_identity, (value.name for value in branch.outputs), node.outputs)


def _called(node: Node, body: Graph) -> Graph:
    """The body of a function, with the caller's names for its inputs and outputs."""
    names = {value.name: name for value, name in zip(body.inputs, node.inputs, strict=False)}
    names |= {value.name: name for value, name in zip(body.outputs, node.outputs, strict=False)}
    prefix = f"{node.name or node.outputs[0]}/"

    def rename(name: str) -> str:
        return names.get(name, prefix + name if name else "")

    nodes = tuple(
        Node(
            each.op_type,
            each.domain,
            rename(each.name),
            tuple(map(rename, each.inputs)),
            tuple(map(rename, each.outputs)),
            each.attributes,
            each.subgraphs,
        )
        for each in body.nodes
    )
    return Graph(nodes, (), (), {})


def _identity(source: str, target: str) -> Node:
    return Node("Identity", "", target, (source,), (target,), {}, {})
