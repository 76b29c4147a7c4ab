"""Small graphs of the kinds that people bring. Of small integers, sums are exact in any order."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto as P
from onnx import helper

from service.sequence import Array
from tests.service.engine.judge import WIDTH as W
from tests.service.engine.judge import Arrange, ForeignKind
from tests.service.graphs import Shape, model

N: Callable[..., onnx.NodeProto] = helper.make_node
NUMPY = {
    "float16": P.FLOAT16, "float32": P.FLOAT, "float64": P.DOUBLE, "int8": P.INT8, "int16": P.INT16,
    "int32": P.INT32, "int64": P.INT64, "uint8": P.UINT8, "bool": P.BOOL,
}  # fmt: skip


Way = tuple[Arrange, Arrange]  # [steps, *dims] of one sequence → the graph's tensor, and back


def row(y: Array) -> Array:
    """[1, *dims]: the first row of a tensor without time axis."""
    return y[:1]


ROWS: Way = (lambda x: x, row)  # [batch, …], one step
ONE: Way = (lambda x: x[0], lambda y: y[None])  # no batch, one step
ALONE: Way = (lambda x: x, lambda y: y)  # [time, …], no batch
ALONE_LAST: Way = (lambda x: x.T, lambda y: y.T)  # [width, time]
BATCH_FIRST: Way = (lambda x: x[None], lambda y: y[0])
TIME_FIRST: Way = (lambda x: x[:, None], lambda y: y[:, 0])
TIME_LAST: Way = (lambda x: x.T[None], lambda y: y[0].T)  # [batch, width, time]
BATCH_LAST: Way = (lambda x: x.T[..., None], lambda y: y[..., 0].T)  # [width, time, batch]
WIDTH_FIRST: Way = (lambda x: x.T[:, None], lambda y: y[:, 0].T)  # [width, batch, time]


def x(**fields: Any) -> dict[str, Any]:
    return {"name": "x", "dims": [W]} | fields


def y(name: str = "y", **fields: Any) -> dict[str, Any]:
    return {"name": name, "dims": [W]} | fields


def state(name: str = "h", shape: Shape | None = None, **fields: Any) -> dict[str, Any]:
    return {"input": name, "output": f"{name}_out", "shape": shape or ["batch", W]} | fields


def tensors(**shapes: Any) -> dict[str, tuple[int, Shape]]:
    """float32, unless a shape is a pair with its type."""
    return {name: at if isinstance(at, tuple) else (P.FLOAT, at) for name, at in shapes.items()}


def running(axis: int, x_name: str = "x", before: str = "h") -> list[onnx.NodeProto]:
    """sums: the running sum of x along `axis`, after the sum `h` of the steps before; h_out: at the end."""
    return [
        N("ReduceSum", [x_name, f"ax{axis}"], ["added"], keepdims=0),
        N("Add", [before, "added"], ["h_out"]),
        N("CumSum", [x_name, f"ax{axis}"], ["own"]),
        N("Unsqueeze", [before, f"ax{axis}"], ["past"]),
        N("Add", ["own", "past"], ["sums"]),
    ]


AX = {f"ax{axis}": np.array([axis], np.int64) for axis in range(3)}
CELL = [N("Add", ["h", "x"], ["h_out"])]  # one step: x, h [batch, W]


def plain_axes(name: str, shape: Shape, time: int, batch: int | None, h: Shape, way: Way) -> ForeignKind:
    """A running sum over axes in any order."""
    graph = model(
        [*running(time), N("Identity", ["sums"], ["y"])],
        tensors(x=shape, h=h), tensors(y=shape, h_out=h), AX,
    )  # fmt: skip
    h_shape: Shape = ["batch" if size == "N" else size for size in h]
    fields = {"states": [state(shape=h_shape)], "axes": {"batch": batch, "time": time}}
    return ForeignKind(name, graph, fields, way[0], way[1:])


def of_dtype(dtype: str) -> ForeignKind:
    """One number of the dtype a step, in and out; an integer and a boolean state beside the sum."""
    kind = NUMPY[dtype]
    nodes = [
        N("Cast", ["x"], ["xf"], to=P.FLOAT),
        *running(1, "xf"),
        N("Cast", ["xf"], ["xi"], to=P.INT64),
        N("ReduceMax", ["xi"], ["highest"], axes=[1], keepdims=0),
        N("Max", ["best", "highest"], ["best_out"]),
        N("Cast", ["highest"], ["any"], to=P.BOOL),
        N("Or", ["seen", "any"], ["seen_out"]),
        N("Identity", ["xf"], ["same"]),
        N("Cast", ["same"], ["y"], to=kind),
    ]
    row: Shape = ["N"]
    graph = model(
        nodes,
        tensors(x=(kind, ["N", "T"]), h=row, best=(P.INT64, row), seen=(P.BOOL, row)),
        tensors(
            y=(kind, ["N", "T"]), sums=["N", "T"], h_out=row, best_out=(P.INT64, row), seen_out=(P.BOOL, row)
        ),
        AX,
    )
    fields = {
        "inputs": [x(dtype=dtype, dims=[])],
        "outputs": [y(dtype=dtype, dims=[]), y("sums", dims=[])],
        "states": [
            state(shape=["batch"]),
            state("best", ["batch"], dtype="int64", initial=-5),
            state("seen", ["batch"], dtype="bool"),
        ],
    }
    return ForeignKind(dtype, graph, fields, read=(lambda y: y[0], lambda y: y[0]))


def cell(name: str, fields: dict[str, Any], way: Way = ROWS, **changes: Any) -> ForeignKind:
    """One step a call: y = h_out = h + x."""
    batch = changes.pop("batch", "N")
    nodes = changes.pop("nodes", [*CELL, N("Identity", ["h_out"], ["y"])])
    out = changes.pop("out", tensors(y=[batch, W], h_out=[batch, W]))
    graph = model(nodes, tensors(x=[batch, W], h=[batch, W]), out, AX)
    base = {"axes": {"time": None}, "states": [state()]}
    return ForeignKind(name, graph, base | fields, way[0], way[1:])


def independent(name: str, shape: Shape, axes: dict[str, Any], way: Way, **fields: Any) -> ForeignKind:
    """No state: y = 3 x."""
    graph = model(
        [N("Add", ["x", "x"], ["twice"]), N("Add", ["twice", "x"], ["y"])],
        tensors(x=shape),
        tensors(y=shape),
        {},
    )
    return ForeignKind(name, graph, {"axes": axes} | fields, way[0], way[1:])


def whole(name: str, shape: Shape, axes: dict[str, Any], way: Way, **fields: Any) -> ForeignKind:
    """Not causal: every step's answer is the sum of the sequence."""
    time = int(axes["time"])
    nodes = [
        N("ReduceSum", ["x", f"ax{time}"], ["sum"], keepdims=1),
        N("Sub", ["x", "x"], ["zeros"]),
        N("Add", ["zeros", "sum"], ["y"]),
    ]
    graph = model(nodes, tensors(x=shape), tensors(y=shape), AX)
    return ForeignKind(name, graph, {"axes": axes, "causal": False} | fields, way[0], way[1:], steps=None)


def fixed_time(size: int, steps: int | None) -> ForeignKind:
    shape: Shape = ["N", size, W]
    graph = model(
        [*running(1), N("Identity", ["sums"], ["y"])],
        tensors(x=shape, h=["N", W]), tensors(y=shape, h_out=["N", W]), AX,
    )  # fmt: skip
    return ForeignKind(
        f"time of {size}", graph, {"states": [state()], "axes": {"time_size": size}}, steps=steps
    )


def fixed_batch(size: int) -> ForeignKind:
    shape: Shape = [size, "T", W]
    graph = model(
        [*running(1), N("Identity", ["sums"], ["y"])],
        tensors(x=shape, h=[size, W]), tensors(y=shape, h_out=[size, W]), AX,
    )  # fmt: skip
    return ForeignKind(f"batch of {size}", graph, {"states": [state()], "axes": {"batch_size": size}})


def conditioned(name: str, shape: Shape, axes: dict[str, int], way: Way) -> ForeignKind:
    """A speaker vector [batch, W], added to every step."""
    time = axes["time"]
    nodes = [
        N("Unsqueeze", ["spk", f"ax{time}"], ["spk3"]),
        N("Add", ["x", "spk3"], ["xs"]),
        *running(time, "xs"),
        N("Identity", ["sums"], ["y"]),
    ]
    graph = model(
        nodes, tensors(x=shape, spk=["N", W], h=["N", W]), tensors(y=shape, h_out=["N", W]), AX
    )  # fmt: skip
    fields = {"inputs": [speaker(), x()], "states": [state()], "axes": axes}
    return ForeignKind(name, graph, fields, way[0], way[1:], per_sequence={"spk": (1, W)})


def speaker() -> dict[str, Any]:
    return {"name": "spk", "dims": [W], "per": "sequence"}


def conditioned_steps() -> ForeignKind:
    graph = model([N("Add", ["x", "spk"], ["y"])], tensors(x=["N", W], spk=["N", W]), tensors(y=["N", W]), {})
    fields = {"inputs": [x(), speaker()], "axes": {"time": None}}
    return ForeignKind(
        "independent steps, conditioned", graph, fields, lambda x: x, (row,), per_sequence={"spk": (1, W)}
    )


def carried(carry: int, *, time: bool, has_state: bool) -> ForeignKind:
    """y = sums of the whole window of W + carry numbers, weighted by position."""
    width = W + carry
    shape: Shape = ["N", "T", width] if time else ["N", width]
    out: Shape = ["N", "T", 1] if time else ["N", 1]
    nodes = [N("MatMul", ["x", "weights"], ["found"])]
    inputs, outputs = tensors(x=shape), tensors(y=out)
    if has_state:
        inputs, outputs = inputs | tensors(h=["N", 1]), outputs | tensors(h_out=["N", 1])
        nodes += [*running(1, "found"), N("Identity", ["sums"], ["y"])] if time else [
            N("Add", ["h", "found"], ["h_out"]), N("Identity", ["h_out"], ["y"]),
        ]  # fmt: skip
    else:
        nodes.append(N("Identity", ["found"], ["y"]))
    weights = (10.0 ** np.arange(width % 5) if width < 5 else np.arange(1.0, width + 1)).astype(np.float32)
    weights = np.resize(weights, (width, 1))
    graph = model(nodes, inputs, outputs, AX | {"weights": weights})
    fields = {
        "inputs": [x(carry=carry)],
        "outputs": [y(dims=[1])],
        "states": [state(shape=["batch", 1])] if has_state else [],
        "axes": {"time": 1 if time else None},
    }
    name = f"carry of {carry}, {'time axis' if time else 'one step'}, {'state' if has_state else 'no state'}"
    way = BATCH_FIRST if time else ALONE
    return ForeignKind(name, graph, fields, way[0], way[1:], carry=carry)


def several_outputs() -> ForeignKind:
    """The sum, its largest position (an integer a step), and the state of the last step alone."""
    shape: Shape = ["N", "T", W]
    nodes = [
        *running(1), N("Identity", ["sums"], ["y"]),
        N("ArgMax", ["sums"], ["action"], axis=2, keepdims=0), N("Identity", ["h_out"], ["final"]),
    ]  # fmt: skip
    graph = model(
        nodes,
        tensors(x=shape, h=["N", W]),
        tensors(y=shape, action=(P.INT64, ["N", "T"]), final=["N", W], h_out=["N", W]),
        AX,
    )
    outputs = [y(), y("action", dims=[], dtype="int64"), y("final", steps="last")]
    fields = {"outputs": outputs, "states": [state()]}
    return ForeignKind("several outputs", graph, fields, read=(lambda y: y[0], lambda y: y[0], row))


def gru(lengths: str) -> ForeignKind:
    """A GRU with row lengths of either dtype, as another judge than sums."""
    random = np.random.default_rng(0)
    hidden = 3
    nodes = [
        N("Cast", ["lengths"], ["l32"], to=P.INT32),
        N("Transpose", ["x"], ["xt"], perm=[1, 0, 2]),
        N("GRU", ["xt", "Wx", "R", "", "l32", "h"], ["Y", "h_out"], hidden_size=hidden),
        N("Squeeze", ["Y", "ax1"], ["Y1"]),
        N("Transpose", ["Y1"], ["y"], perm=[1, 0, 2]),
    ]
    graph = model(
        nodes,
        tensors(x=["N", "T", W], lengths=(NUMPY[lengths], ["N"]), h=[1, "N", hidden]),
        tensors(y=["N", "T", hidden], h_out=[1, "N", hidden]),
        AX | {
            "Wx": random.normal(size=(1, 3 * hidden, W)).astype(np.float32),
            "R": random.normal(size=(1, 3 * hidden, hidden)).astype(np.float32),
        },
    )  # fmt: skip
    fields = {
        "lengths": "lengths",
        "outputs": [y(dims=[hidden])],
        "states": [state(shape=[1, "batch", hidden])],
    }
    return ForeignKind(f"GRU with {lengths} lengths", graph, fields)


def counter() -> ForeignKind:
    """A state without batch axis, a count of calls: one sequence a call."""
    nodes = [
        N("Add", ["n", "one"], ["n_out"]),
        N("Cast", ["n_out"], ["nf"], to=P.FLOAT),
        N("Mul", ["nf", "scale"], ["ns"]),
        N("Add", ["x", "ns"], ["y"]),
    ]
    graph = model(
        nodes,
        tensors(x=["N", W], n=(P.INT64, [1]), scale=[]),
        tensors(y=["N", W], n_out=(P.INT64, [1])),
        {"one": np.array([1], np.int64)},
    )
    fields = {
        "axes": {"time": None},
        "states": [state("n", [1], dtype="int64")],
        "constants": {"scale": 2},
    }
    return ForeignKind("counter", graph, fields, ROWS[0], ROWS[1:])


def squeezed() -> ForeignKind:
    """Time fixed at 1 in the input, absent in the output."""
    nodes = [
        N("Squeeze", ["x", "ax1"], ["xs"]),
        N("Add", ["h", "xs"], ["h_out"]),
        N("Identity", ["h_out"], ["y"]),
    ]
    graph = model(nodes, tensors(x=["N", 1, W], h=["N", W]), tensors(y=["N", W], h_out=["N", W]), AX)
    fields = {
        "axes": {"time_size": 1},
        "outputs": [y(axes={"time": None})],
        "states": [state()],
    }
    return ForeignKind("time of 1, squeezed", graph, fields, read=(row,))


def last_of_state() -> ForeignKind:
    """The answer is the new state, [1, batch, W], after the last of many steps."""
    nodes = [
        N("ReduceSum", ["x", "ax1"], ["added"], keepdims=0), N("Unsqueeze", ["added", "ax0"], ["added3"]),
        N("Add", ["h", "added3"], ["h_out"]),
    ]  # fmt: skip
    graph = model(nodes, tensors(x=["N", "T", W], h=[1, "N", W]), tensors(h_out=[1, "N", W]), AX)
    fields = {
        "outputs": [y("h_out", steps="last", axes={"batch": 1, "time": 0})],
        "states": [state(shape=[1, "batch", W])],
    }
    return ForeignKind("the answer is the state, last step", graph, fields, read=(lambda y: y[:, 0],))


KINDS = [
    *(of_dtype(dtype) for dtype in NUMPY),
    *(fixed_batch(size) for size in (1, 4)),
    fixed_time(1, 1),
    fixed_time(3, 3),
    plain_axes("batch, time", ["N", "T", W], 1, 0, ["N", W], BATCH_FIRST),
    plain_axes("time, batch", ["T", "N", W], 0, 1, ["N", W], TIME_FIRST),
    plain_axes("batch, width, time", ["N", W, "T"], 2, 0, ["N", W], TIME_LAST),
    plain_axes("width, time, batch", [W, "T", "N"], 1, 2, [W, "N"], BATCH_LAST),
    plain_axes("width, batch, time", [W, "N", "T"], 2, 1, [W, "N"], WIDTH_FIRST),
    plain_axes("time, no batch", ["T", W], 0, None, [W], ALONE),
    plain_axes("width, time, no batch", [W, "T"], 1, None, [W], ALONE_LAST),
    whole("whole", ["N", "T", W], {"time": 1}, BATCH_FIRST),
    whole("whole, no batch", ["T", W], {"batch": None, "time": 0}, ALONE),
    whole("window", ["N", 3, W], {"time": 1, "time_size": 3}, BATCH_FIRST),
    whole("window, batch of 4", [4, 3, W], {"time": 1, "time_size": 3, "batch_size": 4}, BATCH_FIRST),
    independent("independent steps", ["N", W], {"time": None}, ROWS),
    independent("independent steps, not causal", ["N", W], {"time": None}, ROWS, causal=False),
    independent("independent steps, batch of 3", [3, W], {"time": None, "batch_size": 3}, ROWS),
    independent("independent steps, no batch", [W], {"time": None, "batch": None}, ONE),
    independent("independent steps, time of 1", ["N", 1, W], {"time_size": 1}, BATCH_FIRST),
    independent(
        "independent steps, time first", [1, "N", W], {"batch": 1, "time": 0, "time_size": 1}, TIME_FIRST
    ),
    cell("cell", {}),
    cell("cell, not causal", {"causal": False}),
    cell("cell, batch of 4", {"axes": {"time": None, "batch_size": 4}}, batch=4),
    cell(
        "the answer is the state", {"outputs": [y("h_out")]},
        nodes=CELL, out=tensors(h_out=["N", W]),
    ),
    cell(
        "cell, one number a step", {"outputs": [y(dims=[])]},
        nodes=[*CELL, N("ReduceSum", ["h_out", "ax1"], ["y"], keepdims=0)],
        out=tensors(y=["N"], h_out=["N", W]),
    ),
    cell(
        "cell, time kept as 1", {"outputs": [y(axes={"time": 1})]},
        nodes=[*CELL, N("Unsqueeze", ["h_out", "ax1"], ["y"])],
        out=tensors(y=["N", 1, W], h_out=["N", W]),
        way=(ROWS[0], BATCH_FIRST[1]),
    ),
    squeezed(),
    last_of_state(),
    conditioned("speaker", ["N", "T", W], {"batch": 0, "time": 1}, BATCH_FIRST),
    conditioned("speaker, time first", ["T", "N", W], {"batch": 1, "time": 0}, TIME_FIRST),
    conditioned_steps(),
    *(
        carried(carry, time=time, has_state=has_state)
        for carry in (1, 2, 5) for time in (False, True) for has_state in (False, True)
    ),
    several_outputs(),
    gru("int32"),
    gru("int64"),
    counter(),
]  # fmt: skip
