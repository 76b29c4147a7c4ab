"""The nouns of an ONNX graph: nodes, named inputs and outputs, and constants without their values."""

from dataclasses import dataclass

MAX_INTEGERS = 64  # of a tensor whose values are kept
# TensorProto.DataType from 1 on, by numpy's names where there are.
DTYPES = (
    *(
        "float32",
        "uint8",
        "int8",
        "uint16",
        "int16",
        "int32",
        "int64",
        "string",
        "bool",
        "float16",
        "float64",
    ),
    *("uint32", "uint64", "complex64", "complex128", "bfloat16", "float8e4m3fn", "float8e4m3fnuz"),
    *("float8e5m2", "float8e5m2fnuz", "uint4", "int4", "float4e2m1", "float8e8m0"),
)
Size = int | str | None  # a number, an axis name, or neither


@dataclass(slots=True, frozen=True)
class Tensor:
    """A constant of the graph, without its values; few integers excepted."""

    name: str
    dtype: str
    dims: tuple[int, ...]
    location: str | None  # the external file, relative to the graph's folder; None: in the graph
    integers: tuple[int, ...] | None  # of int32, int64 and bool tensors of at most MAX_INTEGERS numbers


@dataclass(slots=True, frozen=True)
class Value:
    """A named input or output."""

    name: str
    dtype: str  # numpy's name; "" if the file does not say
    shape: tuple[Size, ...] | None  # None: the file does not say how many axes there are


Attribute = int | float | str | Tensor | tuple[int, ...] | tuple[float, ...] | tuple[str, ...]


@dataclass(slots=True, frozen=True)
class Node:
    """One operator. An absent optional input or output is ""."""

    op_type: str
    domain: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Attribute]
    subgraphs: dict[str, "Graph"]  # by attribute


@dataclass(slots=True, frozen=True)
class Graph:
    """A graph, or a function, whose inputs and outputs have only names."""

    nodes: tuple[Node, ...]
    inputs: tuple[Value, ...]  # of the caller: those with an initializer are left out
    outputs: tuple[Value, ...]
    initializers: dict[str, Tensor]
