"""Writes the tail of a forecasting network as nodes: see `training.quantiles` for what it computes."""

import numpy as np
from onnx import TensorProto

from training.graph import Graph
from training.quantiles import Quantiles


def write_tail(graph: Graph, tail: Quantiles, said: str, level: str, out: str) -> str:
    """`said` [time, batch, out], `level` [time, batch, columns] → quantiles [time, batch, out], as `out`."""
    count = tail.count
    parted = graph.add(
        "Reshape",
        [said, graph.weight("quantile_shape", np.array([0, 0, len(tail.columns), count]))],
        ["said_by_quantile"],
    )
    first, rest = graph.split(parted, ["lowest", "above"], [1, count - 1])
    rises = _softplus(graph, rest)
    steps = graph.add("Concat", [first, rises], ["quantile_steps"], axis=-1)
    rising = graph.add("CumSum", [steps, graph.weight("quantile_axis", np.array(-1))], ["rising"])
    reach = graph.weight("reach", tail.reach.cpu().numpy()[:, None])
    gone = graph.add("Mul", [rising, reach], ["gone"])
    columns = graph.weight("foretold_columns", np.array(tail.columns))
    base = graph.add("Gather", [level, columns], ["level_by_horizon"], axis=-1)
    base = graph.add(
        "Unsqueeze", [base, graph.weight("last_quantile", np.array([-1]))], ["level_by_quantile"]
    )
    summed = graph.add("Add", [base, gone], ["quantiles"])
    flat = graph.weight("flat_shape", np.array([0, 0, len(tail.columns) * count]))
    return graph.add("Reshape", [summed, flat], [out])


def _softplus(graph: Graph, x: str) -> str:
    """max(x, 0) + log(1 + exp(-|x|)), in float64, rounded in the end.

    ONNX Runtime computes the last few numbers of a tensor by other functions than those before, and they
    round differently: in float32 what is said of a step would depend on how many steps are sent with it.
    """
    fine = graph.add("Cast", [x], ["above_fine"], to=TensorProto.DOUBLE)
    size = graph.add("Neg", [graph.add("Abs", [fine], ["above_size"])], ["above_below"])
    left = graph.add("Exp", [size], ["above_left"])
    more = graph.add("Add", [left, graph.weight("fine_one", np.array(1.0))], ["above_more"])
    bend = graph.add("Log", [more], ["above_bend"])
    straight = graph.add("Relu", [fine], ["above_straight"])
    return graph.add(
        "Cast", [graph.add("Add", [straight, bend], ["rises_fine"])], ["rises"], to=TensorProto.FLOAT
    )
