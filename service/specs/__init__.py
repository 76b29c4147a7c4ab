"""The tensors of a graph as a manifest describes them: inputs, axes, states and outputs, one file each.

They know names, shapes, dtypes and meanings; they know nothing of the manifest's other fields, of ONNX
Runtime or of HTTP.
"""

from service.specs.axes import Axes
from service.specs.input import InputKind, InputSpec, written_forms
from service.specs.output import EstimateSpec, ForecastSpec, OutputKind, OutputSpec
from service.specs.spec import Axis, Dim, DType, Spec
from service.specs.state import StateSpec

__all__ = [
    "Axes",
    "Axis",
    "DType",
    "Dim",
    "EstimateSpec",
    "ForecastSpec",
    "InputKind",
    "InputSpec",
    "OutputKind",
    "OutputSpec",
    "Spec",
    "StateSpec",
    "written_forms",
]
