"""How much memory a graph needs for each time step, estimated from the sizes of its weights."""

import math

from service.repository.graph import Graph

BYTES = 4  # of a float32; wider types are rare between nodes


def step_bytes(graph: Graph) -> int:
    """Bytes that the graph computes for one time step of one sequence, estimated; at least 1.

    Each weight makes an array of one of its sides: a matrix [in, out] or [out, in] its longer side, one with
    more axes (an LSTM's [directions, 4 hidden, in]) all but the last. An embedding makes a row. Measured on
    bidirectional LSTMs, the estimate is 1.5 times what ONNX Runtime needs. What grows with the square of the
    sequence, such as attention, is not in it.
    """
    tables = {node.inputs[0] for node in graph.nodes if node.op_type == "Gather" and node.inputs}
    widths = [
        _width(tensor.dims, is_table=name in tables)
        for name, tensor in graph.initializers.items()
        if len(tensor.dims) >= 2
    ]
    return max(1, BYTES * sum(widths))


def _width(dims: tuple[int, ...], *, is_table: bool) -> int:
    if is_table:
        return dims[-1]
    return max(dims) if len(dims) == 2 else math.prod(dims[:-1])
