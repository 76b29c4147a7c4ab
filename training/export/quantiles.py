"""Writes the last layer of a forecast or of estimates as nodes; `training.quantiles` has its formula."""

import numpy as np
from onnx import TensorProto

from training.graph import Graph
from training.quantiles import Estimates, Quantiles


def write_quantiles(graph: Graph, layer: Quantiles, y: str, level: str, out: str) -> str:
    """`y` [time, batch, out], `level` [time, batch, columns] → quantiles [time, batch, out], as `out`."""
    if isinstance(layer, Estimates):
        spread = graph.weight("target_spread", layer.reach.cpu().numpy())
        wide = graph.add("Mul", [y, spread], ["wide"])
        return graph.add("Add", [wide, graph.weight("target_mean", layer.mean.cpu().numpy())], [out])
    count = layer.count
    by_quantile = graph.add(
        "Reshape",
        [y, graph.weight("quantile_shape", np.array([0, 0, len(layer.columns), count]))],
        ["said_by_quantile"],
    )
    first, rest = graph.split(by_quantile, ["lowest", "above"], [1, count - 1])
    rises = _softplus(graph, rest)
    steps = graph.add("Concat", [first, rises], ["quantile_steps"], axis=-1)
    rising = graph.add("CumSum", [steps, graph.weight("quantile_axis", np.array(-1))], ["rising"])
    reach = graph.weight("reach", layer.reach.cpu().numpy()[:, None])
    change = graph.add("Mul", [rising, reach], ["gone"])
    columns = graph.weight("foretold_columns", np.array(layer.columns))
    base = graph.add("Gather", [level, columns], ["level_by_horizon"], axis=-1)
    base = graph.add(
        "Unsqueeze", [base, graph.weight("last_quantile", np.array([-1]))], ["level_by_quantile"]
    )
    summed = graph.add("Add", [base, change], ["quantiles"])
    if layer.margin.any():  # without a margin the graph is that of earlier versions, byte by byte
        margins = graph.weight("margins", layer.widening.cpu().numpy())
        summed = graph.add("Add", [summed, margins], ["widened"])
    flat = graph.weight("flat_shape", np.array([0, 0, len(layer.columns) * count]))
    return graph.add("Reshape", [summed, flat], [out])


def _softplus(graph: Graph, x: str) -> str:
    """max(x, 0) + log(1 + exp(-|x|)), in float64, rounded at the end.

    ONNX Runtime computes the last few numbers of a tensor by other functions than the rest, and these round
    differently. In float32 the output of a step would depend on the number of steps in the request.
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
