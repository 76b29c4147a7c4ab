"""Bare ONNX Runtime as the judge of an engine's answers: one sequence alone, step by step.

It shares nothing with the engine but what the manifest says. It computes in the graph's own fixed number of
steps, if there is one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

from service.manifest import Manifest, StateSpec
from service.sequence import Array

WIDTH = 2  # of a step
DEFAULTS = {
    "task": "label",
    "inputs": [{"name": "x", "dims": [WIDTH]}],
    "outputs": [{"name": "y", "dims": [WIDTH]}],
}
Arrange = Callable[[Array], Array]


@dataclass(frozen=True)
class ForeignKind:
    """A graph, its manifest, and how one sequence alone is fed to it."""

    name: str
    graph: onnx.ModelProto
    fields: dict[str, Any]
    feed: Arrange = lambda x: x[None]  # [steps, *dims] of one sequence → the graph's tensor
    read: Sequence[Arrange] = (lambda y: y[0],)  # of each output: the graph's tensor → [steps, *dims]
    steps: int | None = 1  # of a call of the judge; None: all
    per_sequence: dict[str, tuple[int, ...]] = field(default_factory=dict)  # name → shape of one row
    carry: int = 0

    @cached_property
    def manifest(self) -> Manifest:
        return Manifest.model_validate(DEFAULTS | self.fields)

    @cached_property
    def session(self) -> ort.InferenceSession:
        return ort.InferenceSession(self.graph.SerializeToString(), providers=["CPUExecutionProvider"])

    def bare(self, x: Array, given: dict[str, Array]) -> list[Array]:
        """The outputs [time, *dims] of one sequence."""
        manifest = self.manifest
        state = {spec.input: self._first(spec) for spec in manifest.states}
        constant = {name: self._array(name, value) for name, value in manifest.constants.items()}
        constant |= {name: self._fill(given[name].reshape(at)) for name, at in self.per_sequence.items()}
        outputs: list[list[Array]] = [[] for _ in manifest.outputs]
        for piece in self._pieces(x):
            feeds = {manifest.step_inputs[0].graph_input: self._fill(self.feed(piece)), **state, **constant}
            if manifest.lengths:
                feeds[manifest.lengths] = self._array(manifest.lengths, [len(piece)])
            results = self.session.run(None, feeds)
            by_name = dict(zip([node.name for node in self.session.get_outputs()], results, strict=True))
            for output, spec, read in zip(outputs, manifest.outputs, self.read, strict=True):
                output.append(read(by_name[spec.name]))
            state = {spec.input: by_name[spec.output] for spec in manifest.states}
        return [np.concatenate(pieces) for pieces in outputs]

    def _pieces(self, x: Array) -> list[Array]:
        steps = self.steps or len(x)
        if not self.carry:
            return [x[start : start + steps] for start in range(0, len(x), steps)]
        context, pieces = np.zeros((self.carry, *x.shape[2:]), x.dtype), []
        for step in x:
            frame = np.concatenate([context, step])
            context = frame[-self.carry :]
            pieces.append(frame[None])
        return pieces

    @property
    def _rows(self) -> int:
        return self.manifest.axes.batch_size or 1

    def _first(self, spec: StateSpec) -> Array:
        shape = [self._rows if size == "batch" else size for size in spec.shape]
        return np.full(shape, spec.initial, spec.dtype)

    def _fill(self, row: Array) -> Array:
        return row if self._rows == 1 else np.concatenate([row] * self._rows)

    def _array(self, name: str, value: Any) -> Array:
        kind = next(node.type for node in self.session.get_inputs() if node.name == name)
        names = {"tensor(int32)": "int32", "tensor(int64)": "int64", "tensor(float)": "float32"}
        return np.asarray(value, names[kind])
