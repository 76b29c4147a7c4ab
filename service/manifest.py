"""The contract between an ONNX graph and the server: `model.json`, beside `model.onnx`.

The manifest knows names, shapes and meanings; it knows nothing of ONNX Runtime, HTTP or PyTorch.
"""

import errno
import os
import stat
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from service.calendar import CalendarFeature, CalendarPart, calendar, features_of
from service.specs import (
    Axes,
    Axis,
    Dim,
    DType,
    EstimateSpec,
    ForecastSpec,
    GatesSpec,
    InputKind,
    InputSpec,
    OutputKind,
    OutputSpec,
    ParityCheck,
    Provenance,
    Spec,
    StateSpec,
    gates_fault,
    written_forms,
)
from service.table import LabelsSpec, TableColumn, TableSpec
from service.times import TimeSpec

__all__ = [
    "GRAPH_FILE",
    "MANIFEST_FILE",
    "Axes",
    "Axis",
    "CalendarFeature",
    "CalendarPart",
    "DType",
    "Dim",
    "EstimateSpec",
    "Example",
    "ForecastSpec",
    "GatesSpec",
    "InputKind",
    "InputSpec",
    "LabelsSpec",
    "Manifest",
    "OutputKind",
    "OutputSpec",
    "ParityCheck",
    "Provenance",
    "StateSpec",
    "TableColumn",
    "TableSpec",
    "Task",
    "TimeSpec",
    "calendar",
    "features_of",
    "written_forms",
]

MANIFEST_FILE = "model.json"
GRAPH_FILE = "model.onnx"
MAX_MANIFEST_BYTES = 1 << 28  # of a tokenizer and its vocabulary, above all

Task = Literal["classify", "label", "multilabel", "regress", "forecast", "language"]
InputColumns = tuple[tuple[InputSpec, tuple[TableColumn, ...]], ...]  # inputs with their columns of a table


class Example(Spec):
    """A real sequence and its output, which every load computes again."""

    steps: list[Any] | dict[str, Any] = Field(description="`steps` of a request to `/predict`")
    output: list[Any] | bool | int | float = Field(description="the expected output at the last step")
    label: str | None = Field(None, description="the expected label")
    tolerance: float = Field(1e-4, gt=0, description="largest absolute difference that still passes")


class Manifest(Spec):
    """All that the service needs to know about a graph. `schema_version` is that of this format."""

    schema_version: Literal[1] = Field(1, description="of this format")
    description: str = Field("", description="for people; the service does not read it")
    task: Task = Field(description="decides what is returned by default: label: every step; else the last")
    pool: Literal["last", "ends", "mean", "attention"] | None = Field(
        None,
        description="for people: what the answer for a sequence is read from. last: the last step; ends: two "
        "directions, each where it has read all steps; mean, attention: all steps up to the last; null: not "
        "stated",
    )
    causal: bool = Field(True, description="false: needs the whole sequence, so sessions are refused")
    inputs: tuple[InputSpec, ...] = Field(min_length=1, description="the inputs of a request")
    lengths: str | None = Field(
        None, description="graph input [batch], int32 or int64: the true steps of each row"
    )
    constants: dict[str, Any] = Field(default_factory=dict, description="extra graph inputs, fixed")
    axes: Axes = Field(Axes(), description="the axes of the inputs and, by default, of the outputs")
    states: tuple[StateSpec, ...] = Field((), description="the tensors that a session keeps")
    outputs: tuple[OutputSpec, ...] = Field(
        min_length=1, description="the first is the output that `/predict` returns by default"
    )
    non_finite: Literal["refuse", "allow"] = Field(
        "refuse",
        description="what NaN or an infinity in an output or a new state is: an error, which leaves the "
        "session as it was, or an answer",
    )
    example: Example | None = Field(None, description="required to be served")
    table: TableSpec | None = Field(
        None, description="how the table that it was trained on is read; null: it was trained on no table"
    )
    metrics: dict[str, float] = Field(
        default_factory=dict,
        description="on the test split; also the temperature, or the margins, that the graph applies",
    )
    provenance: Provenance | None = Field(None, description="where the graph came from")

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        requested = [spec.name for spec in self.inputs]
        graph_inputs = [spec.graph_input for spec in self.inputs] + [state.input for state in self.states]
        graph_inputs += [*self.constants, *([self.lengths] if self.lengths else [])]
        answers, new_states = [spec.name for spec in self.outputs], [state.output for state in self.states]
        for names in (requested, graph_inputs, answers, new_states):
            duplicates = {name for name in names if names.count(name) > 1}
            if duplicates:
                raise ValueError(f"named twice: {', '.join(sorted(duplicates))}")
        return self

    @model_validator(mode="after")
    def _forecasts_are_of_features(self) -> Self:
        features = [name for spec in self.step_inputs for name in spec.features]
        for output in self.outputs:
            for forecast in output.forecasts:
                if features.count(forecast.feature) != 1:
                    known = ", ".join(map(repr, features)) or "none is named"
                    raise ValueError(
                        f"output {output.name!r}: a forecast of {forecast.feature!r}, which must be one of "
                        f"the features ({known})"
                    )
        return self

    @model_validator(mode="after")
    def _labels_fit_the_task(self) -> Self:
        if (self.task == "multilabel") != (self.outputs[0].kind == "labels"):
            raise ValueError(
                f"the task is {self.task!r} and the first output has the kind {self.outputs[0].kind!r}: "
                "the task multilabel and the kind labels belong together"
            )
        return self

    @model_validator(mode="after")
    def _gates_fit(self) -> Self:
        if fault := gates_fault(self.outputs):
            raise ValueError(fault)
        return self

    @model_validator(mode="after")
    def _some_input_has_steps(self) -> Self:
        if not self.step_inputs:
            raise ValueError('every input is per "sequence"; at least one must be per "step"')
        return self

    @model_validator(mode="after")
    def _table_fits_the_inputs(self) -> Self:
        if self.table is not None and (fault := self.table.fault(self.inputs)):
            raise ValueError(f"table: {fault}")
        return self

    @cached_property
    def step_inputs(self) -> tuple[InputSpec, ...]:
        """The inputs with time steps, in order: those of `Sequence.inputs`."""
        return tuple(spec for spec in self.inputs if spec.per == "step")

    @cached_property
    def sequence_inputs(self) -> tuple[InputSpec, ...]:
        """The inputs without a time axis: their values are part of the state."""
        return tuple(spec for spec in self.inputs if spec.per == "sequence")

    @cached_property
    def kept_inputs(self) -> tuple[InputSpec, ...]:
        """The inputs of which the state holds something, in the order of its tensors after `states`."""
        return tuple(spec for spec in self.inputs if spec.kept_shape is not None)

    @cached_property
    def table_inputs(self) -> InputColumns:
        """Each input with time steps, and the columns of the table that it is read from."""
        return self._with_columns(self.step_inputs)

    @cached_property
    def static_inputs(self) -> InputColumns:
        """The same of each input without time steps."""
        return self._with_columns(self.sequence_inputs)

    def _with_columns(self, specs: tuple[InputSpec, ...]) -> InputColumns:
        return tuple((spec, self.table.of_input(spec.name) if self.table else ()) for spec in specs)

    @cached_property
    def static_columns(self) -> frozenset[str]:
        """The columns of the table that have one value in a sequence, which its session keeps."""
        return frozenset(column.name for _, columns in self.static_inputs for column in columns)

    @cached_property
    def required_columns(self) -> frozenset[str]:
        """The columns of the table that a step must have: null is refused there."""
        return frozenset(
            column.name
            for spec, columns in self.table_inputs
            for column in columns
            if column.is_own and not spec.takes_null
        )

    @cached_property
    def keeps_time(self) -> bool:
        """Whether the state holds the time of the last step, behind what is kept of inputs."""
        return self.table is not None and self.table.time is not None

    @cached_property
    def names_forecasts(self) -> bool:
        """Whether replies have forecasts and estimates by the names of the table, beside the numbers."""
        return self.table is not None and any(spec.forecasts or spec.estimates for spec in self.outputs)

    @cached_property
    def has_independent_steps(self) -> bool:
        """Whether the graph computes one step a call and passes nothing on to the next."""
        return not self.states and (self.axes.time is None or self.axes.time_size == 1)

    @cached_property
    def gates(self) -> tuple[int, ...]:
        """The outputs that are gates, by index."""
        return tuple(index for index, spec in enumerate(self.outputs) if spec.gates is not None)

    def without_gates(self) -> Self:
        """The same without the outputs that are gates."""
        return self.model_copy(update={"outputs": tuple(x for x in self.outputs if x.gates is None)})

    @cached_property
    def grows(self) -> bool:
        """Whether a state is empty at step 0 and grows."""
        return any(state.grows is not None for state in self.states)

    @cached_property
    def chunkable(self) -> bool:
        """Whether a sequence may be cut, and its state carried over, as sessions and chunks need."""
        has_carry = any(spec.carry for spec in self.inputs)
        is_conditioned = self.has_independent_steps and bool(self.sequence_inputs)
        return self.causal and (bool(self.states) or has_carry or is_conditioned)

    @cached_property
    def exact_steps(self) -> int | None:
        """The steps that every sequence must have; None: any number."""
        size = self.axes.time_size
        return None if size is None or size == 1 or self.chunkable else size

    @cached_property
    def step_multiple(self) -> int:
        """A sequence, and a piece of a session, has a multiple of so many steps."""
        return (self.axes.time_size or 1) if self.chunkable else 1

    def steps_fault(self, steps: int) -> str | None:
        """Why the graph does not take so many steps in a sequence, or a piece of a session."""
        if self.exact_steps is not None and steps != self.exact_steps:
            return f"expected exactly {self.exact_steps} steps, got {steps}"
        if steps % self.step_multiple:
            return f"expected a multiple of {self.step_multiple} steps, got {steps}"
        return None

    @cached_property
    def default_return(self) -> Literal["last", "all"]:
        """The default of "return" in `/predict`: every step if the task is to label every step."""
        return "all" if self.task == "label" and self.outputs[0].steps == "all" else "last"

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read `model.json` from a version folder. Raises OSError, or pydantic.ValidationError."""
        return cls.model_validate_json(_read(folder / MANIFEST_FILE))

    def write(self, folder: Path) -> None:
        """Write `model.json` into a version folder."""
        text = self.model_dump_json(indent=1, exclude_defaults=False)
        (folder / MANIFEST_FILE).write_text(text + "\n")


def _read(path: Path) -> bytes:
    """The bytes of a regular file: a pipe could block for ever, a device have no end. Raises OSError."""
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        if status.st_size > MAX_MANIFEST_BYTES:
            raise OSError(errno.EFBIG, f"larger than {MAX_MANIFEST_BYTES} bytes")
        return file.read(status.st_size)
