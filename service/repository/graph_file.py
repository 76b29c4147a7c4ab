"""What an ONNX file says about its graph: nodes, inputs, outputs, weights' shapes, external files.

It reads no weights and needs neither ONNX nor ONNX Runtime, so that a file that would crash them can be read.
Field numbers are those of onnx-ml.proto of ONNX 1.17 and later: https://github.com/onnx/onnx/blob/main/onnx/onnx-ml.proto
"""

import os
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from service.errors import StartupError
from service.repository.graph import DTYPES, MAX_INTEGERS, Attribute, Graph, Node, Size, Tensor, Value
from service.repository.protobuf import BYTES, MAX_BYTES, Field, Fields, File, MalformedFile, Message

MAX_DEPTH = 20  # of graphs within nodes within graphs
EXTERNAL = 1  # TensorProto.DataLocation
NOT_A_TENSOR = {4: "sequence", 5: "map", 7: "opaque", 8: "sparse tensor", 9: "optional"}  # TypeProto


@dataclass(slots=True, frozen=True)
class GraphFile:
    """An ONNX file."""

    graph: Graph
    external_files: tuple[str, ...]  # relative to the file's folder, sorted; none leaves it
    has_nested_files: bool  # whether a tensor of a subgraph or a function is in an external file
    metadata: dict[str, str]  # metadata_props of the model
    opset: dict[str, int]  # version by domain; "" is ONNX's own
    producer: str
    functions: dict[tuple[str, str], Graph]  # by domain and name

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The graph's nodes, in the order of the file."""
        return self.graph.nodes

    @property
    def inputs(self) -> tuple[Value, ...]:
        """What a caller passes."""
        return self.graph.inputs

    @property
    def outputs(self) -> tuple[Value, ...]:
        """What a caller receives."""
        return self.graph.outputs

    @property
    def initializers(self) -> dict[str, Tensor]:
        """The graph's weights, by name, without their values."""
        return self.graph.initializers

    @classmethod
    def read(cls, path: Path) -> "GraphFile":
        """Read a file. Whether its external files exist is not checked.

        Raises StartupError if it cannot be read, is not ONNX, or names an external file outside its folder.
        """
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe must not block
        except OSError as error:
            raise StartupError(f"{path}: {error.strerror}") from error
        try:
            return _Reader(path.parent).model(File(fd))
        except MalformedFile as error:
            raise StartupError(f"{path}: not a valid ONNX file: {error}") from error
        except OSError as error:
            raise StartupError(f"{path}: {error.strerror}") from error
        finally:
            os.close(fd)


@dataclass(slots=True)
class _Reader:
    """Reads messages of ONNX; collects the external files on the way. Its methods raise MalformedFile."""

    folder: Path
    external: set[str] = field(default_factory=set)
    has_nested_files: bool = False
    depth: int = 0  # 0: in no graph, so in a function; 1: in the graph itself; more: in a subgraph

    def model(self, file: File) -> GraphFile:
        fields = Fields(Message(file, 0, file.size))
        content = fields.one(7)
        if content is None:
            raise MalformedFile("there is no graph in it")
        functions = [self.function(each.message) for each in fields.all(25)]
        graph = self.graph(content.message)
        return GraphFile(
            graph=graph,
            external_files=tuple(sorted(self.external)),
            has_nested_files=self.has_nested_files,
            metadata=dict(_entry(each.message) for each in fields.all(14)),
            opset=dict(_opset(each.message) for each in fields.all(8)),
            producer=fields.text(2),
            functions=dict(functions),
        )

    def graph(self, message: Message) -> Graph:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise MalformedFile(f"graphs are nested deeper than {MAX_DEPTH}")
        fields = Fields(message)
        tensors = [self.tensor(each.message) for each in fields.all(5)]
        tensors += [self.sparse(each.message) for each in fields.all(15)]
        initializers = {tensor.name: tensor for tensor in tensors}
        inputs = tuple(_value(each.message) for each in fields.all(11))
        graph = Graph(
            nodes=tuple(self.node(each.message) for each in fields.all(1)),
            inputs=tuple(value for value in inputs if value.name not in initializers),
            outputs=tuple(_value(each.message) for each in fields.all(12)),
            initializers=initializers,
        )
        self.depth -= 1
        return graph

    def function(self, message: Message) -> tuple[tuple[str, str], Graph]:
        fields = Fields(message)
        for default in fields.all(11):
            self.attribute(default.message)
        inputs, outputs = (
            tuple(Value(each.text, "", None) for each in fields.all(number)) for number in (4, 5)
        )
        nodes = tuple(self.node(each.message) for each in fields.all(7))
        return (fields.text(10), fields.text(1)), Graph(nodes, inputs, outputs, {})

    def node(self, message: Message) -> Node:
        fields = Fields(message)
        attributes: dict[str, Attribute] = {}
        subgraphs: dict[str, Graph] = {}
        for each in fields.all(5):
            name, value = self.attribute(each.message)
            if isinstance(value, Graph):
                subgraphs[name] = value
            elif value is not None:
                attributes[name] = value
        return Node(
            op_type=fields.text(4),
            domain=fields.text(7),
            name=fields.text(3),
            inputs=tuple(each.text for each in fields.all(1)),
            outputs=tuple(each.text for each in fields.all(2)),
            attributes=attributes,
            subgraphs=subgraphs,
        )

    def attribute(self, message: Message) -> tuple[str, Attribute | Graph | None]:
        """Its name and value; None for the kinds that no node of interest has."""
        fields = Fields(message)
        graphs = [self.graph(each.message) for each in (fields.one(6), *fields.all(11)) if each]
        tensors = [self.tensor(each.message) for each in (fields.one(5), *fields.all(10)) if each]
        tensors += [self.sparse(each.message) for each in (fields.one(22), *fields.all(23)) if each]
        if graphs or tensors:
            return fields.text(1), graphs[0] if graphs else tensors[0]
        return fields.text(1), _simple_value(fields)

    def sparse(self, message: Message) -> Tensor:
        """Its values; a sparse tensor has the name of its values."""
        fields = Fields(message)
        parts = [self.tensor(part.message) for part in (fields.one(1), fields.one(2)) if part]
        if not parts:
            raise MalformedFile("a sparse tensor without values")
        return parts[0]

    def tensor(self, message: Message) -> Tensor:
        fields = Fields(message)
        dims = tuple(dim for each in fields.all(1) for dim in each.integers())
        dtype = _dtype(fields.integer(2))
        location = None
        if fields.integer(14) == EXTERNAL:
            location = self.external_file(fields.all(13))
            self.external.add(location)
            self.has_nested_files |= self.depth != 1
        return Tensor(
            name=fields.text(8),
            dtype=dtype,
            dims=dims,
            location=location,
            integers=None if location is not None else _integers(fields, dtype, dims),
        )

    def external_file(self, entries: list[Field]) -> str:
        """Where the tensor's data lies. It must be below the folder, also once links are followed."""
        locations = [value for key, value in (_entry(each.message) for each in entries) if key == "location"]
        if len(locations) != 1 or not locations[0] or "\0" in locations[0]:
            raise MalformedFile("a tensor in an external file must name one file")
        path = PurePosixPath(locations[0])
        root = self.folder.resolve()
        if path.is_absolute() or ".." in path.parts or "\\" in locations[0]:
            raise MalformedFile(f"the external file {locations[0]!r} is outside the folder of the graph")
        try:
            resolved = (root / path).resolve()
        except (
            OSError,
            RuntimeError,
            ValueError,
        ) as error:  # a link to itself; a name too long, or not of this locale
            raise MalformedFile(f"the external file {locations[0]!r} cannot be found") from error
        if not resolved.is_relative_to(root) or resolved == root:
            raise MalformedFile(f"the external file {locations[0]!r} is outside the folder of the graph")
        return locations[0]


def _entry(message: Message) -> tuple[str, str]:
    """StringStringEntryProto."""
    fields = Fields(message)
    return fields.text(1), fields.text(2)


def _opset(message: Message) -> tuple[str, int]:
    fields = Fields(message)
    domain = fields.text(1)
    return "" if domain == "ai.onnx" else domain, fields.integer(2)


def _dtype(number: int) -> str:
    if not number:
        return ""
    return DTYPES[number - 1] if 0 < number <= len(DTYPES) else f"type {number}"


def _value(message: Message) -> Value:
    """ValueInfoProto with its TypeProto."""
    fields = Fields(message)
    name, described = fields.text(1), fields.one(2)
    kinds = Fields(described.message) if described else None
    tensor = kinds.one(1) if kinds else None
    if kinds is None or tensor is None:
        other = [kind for number, kind in NOT_A_TENSOR.items() if kinds and kinds.all(number)]
        return Value(name, other[0] if other else "", None)
    content = Fields(tensor.message)
    shape = content.one(2)
    sizes = None if shape is None else tuple(_size(each.message) for each in Fields(shape.message).all(1))
    return Value(name, _dtype(content.integer(1)), sizes)


def _size(message: Message) -> Size:
    fields = Fields(message)
    number = fields.one(1)
    return (fields.text(2) or None) if number is None else number.signed


def _simple_value(fields: Fields) -> Attribute | None:
    """The number, string or list of an attribute; None if it is too long to be of interest."""
    values = [each for number in (4, 7, 8, 9) for each in fields.all(number)]
    if any(each.wire == BYTES and each.value > MAX_BYTES for each in values):
        return None
    value: Attribute | None = None
    if single := fields.one(3):
        value = single.signed
    elif single := fields.one(2):
        value = single.floating
    elif single := fields.one(4):
        value = single.content.decode(errors="replace")
    elif many := fields.all(8):
        value = tuple(number for each in many for number in each.integers())
    elif many := fields.all(7):
        value = tuple(number for each in many for number in each.floats())
    elif many := fields.all(9):
        value = tuple(each.content.decode(errors="replace") for each in many)
    else:  # a writer may leave out a 0, and an empty list has no field: the type (AttributeType) is known
        defaults: dict[int, Attribute] = {1: 0.0, 2: 0, 3: "", 6: (), 7: (), 8: ()}
        value = defaults.get(fields.integer(20))
    return value


def _integers(fields: Fields, dtype: str, dims: tuple[int, ...]) -> tuple[int, ...] | None:
    """The values of a small tensor of integers; None for others."""
    total = 1
    for dim in dims:
        total *= dim
    if dtype not in ("int32", "int64", "bool") or not 0 <= total <= MAX_INTEGERS:
        return None
    raw = fields.one(9)
    if raw is None:
        stored = fields.all(7 if dtype == "int64" else 5)
        return tuple(number for each in stored for number in each.integers())
    size = {"int32": 4, "int64": 8, "bool": 1}[dtype]
    content = raw.content
    if len(content) != total * size:
        raise MalformedFile(f"a tensor of {total} numbers has {len(content)} bytes")
    return tuple(
        int.from_bytes(content[at : at + size], "little", signed=size > 1)
        for at in range(0, total * size, size)
    )
