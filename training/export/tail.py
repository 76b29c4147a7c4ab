"""Writes the tail of a forecasting network as nodes: see `training.tail` for what it computes."""

import numpy as np

from training.graph import Graph
from training.tail import Quantiles


def write_tail(graph: Graph, tail: Quantiles, said: str, level: str, out: str) -> str:
    """`said` [time, batch, out], `level` [time, batch, columns] → quantiles [time, batch, out], as `out`."""
    count = tail.count
    parted = graph.add(
        "Reshape",
        [said, graph.weight("quantile_shape", np.array([0, 0, len(tail.columns), count]))],
        ["said_by_quantile"],
    )
    first, rest = graph.split(parted, ["lowest", "above"], [1, count - 1])
    rises = graph.add("Softplus", [rest], ["rises"])
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
