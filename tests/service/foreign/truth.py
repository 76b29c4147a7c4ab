"""The right answers: bare ONNX Runtime on one whole sequence. Nothing of the service is used here."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort

from tests.service.foreign.kind import CARRY, FEATURES, STATIC, TOKENS, Kind

Array = npt.NDArray[Any]
SCALARS = ("argmax", "number")


@dataclass(frozen=True)
class Steps:
    """A sequence of a kind: the steps [time, features], [time] if one number each; and the static input."""

    x: Array
    static: Array

    def part(self, start: int, stop: int) -> "Steps":
        """Some of the steps."""
        return Steps(self.x[start:stop], self.static)


def invent(kind: Kind, steps: int, random: np.random.Generator) -> Steps:
    """Steps that the graph accepts."""
    shape = (steps,) if kind.width == 1 else (steps, FEATURES)
    static = random.normal(size=STATIC).astype(np.float32)
    if kind.is_token:
        return Steps(random.integers(0, TOKENS, shape).astype(kind.dtype), static)
    if kind.dtype == "bool":
        return Steps(random.random(shape) < 0.5, static)
    if kind.dtype.startswith(("int", "uint")):
        low = 0 if kind.dtype == "uint8" else -20
        return Steps(random.integers(low, 21, shape).astype(kind.dtype), static)
    return Steps(random.normal(size=shape).astype(kind.dtype), static)


class Truth:
    """A graph, run as its author would."""

    def __init__(self, kind: Kind, model: onnx.ModelProto) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        self._kind = kind
        self._session = ort.InferenceSession(model.SerializeToString(), options)
        self._names = [node.name for node in self._session.get_outputs()]
        self._shapes = {node.name: node.shape for node in self._session.get_inputs()}
        self._types = {node.name: node.type for node in self._session.get_inputs()}

    def answer(self, steps: Steps) -> dict[str, Array]:
        """Every output by name. [time, …] if it follows time; else only its value after the last step."""
        kind, size = self._kind, len(steps.x)
        call_steps = {"one": 1, "none": 1, "fixed": kind.unit}.get(kind.time, size)
        state = self._initial_state()
        before = np.zeros(CARRY, kind.dtype)
        parts: list[dict[str, Array]] = []
        for start in range(0, size, call_steps):
            x = steps.x[start : start + call_steps]
            if kind.carry:
                x, before = _with_carry(x, before)
            outputs = self._call(x, steps.static, state)
            state = {name: outputs[f"{name}_out"] for name in state}
            parts.append(outputs)
        follows = {"y": kind.answer != "last", "second": True}
        if call_steps == 1:  # the value after every step
            follows |= {"y": True, "h_out": True}
        return {
            role: np.concatenate([self._row(role, part[role]) for part in parts])
            if follows.get(role)
            else self._row(role, parts[-1][role])[-1]
            for role in parts[0]
            if role in ("y", "second") or (role == "h_out" and kind.answer == "state")
        }

    def _initial_state(self) -> dict[str, Array]:
        roles = (*self._kind.states, *["count"] * self._kind.counts, *["flag"] * self._kind.has_flag)
        state = {}
        for role in roles:
            name = self._kind.name(role)
            shape = [size if isinstance(size, int) else int(size != "entries") for size in self._shapes[name]]
            state[role] = np.zeros(shape, _dtype(self._types[name]))
        return state

    def _call(self, x: Array, static: Array, state: dict[str, Array]) -> dict[str, Array]:
        kind = self._kind
        feeds = {kind.name("x"): self._to_graph(x)}
        feeds |= {kind.name(role): value for role, value in state.items()}
        copies = kind.rows or 1
        if kind.static:
            feeds[kind.name("static")] = np.stack([static] * copies) if kind.has_batch else static
        if kind.lengths:
            feeds[kind.name("lengths")] = np.full(copies, len(x), kind.lengths)
        found = dict(zip(self._names, self._session.run(None, feeds), strict=True))
        roles = ("y", "h_out", "c_out", "count_out", "flag_out", "second")
        return {role: found[kind.name(role)] for role in roles if kind.name(role) in found}

    def _to_graph(self, x: Array) -> Array:
        """[time, …] → the graph's axes; a fixed batch holds copies."""
        kind = self._kind
        x = np.stack([x] * (kind.rows or 1))  # [batch, time, …]
        labels = "bt" + ("f" if x.ndim == 3 else "")
        axes = kind.axes if x.ndim == 3 else kind.axes.replace("f", "")
        ordered: Array = np.einsum(f"{labels}->{_padded(labels, axes)}", x)
        return ordered.reshape([x.shape[labels.index(axis)] for axis in axes]).copy()

    def _row(self, role: str, array: Array) -> Array:
        """[time, …] of the first row; time is 1 where the graph has none."""
        kind = self._kind
        if role == "h_out":
            axis = _batch_axis(kind)
            return (array if axis is None else array.take(0, axis))[np.newaxis]
        is_scalar = kind.answer in SCALARS and role == "y"
        axes = kind.axes.replace("f", "") if is_scalar else kind.axes
        if kind.answer == "last" and role == "y":
            axes = axes.replace("t", "")
        if "b" in axes:
            array = array.take(0, axes.index("b"))
            axes = axes.replace("b", "")
        if "t" not in axes:
            return array[np.newaxis]
        return np.moveaxis(array, axes.index("t"), 0)


def _batch_axis(kind: Kind) -> int | None:
    """Of the first state, where it has one."""
    if not kind.has_batch:
        return None
    return 0 if kind.cell in ("conv", "attention") else kind.state_axes.index("b")


def _padded(labels: str, axes: str) -> str:
    """All labels, in the order of the graph's axes; those that it has not are of length 1, and first."""
    return "".join(label for label in labels if label not in axes) + axes


def _with_carry(x: Array, before: Array) -> tuple[Array, Array]:
    """Each step with the `CARRY` numbers before it, and the last numbers of all."""
    stream = np.concatenate([before, x.reshape(-1)])
    width = x.shape[1]
    wide = [stream[at * width : at * width + CARRY + width] for at in range(len(x))]
    return np.stack(wide), stream[len(stream) - CARRY :]


def _dtype(onnx_type: str) -> str:
    name = onnx_type.removeprefix("tensor(").removesuffix(")")
    return {"float": "float32", "double": "float64"}.get(name, name)
