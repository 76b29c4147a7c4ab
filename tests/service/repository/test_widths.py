"""The memory of a time step, estimated from a graph's weights."""

from service.repository.graph import Graph, Node, Tensor
from service.repository.widths import step_bytes


def weight(name: str, *dims: int) -> Tensor:
    return Tensor(name, "float32", dims, None, None)


def graph(*weights: Tensor, tables: tuple[str, ...] = ()) -> Graph:
    nodes = tuple(Node("Gather", "", "", (name, "ids"), ("rows",), {}, {}) for name in tables)
    return Graph(nodes, (), (), {tensor.name: tensor for tensor in weights})


def test_an_lstm_needs_its_gates_for_each_direction() -> None:
    hidden, width = 128, 12
    weights = (weight("W", 2, 4 * hidden, width), weight("R", 2, 4 * hidden, hidden))
    head, bias = weight("M", 2 * hidden, 9), weight("B", 2, 8 * hidden)
    measured = 5964  # of ONNX Runtime 1.32: the peak of a call, divided by its rows and steps
    assert measured < step_bytes(graph(*weights, head)) < 2 * measured
    assert step_bytes(graph(*weights, head, bias)) < 3 * measured


def test_an_embedding_needs_a_row_and_a_graph_without_weights_little() -> None:
    assert step_bytes(graph(weight("E", 50_000, 64), tables=("E",))) == 4 * 64
    assert step_bytes(graph(weight("E", 50_000, 64))) == 4 * 50_000
    assert step_bytes(graph(weight("b", 64))) == 1
