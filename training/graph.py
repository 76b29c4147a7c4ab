"""Builds an ONNX graph: weights, nodes, inputs and outputs. Knows nothing of cells or torch."""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

# Opset 17 has every operator that we use, and IR 8 is its version of the format: ONNX Runtime reads it since
# 1.12.
OPSET = 17
IR_VERSION = 8
CONTRIB = "com.microsoft"  # the domain of ONNX Runtime's own operators

Shape = list[int | str]


class Graph:
    """Collects the parts of a graph; `add` and `weight` return the name of the new tensor.

    A portable graph has only standard operators; any other may have those of ONNX Runtime (`CONTRIB`).
    """

    def __init__(self, name: str, *, is_portable: bool = True) -> None:
        self._name, self.is_portable = name, is_portable
        self._nodes: list[onnx.NodeProto] = []
        self._weights: dict[str, onnx.TensorProto] = {}
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []

    def input(self, name: str, shape: Shape, *, kind: int = TensorProto.FLOAT) -> str:
        """Declare a graph input; text in `shape` names a dynamic axis."""
        self._inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def output(self, name: str, shape: Shape, *, kind: int = TensorProto.FLOAT) -> None:
        """Declare that tensor `name` is a graph output."""
        self._outputs.append(helper.make_tensor_value_info(name, kind, shape))

    def weight(self, name: str, value: NDArray[np.float32] | NDArray[np.int64]) -> str:
        """Store a constant tensor; storing an equal one again is allowed."""
        stored = numpy_helper.from_array(np.ascontiguousarray(value), name)
        assert self._weights.setdefault(name, stored) == stored, f"two weights are called {name!r}"
        return name

    def add(self, op: str, inputs: list[str], outputs: list[str], **attributes: Any) -> str:
        """Append a node, and return the name of its first output; an empty name is an absent tensor."""
        name = outputs[0]
        self._nodes.append(helper.make_node(op, inputs, outputs, name=f"{name}/{op}", **attributes))
        return name

    def split(self, x: str, outputs: list[str], sizes: list[int]) -> list[str]:
        """Append a `Split` of the last axis into parts of these sizes, and return their names."""
        stored = self.weight(f"{x}_sizes", np.array(sizes))
        self.add("Split", [x, stored], outputs, axis=-1)
        return outputs

    def has(self, name: str) -> bool:
        """Whether a node computes this tensor."""
        return any(name in node.output for node in self._nodes)

    def proto(self) -> onnx.GraphProto:
        """The graph alone, as the body of a `Scan`."""
        weights = list(self._weights.values())
        return helper.make_graph(self._nodes, self._name, self._inputs, self._outputs, weights)

    def build(self) -> onnx.ModelProto:
        """The finished, checked model. Raises onnx.checker.ValidationError, or a shape inference error."""
        opsets = [helper.make_opsetid("", OPSET)]
        if any(node.domain == CONTRIB for node in self._nodes):
            opsets.append(helper.make_opsetid(CONTRIB, 1))
        model = helper.make_model(
            self.proto(), opset_imports=opsets, ir_version=IR_VERSION, producer_name="cellgate"
        )
        onnx.checker.check_model(model, full_check=True)
        return model
