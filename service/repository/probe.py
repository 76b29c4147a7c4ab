"""Runs a graph of unknown kind on random values, to measure what its file does not say.

It knows the graph's inputs and outputs; it does not know manifests, batches or sessions. See `proposal`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, get_args

import numpy as np
import onnxruntime as ort

from service.engine import dtype_of
from service.errors import StartupError
from service.manifest import DType
from service.repository.graph import Size, Value
from service.sequence import Array

SERVED: tuple[str, ...] = get_args(DType)
QUIET = 4  # ONNX Runtime's log severity: fatal errors only; a failed run is a measurement


class ProbeError(Exception):
    """The graph does not run on these values."""


@dataclass(slots=True, frozen=True)
class Port:
    """An input or output of the graph."""

    name: str
    dtype: str  # numpy's name
    shape: tuple[Size, ...]  # as the file has it; wrong for some exporters' outputs

    @property
    def is_float(self) -> bool:
        """Whether it holds floating-point numbers."""
        return self.dtype.startswith("float")

    @property
    def is_integer(self) -> bool:
        """Whether it holds whole numbers."""
        return "int" in self.dtype

    def variable(self, axis: int) -> str | None:
        """The key of an axis' size, where the file does not fix it: equal names are one size."""
        size = self.shape[axis]
        if isinstance(size, int) and size > 0:
            return None
        return size if isinstance(size, str) and size else f"{self.name}[{axis}]"

    @property
    def variables(self) -> tuple[str | None, ...]:
        """`variable` of each axis."""
        return tuple(map(self.variable, range(len(self.shape))))

    def sized(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """Its shape, with the sizes of variables filled in."""
        shape = zip(self.shape, self.variables, strict=True)
        return tuple(sizes[variable] if variable else int(size or 0) for size, variable in shape)


class Probe:
    """A graph that is open, without optimisation, in ONNX Runtime on the CPU."""

    def __init__(self, session: ort.InferenceSession) -> None:
        self._session = session
        self._options = ort.RunOptions()
        self._options.log_severity_level = QUIET
        self.inputs = [_port(node) for node in session.get_inputs()]
        self.outputs = [_port(node) for node in session.get_outputs()]

    @classmethod
    def open(cls, graph: Path) -> Self:
        """Open a graph. Raises StartupError with ONNX Runtime's words, for example on a missing feature."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = QUIET
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            return cls(ort.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"]))
        except Exception as error:
            raise StartupError(f"{graph}: ONNX Runtime cannot load it: {error}") from error

    @property
    def fault(self) -> str:
        """Why no manifest can serve the graph, whatever it computes; "" if one may."""
        if not self.inputs or not self.outputs:
            return f"the graph has no {'output' if self.inputs else 'input'}"
        foreign = [port for port in (*self.inputs, *self.outputs) if port.dtype not in SERVED]
        return "; ".join(
            f"{port.name!r} is {port.dtype}; expected one of {', '.join(SERVED)}" for port in foreign
        )

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Every output, by name. Raises ProbeError with ONNX Runtime's words."""
        try:
            outputs = self._session.run(None, dict(feeds), self._options)
        except Exception as error:
            raise ProbeError(str(error)) from error
        names = [port.name for port in self.outputs]
        return {name: np.asarray(output) for name, output in zip(names, outputs, strict=True)}


def ports(values: tuple[Value, ...]) -> list[Port]:
    """Inputs or outputs as the file describes them, for a graph that ONNX Runtime does not load."""
    return [Port(value.name, value.dtype, value.shape or ()) for value in values]


def _port(node: Any) -> Port:
    try:
        dtype = dtype_of(node)
    except StartupError:  # such as text: a proposal says that it cannot be served
        dtype = node.type
    return Port(node.name, dtype, tuple(node.shape or ()))
