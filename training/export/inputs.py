"""Writes the input layer of a network as nodes: see `training.inputs` for what it computes.

x [batch, time, width] ─ Transpose ─ Sub, Mul ──────────────┐
x with gaps ─ Transpose ─ Sub, Mul ─ Scan ─ fill, observed ─┼─ Concat ─ channels [time, batch, width]
tokens [batch, time] ─ Transpose ─ Gather ──────────────────┤
x with an encoder ─ Transpose ─ Sub, Mul ─ its nodes ───────┤
one row a sequence [batch, width] ─ Expand ─ as above ──────┘

The normalisation has nodes of its own. Folded into the weights of the cell it would need none. But where a
column lies far from zero (hPa, years, coordinates), W x and its bias would cancel: the answer would lose as
many digits as the mean has spreads. And columns of unequal spreads would need weights of unequal sizes, which
float16 and INT8 do not have.
"""

from typing import NamedTuple

import numpy as np
from onnx import TensorProto

from training.cells.cell import state_out, weights_of
from training.data.dataset import Input
from training.graph import Graph
from training.inputs import InputLayer

IS_TRUE = "is_true_step"


class Written(NamedTuple):
    """Names of the tensors that the input layer computes."""

    channels: str  # [time, batch, width]
    level: str  # [time, batch, columns of the first input]: last observed values, in its units
    ahead: list[str]  # parts of what is known of later steps, [time, batch, width] each; none: nothing


def write_inputs(graph: Graph, layer: InputLayer, lengths: str) -> Written:
    """Declare the inputs and the input layer's states, and write its nodes."""
    channels: list[str] = []
    levels: list[str] = []
    ahead: list[str] = []
    like = ""  # a tensor [time, batch, ...]
    for input_, columns in layer.slices():
        turned = _write_by_time(graph, input_, like)
        like = like or turned
        if input_.kind == "token":
            channels.append(_write_token(graph, layer, input_, turned))
            continue
        z = _write_normalised(graph, layer, input_, columns, turned)
        if input_.is_ahead:
            ahead += _write_ahead(graph, input_, z)
            continue
        parts, level = [z], turned
        if input_.has_gaps:
            parts, level = _write_gaps(graph, layer, input_, columns, z, lengths)
        levels.append(level)
        if (encoder := layer.encoder(input_.name)) is not None:
            if input_.has_gaps:
                z = graph.add("Concat", parts, [f"{input_.in_graph}_parts"], axis=-1)
            parts = [encoder.write(graph, input_.in_graph, z)]
        elif input_.kind == "video":
            shape = graph.weight(f"{input_.in_graph}_pixels_shape", np.array([0, 0, input_.columns]))
            parts = [graph.add("Reshape", [z, shape], [f"{input_.in_graph}_pixels"])]
        channels += parts
    joined = channels[0] if len(channels) == 1 else graph.add("Concat", channels, ["channels"], axis=-1)
    return Written(joined, levels[0] if levels else joined, ahead)


def _write_by_time(graph: Graph, input_: Input, like: str) -> str:
    """Declare an input, and write it as [time, batch, ...]. `like`: one that has been written, with steps."""
    dims: tuple[int, ...] = () if input_.kind == "token" else (input_.columns,)
    dims = input_.frame if input_.kind == "video" else dims
    kind = TensorProto.INT64 if input_.kind == "token" else TensorProto.FLOAT
    name = f"{input_.in_graph}_by_time"
    if input_.per == "step":
        graph.input(input_.in_graph, ["batch", "time", *dims], kind=kind)
        return graph.add("Transpose", [input_.in_graph], [name], perm=[1, 0, *range(2, 2 + len(dims))])
    graph.input(input_.in_graph, ["batch", *dims], kind=kind)
    time = graph.add("Shape", [like], [f"{input_.in_graph}_time"], start=0, end=1)
    ones = graph.weight(f"{input_.in_graph}_ones", np.ones(1 + len(dims), np.int64))
    shape = graph.add("Concat", [time, ones], [f"{input_.in_graph}_shape"], axis=0)
    return graph.add("Expand", [input_.in_graph, shape], [name])


def _write_token(graph: Graph, layer: InputLayer, input_: Input, turned: str) -> str:
    table = graph.weight(f"{input_.in_graph}_table", weights_of(layer.table(input_.name)).astype(np.float32))
    return graph.add("Gather", [table, turned], [f"{input_.in_graph}_embedded"])


def _write_ahead(graph: Graph, input_: Input, z: str) -> list[str]:
    """Write known later numbers: with gaps 0, the mean, in the place of missing ones, and observed flags."""
    if not input_.has_gaps:
        return [z]
    name = input_.in_graph
    missing = graph.add("IsNaN", [z], [f"{name}_is_missing"])
    zero = graph.weight(f"{name}_mean_z", np.array(0, np.float32))
    filled = graph.add("Where", [missing, zero, z], [f"{name}_filled"])
    is_there = graph.add("Not", [missing], [f"{name}_is_there"])
    return [filled, graph.add("Cast", [is_there], [f"{name}_observed"], to=TensorProto.FLOAT)]


def _write_gaps(
    graph: Graph, layer: InputLayer, input_: Input, columns: slice, z: str, lengths: str
) -> tuple[list[str], str]:
    """Write an input with gaps: its channels (filled values, observed flags) and its level."""
    name = input_.in_graph
    stored = {
        what: graph.weight(f"{name}_{what}", value.detach().cpu().numpy())
        for what, value in {"spread": 1 / layer.scale[columns], "fading": -layer.rate(input_.name)}.items()
    }
    seen, age = _write_last_seen(graph, input_, z, _write_is_true(graph, z, lengths))
    faded = graph.add("Exp", [graph.add("Mul", [age, stored["fading"]], [f"{name}_faded"])], [f"{name}_left"])
    fill = graph.add("Mul", [seen, faded], [f"{name}_filled"])
    zero = graph.weight("no_age", np.array(0, np.float32))
    is_seen = graph.add("Equal", [age, zero], [f"{name}_is_seen"])
    observed = graph.add("Cast", [is_seen], [f"{name}_observed"], to=TensorProto.FLOAT)
    wide = graph.add("Mul", [seen, stored["spread"]], [f"{name}_wide"])
    return [fill, observed], graph.add("Add", [wide, f"{name}_mean"], [f"{name}_level"])


def _write_normalised(graph: Graph, layer: InputLayer, input_: Input, columns: slice, turned: str) -> str:
    """[time, batch, ...] in the input's units → mean 0 and spread 1."""
    dims = input_.frame if input_.kind == "video" else (input_.columns,)
    mean, scale = (
        graph.weight(f"{input_.in_graph}_{what}", value[columns].cpu().numpy().reshape(dims))
        for what, value in (("mean", layer.shift), ("scale", layer.scale))
    )
    away = graph.add("Sub", [turned, mean], [f"{input_.in_graph}_away"])
    return graph.add("Mul", [away, scale], [f"{input_.in_graph}_z"])


def _write_last_seen(graph: Graph, input_: Input, z: str, is_true: str) -> tuple[str, str]:
    """Write the forward fill: the last observed z and its age, each [time, batch, width]."""
    axis = graph.weight("layer_axis", np.array([0]))
    starts, ends = [], []
    for what in ("seen", "age"):
        state = f"{input_.in_graph}_{what}"
        graph.input(state, [1, "batch", input_.columns])
        starts.append(graph.add("Squeeze", [state, axis], [f"{state}_before"]))
        ends.append(f"{state}_after")
    seen, age = f"{input_.in_graph}_last_seen", f"{input_.in_graph}_ages"
    body = _fill_body(input_.columns).proto()
    graph.add("Scan", [*starts, z, is_true], [*ends, seen, age], body=body, num_scan_inputs=2)
    for end, what in zip(ends, ("seen", "age"), strict=True):
        state = state_out(f"{input_.in_graph}_{what}")
        graph.add("Unsqueeze", [end, axis], [state])
    return seen, age


def _fill_body(width: int) -> Graph:
    """One step: an observed number replaces the last one; a missing one increases its age."""
    body = Graph("fill")
    seen, age, z = (body.input(name, ["batch", width]) for name in ("seen", "age", "z"))
    is_true = body.input("is_true", ["batch", 1], kind=TensorProto.BOOL)
    is_known = body.add("Not", [body.add("IsNaN", [z], ["is_missing"])], ["is_known"])
    is_new = body.add("And", [is_known, is_true], ["is_new"])
    older = body.add("Add", [age, body.weight("one", np.array(1, np.float32))], ["older"])
    aged = body.add("Where", [is_true, older, age], ["aged"])
    zero = body.weight("nought", np.array(0, np.float32))
    after = [
        body.add("Where", [is_new, z, seen], ["seen_after"]),
        body.add("Where", [is_new, zero, aged], ["age_after"]),
    ]
    copies = [body.add("Identity", [name], [f"{name}_too"]) for name in after]
    for name in (*after, *copies):
        body.output(name, ["batch", width])
    return body


def _write_is_true(graph: Graph, by_time: str, lengths: str) -> str:
    """[time, batch, 1]: whether the row has this step. Written once, shared by all inputs."""
    if graph.has(IS_TRUE):
        return IS_TRUE
    first, one = graph.weight("first_true", np.array(0)), graph.weight("one_true", np.array(1))
    shape = graph.add("Shape", [by_time], ["true_time_shape"], end=1)
    steps = graph.add("Range", [first, graph.add("Squeeze", [shape], ["true_time"]), one], ["true_steps"])
    last = graph.weight("true_axis", np.array([-1]))
    by_step = graph.add("Unsqueeze", [steps, last], ["true_steps_by_time"])  # [time, 1]
    counts = graph.add("Cast", [lengths], ["true_lengths"], to=TensorProto.INT64)
    is_true = graph.add("Less", [by_step, counts], ["is_true_by_row"])  # [time, batch]
    return graph.add("Unsqueeze", [is_true, last], [IS_TRUE])
