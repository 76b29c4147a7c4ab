"""Builds the ONNX graph of a kind. Inside, everything is [time, batch, features] float32."""

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tests.service.foreign.caches import cache_axis, cache_shape, run_attention, run_conv
from tests.service.foreign.kind import ANSWERS, CARRY, FEATURES, HIDDEN, STATIC, TOKENS, Kind

GATES = {"lstm": 4, "gru": 3, "rnn": 1}
OPSET, IR_VERSION = 18, 9


def build(kind: Kind) -> onnx.ModelProto:
    """A checked model with random weights of the kind's seed."""
    builder = _Builder(kind)
    x = builder.read_x()
    x = builder.mix(x)
    builder.write_answer(builder.run_cell(x))
    return builder.model()


def state_shape(kind: Kind, name: str) -> list[int | str]:
    """The shape of a state; "batch" is the batch axis."""
    if name == "count":
        return [1]
    batch: int | str = "batch" if kind.has_batch and kind.rows in (None, 3) else 1
    if name == "flag":
        return [batch, 1] if kind.has_batch else [1]
    if kind.cell in ("conv", "attention"):
        return cache_shape(kind, batch)
    sizes: dict[str, int | str] = {"1": 1, "2": 2, "b": batch, "h": _state_width(kind)}
    return [sizes[axis] for axis in kind.state_axes if axis != "b" or kind.has_batch]


def _state_width(kind: Kind) -> int:
    return FEATURES if kind.cell == "sum" else HIDDEN


class _Builder:
    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.random = np.random.default_rng(kind.seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray[Any, Any]] = {}
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self.hidden = ""  # [1, batch, hidden] after the last step
        self.rows = kind.rows or "batch"
        self.steps: int | str = {"one": 1, "fixed": kind.unit}.get(kind.time, "time")

    def add(self, op: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """A node with one output, which is returned."""
        output = output or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [output], **attributes))
        return output

    def constant(self, value: Any, dtype: Any = None) -> str:
        name = f"w{len(self.constants)}"
        self.constants[name] = np.asarray(value, dtype)
        return name

    def weight(self, *shape: int) -> str:
        return self.constant(self.random.normal(size=shape) * 0.5, np.float32)

    def cast(self, value: str, dtype: str, output: str = "") -> str:
        return self.add("Cast", value, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), output=output)

    def input(self, role: str, dtype: str, shape: list[int | str]) -> str:
        name = self.kind.name(role)
        onnx_type = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        self.inputs.append(helper.make_tensor_value_info(name, onnx_type, shape))
        return name

    def output(self, role: str, dtype: str, shape: list[int | str]) -> str:
        name = self.kind.name(role)
        onnx_type = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        self.outputs.append(helper.make_tensor_value_info(name, onnx_type, shape))
        return name

    def shape(self, axes: str, width: int) -> list[int | str]:
        sizes: dict[str, int | str] = {"b": self.rows, "t": self.steps, "f": width}
        return [sizes[axis] for axis in axes]

    def arrange(self, value: str, labels: str, wanted: str) -> str:
        """Add the axes that are missing, and order them."""
        missing = "".join(axis for axis in wanted if axis not in labels)
        if missing:
            value = self.add("Unsqueeze", value, self.constant(range(len(missing)), np.int64))
            labels = missing + labels
        if labels == wanted:
            return value
        return self.add("Transpose", value, perm=[labels.index(axis) for axis in wanted])

    def read_x(self) -> str:
        """[time, batch, features] float32."""
        kind = self.kind
        axes = kind.axes.replace("f", "") if kind.width == 1 else kind.axes
        width = kind.width + CARRY * kind.carry
        x = self.input("x", kind.dtype, self.shape(axes, width))
        if kind.is_token:
            return self.add("Gather", self.weight(TOKENS, FEATURES), self.arrange(x, axes, "tb"))
        x = self.cast(x, "float32")
        if kind.dtype not in ("float16", "float32", "float64"):
            x = self.add("Mul", x, self.constant(0.05, np.float32))
        x = self.arrange(x, axes, "tb" if kind.width == 1 else "tbf")
        if kind.width == 1:
            x = self.add("Unsqueeze", x, self.constant([2], np.int64))
        return x if width == FEATURES else self.add("MatMul", x, self.weight(width, FEATURES))

    def mix(self, x: str) -> str:
        """Add what else influences a step: the static input, the counter, the flag, the neighbours."""
        kind = self.kind
        if kind.static:
            value = self.input("static", "float32", [self.rows, STATIC] if kind.has_batch else [STATIC])
            value = self.add("MatMul", value, self.weight(STATIC, FEATURES))
            x = self.add("Add", x, value)  # [batch, features] or [features]
        if kind.counts:
            count = self.input("count", "int64", [1])
            ones = self.add(
                "Add", self.add("Mul", x, self.constant(0.0, np.float32)), self.constant(1.0, np.float32)
            )
            before = self.add("CumSum", ones, self.constant(0, np.int64), exclusive=1)
            at = self.add("Add", before, self.cast(count, "float32"))
            x = self.add("Add", x, self.add("Mul", at, self.constant(0.01, np.float32)))
            steps = self.add("Gather", self.add("Shape", x), self.constant([0], np.int64))
            self.add("Add", count, steps, output=self.output("count_out", "int64", [1]))
        if kind.has_flag:
            shape = state_shape(kind, "flag")
            flag = self.input("flag", "bool", [self.rows, 1] if kind.has_batch else shape)
            x = self.add("Add", x, self.cast(flag, "float32"))
            last = self.add("ReduceMax", x, self.constant([0, 2], np.int64), keepdims=0)  # [batch]
            last = self.add("Reshape", last, self.constant([-1, 1] if kind.has_batch else [1], np.int64))
            seen = self.add("Greater", last, self.constant(1.0, np.float32))
            output = self.output("flag_out", "bool", [self.rows, 1] if kind.has_batch else shape)
            self.add("Or", flag, seen, output=output)
        if kind.couples:
            mean = self.add("ReduceMean", x, self.constant([1], np.int64), keepdims=1)
            x = self.add("Add", x, self.add("Mul", mean, self.constant(0.5, np.float32)))
        return x

    def graph_state(self, name: str) -> list[int | str]:
        shape = [self.rows if size == "batch" else size for size in state_shape(self.kind, name)]
        if self.kind.grows and name == "h":
            shape[cache_axis(self.kind)] = "entries"
        return shape

    def read_state(self, name: str) -> str:
        return self.cast(self.input(name, self.kind.state_dtype, self.graph_state(name)), "float32")

    def write_state(self, name: str, value: str, shape: list[int]) -> None:
        """`shape`: of the state, with -1 for the batch."""
        value = self.add("Reshape", value, self.constant(shape, np.int64))
        output = self.output(f"{name}_out", self.kind.state_dtype, self.graph_state(name))
        self.cast(value, self.kind.state_dtype, output)

    def run_cell(self, x: str) -> str:
        """[time, batch, width]."""
        if self.kind.cell == "none":
            return self.add("Tanh", self.add("MatMul", x, self.weight(FEATURES, HIDDEN)))
        if self.kind.cell == "sum":
            return self.run_sum(x)
        if self.kind.cell == "conv":
            return run_conv(self, x)
        return run_attention(self, x) if self.kind.cell == "attention" else self.run_recurrent(x)

    def run_sum(self, x: str) -> str:
        sums = self.add("CumSum", x, self.constant(0, np.int64))
        if not self.kind.states:
            return sums
        before = self.add("Reshape", self.read_state("h"), self.constant([1, -1, FEATURES], np.int64))
        y = self.add("Add", sums, before)
        total = self.add("Add", self.add("ReduceSum", x, self.constant([0], np.int64), keepdims=1), before)
        self.hidden = total
        self.write_state("h", total, _reshape(state_shape(self.kind, "h")))
        return y

    def run_recurrent(self, x: str) -> str:
        kind, gates, d = self.kind, GATES[self.kind.cell], self.kind.directions
        weights = [self.weight(d, gates * HIDDEN, FEATURES), self.weight(d, gates * HIDDEN, HIDDEN)]
        weights.append(self.weight(d, 2 * gates * HIDDEN))
        lengths = ""
        if kind.lengths:
            lengths = self.cast(self.input("lengths", kind.lengths, [self.rows]), "int32")
        states = self.cell_states()
        out = [f"{role}_cell" for role in ("Y", "H", "C")[: 3 if kind.cell == "lstm" else 2]]
        direction = kind.ahead if kind.ahead in ("reverse", "bidirectional") else "forward"
        inputs = [x, *weights, lengths, *states]
        self.nodes.append(
            helper.make_node(kind.cell.upper(), inputs, out, hidden_size=HIDDEN, direction=direction)
        )
        self.write_cell_states(out[1:])
        self.hidden = "H_cell"
        y = self.add("Transpose", "Y_cell", perm=[0, 2, 1, 3])  # [time, batch, directions, hidden]
        return self.add("Reshape", y, self.constant([0, 0, d * HIDDEN], np.int64))

    def cell_states(self) -> list[str]:
        """Each [1, batch, hidden]."""
        shape = self.constant([1, -1, HIDDEN], np.int64)
        values = [self.read_state(name) for name in self.kind.states]
        if self.kind.cell == "lstm" and len(values) == 1:  # both in one tensor
            index = [self.constant([at], np.int64) for at in (0, 1)]
            values = [self.add("Gather", values[0], at, axis=0) for at in index]
        return [self.add("Reshape", value, shape) for value in values]

    def write_cell_states(self, values: list[str]) -> None:
        if len(self.kind.states) < len(values) and self.kind.states:
            values = [self.add("Concat", *values, axis=0)]
        for name, value in zip(self.kind.states, values, strict=False):
            self.write_state(name, value, _reshape(state_shape(self.kind, name)))

    def write_answer(self, y: str) -> None:
        """`y` [time, batch, width]."""
        kind = self.kind
        if kind.ahead == "mean":
            y = self.add("Sub", y, self.add("ReduceMean", y, self.constant([0], np.int64), keepdims=1))
        if kind.has_second:
            self.write_output("second", self.head(y, 3), kind.axes, "float32", 3)
        if kind.answer == "state":
            return
        axes = kind.axes
        y = self.head(y, ANSWERS)
        if kind.answer == "last":
            y = self.add("Gather", y, self.constant([-1], np.int64), axis=0)
            axes = axes.replace("t", "")
        if kind.answer == "argmax":
            y = self.add("ArgMax", y, axis=2, keepdims=1)
        elif kind.answer == "number":
            y = self.add("ReduceMean", y, self.constant([2], np.int64), keepdims=1)
        if kind.answer in ("argmax", "number"):
            axes = axes.replace("f", "")
        self.write_output("y", y, axes, "int64" if kind.answer == "argmax" else "float32", ANSWERS)

    def head(self, y: str, width: int) -> str:
        kind = self.kind
        inner = FEATURES if kind.cell == "sum" else HIDDEN * kind.directions
        return self.add("MatMul", y, self.weight(inner, width))

    def write_output(self, role: str, y: str, axes: str, dtype: str, width: int) -> None:
        """`y` [time, batch, width]; `axes` without f: of one number."""
        extra = [index for index, axis in enumerate("tbf") if axis not in axes]
        if extra:
            y = self.add("Squeeze", y, self.constant(extra, np.int64))
        rest = "".join(axis for axis in "tbf" if axis in axes)
        output = self.output(role, dtype, self.shape(axes, width))
        if rest == axes:
            self.add("Identity", y, output=output)
        else:
            self.add("Transpose", y, perm=[rest.index(axis) for axis in axes], output=output)

    def model(self) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "foreign",
            self.inputs,
            self.outputs,
            [numpy_helper.from_array(value, name) for name, value in self.constants.items()],
        )
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
        onnx.checker.check_model(model, full_check=True)
        return model


def _reshape(shape: list[int | str]) -> list[int]:
    return [-1 if isinstance(size, str) else size for size in shape]
