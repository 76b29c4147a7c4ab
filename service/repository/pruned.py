"""Leaves out of a graph what only unwanted outputs need: ONNX Runtime computes every node that is there.

    graph ─ outputs to keep ─→ their nodes, by what each reads ─→ the same file without the other nodes

It copies the fields of the file, byte by byte; field numbers are those of onnx-ml.proto, see `graph_file`.
"""

from collections.abc import Iterable, Iterator, Set

from service.errors import StartupError
from service.repository.graph import Graph, Node
from service.repository.graph_file import GraphFile
from service.repository.protobuf import BYTES, ONE_BYTE, Field, Fields, File, MalformedFile, Message

GRAPH, NODE, NAME, INITIALIZER, OUTPUT = 7, 1, 8, 5, 12  # of ModelProto, GraphProto and TensorProto
VALUE_NAME = 1  # of ValueInfoProto


class _Memory(File):
    """A file's bytes in memory."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.size = len(content)
        self.num_fields = 0

    def read(self, start: int, length: int) -> bytes:
        """See `File`."""
        if start + length > self.size:
            raise MalformedFile(f"the file ends within the {length} bytes from {start}")
        return self._content[start : start + length]


def pruned(content: bytes, described: GraphFile, unwanted: Set[str]) -> bytes:
    """The file without the outputs `unwanted`, and without the nodes and weights that only those read.

    `described`: what `GraphFile` reads from it. Raises StartupError if they do not belong together.
    """
    graph = described.graph
    wanted = [value.name for value in graph.outputs if value.name not in unwanted]
    needed = _needed(graph, wanted)
    file = _Memory(content)
    try:
        return b"".join(
            [
                _field(GRAPH, b"".join(_parts(field, needed, unwanted))) if field.number == GRAPH else raw
                for field, raw in _fields(Message(file, 0, file.size))
            ]
        )
    except MalformedFile as error:
        raise StartupError(f"not a valid ONNX file: {error}") from error


def _parts(graph: Field, needed: Set[str], unwanted: Set[str]) -> Iterator[bytes]:
    """The fields of the graph that stay."""
    for field, raw in _fields(graph.message):
        if field.number == NODE:
            outputs = {each.text for each in Fields(field.message).all(2)}
            keeps = not outputs.isdisjoint(needed)
        elif field.number == INITIALIZER:
            keeps = Fields(field.message).text(NAME) in needed
        elif field.number == OUTPUT:
            keeps = Fields(field.message).text(VALUE_NAME) not in unwanted
        else:
            keeps = True
        if keeps:
            yield raw


def _needed(graph: Graph, wanted: Iterable[str]) -> set[str]:
    """All tensors that the wanted ones are computed from."""
    producers = {name: node for node in graph.nodes for name in node.outputs if name}
    needed: set[str] = set()
    waiting = list(wanted)
    while waiting:
        name = waiting.pop()
        if name in needed:
            continue
        needed.add(name)
        if (node := producers.get(name)) is not None:
            waiting += _reads(node)
    return needed


def _reads(node: Node) -> set[str]:
    """The inputs of a node, and all names that its subgraphs read: some are of the graph around them."""
    names = set(node.inputs)
    for graph in node.subgraphs.values():
        names |= {value.name for value in graph.outputs}
        for inner in graph.nodes:
            names |= _reads(inner)
    return names - {""}


def _fields(message: Message) -> Iterator[tuple[Field, bytes]]:
    """The fields of a message, each with its own bytes."""
    position, file = message.start, message.file
    for field in message:
        stop = field.start + (field.value if field.wire == BYTES else 0)
        yield field, file.read(position, stop - position)
        position = stop


def _field(number: int, content: bytes) -> bytes:
    """A field of bytes as it is written: its tag, its length, its content."""
    size, head = len(content), bytearray([number << 3 | BYTES])
    while size >= ONE_BYTE:
        head.append(size & 0x7F | ONE_BYTE)
        size >>= 7
    return bytes(head) + bytes([size]) + content
