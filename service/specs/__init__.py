"""The tensors of a graph as a manifest describes them: inputs, axes, states and outputs, one file each.

Beside them is the provenance of the graph.

They know names, shapes, dtypes and meanings; they know nothing of the manifest's other fields, of ONNX
Runtime or of HTTP.
"""

from service.specs.axes import Axes
from service.specs.input import InputKind, InputSpec, written_forms
from service.specs.output import (
    EstimateSpec,
    ForecastSpec,
    GatesSpec,
    OutputKind,
    OutputSpec,
    gates_fault,
)
from service.specs.provenance import ParityCheck, Provenance
from service.specs.spec import Axis, Dim, DType, Spec
from service.specs.state import StateSpec

__all__ = [
    "Axes",
    "Axis",
    "DType",
    "Dim",
    "EstimateSpec",
    "ForecastSpec",
    "GatesSpec",
    "InputKind",
    "InputSpec",
    "OutputKind",
    "OutputSpec",
    "ParityCheck",
    "Provenance",
    "Spec",
    "StateSpec",
    "gates_fault",
    "written_forms",
]
