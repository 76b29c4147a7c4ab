"""Writes the last layer of a forecast or of estimates as nodes; `training.quantiles` has its formula."""

import numpy as np
from onnx import TensorProto

from training.graph import Graph
from training.quantiles import Estimates, Quantiles


def write_quantiles(graph: Graph, layer: Quantiles, y: str, level: str, out: str) -> str:
    """`y` [time, batch, out], `level` [time, batch, columns] → quantiles [time, batch, out], as `out`."""
    if isinstance(layer, Estimates) and layer.count == 1:
        spread = graph.weight("target_spread", layer.reach.cpu().numpy())
        wide = graph.add("Mul", [y, spread], ["wide"])
        return graph.add("Add", [wide, graph.weight("target_mean", layer.mean.cpu().numpy())], [out])
    rising = _rising(graph, layer, y)
    reach = graph.weight("reach", layer.reach.cpu().numpy()[:, None])
    change = graph.add("Mul", [rising, reach], ["gone"])
    summed = graph.add("Add", [_base(graph, layer, level), change], ["quantiles"])
    if layer.margin.any():  # without a margin the graph is that of earlier versions, byte by byte
        margins = graph.weight("margins", layer.widening.cpu().numpy())
        summed = graph.add("Add", [summed, margins], ["widened"])
    flat = graph.weight("flat_shape", np.array([0, 0, layer.numbers * layer.count]))
    return graph.add("Reshape", [summed, flat], [out])


def _rising(graph: Graph, layer: Quantiles, y: str) -> str:
    """[time, batch, out] → [time, batch, numbers, quantiles], which do not fall."""
    by_quantile = graph.add(
        "Reshape",
        [y, graph.weight("quantile_shape", np.array([0, 0, layer.numbers, layer.count]))],
        ["said_by_quantile"],
    )
    if layer.count == 1:
        return by_quantile
    first, rest = graph.split(by_quantile, ["lowest", "above"], [1, layer.count - 1])
    steps = graph.add("Concat", [first, _softplus(graph, rest)], ["quantile_steps"], axis=-1)
    return graph.add("CumSum", [steps, graph.weight("quantile_axis", np.array(-1))], ["rising"])


def _base(graph: Graph, layer: Quantiles, level: str) -> str:
    """[…, numbers, 1]: the mean, or the last value of the series of each number."""
    if isinstance(layer, Estimates):
        return graph.weight("target_mean", layer.mean.cpu().numpy()[:, None])
    columns = graph.weight("foretold_columns", np.array(layer.columns))
    base = graph.add("Gather", [level, columns], ["level_by_horizon"], axis=-1)
    return graph.add(
        "Unsqueeze", [base, graph.weight("last_quantile", np.array([-1]))], ["level_by_quantile"]
    )


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
