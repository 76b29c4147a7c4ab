"""An output of a time step, and what its numbers forecast or estimate."""

import json
import math
from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from service.specs.axes import Axes
from service.specs.spec import Dim, DType, Spec

Threshold = Annotated[float, Field(gt=0, le=1)]
OutputKind = Literal["probabilities", "labels", "values", "logits", "gates"]


class ForecastSpec(Spec):
    """What one number of an output forecasts."""

    feature: str = Field(description="a feature of an input with time steps, by its name")
    steps: int = Field(1, ge=1, description="how many steps ahead; 1: the next input's value")
    quantile: float | None = Field(
        None, gt=0, lt=1, description="the probability that the value is below; null: it is the value itself"
    )

    @cached_property
    def short_name(self) -> str:
        """Its name in replies and tables, below the feature and the steps: "q5", "q50", or "value"."""
        return _short_name(self.quantile)


class EstimateSpec(Spec):
    """What one number of an output estimates: a number of the sequence, or of a step, that is no input."""

    target: str = Field(description="its name")
    quantile: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="the probability that the number is below; null: it is the number itself",
    )

    @cached_property
    def short_name(self) -> str:
        """Its name in replies and tables, below the target: "q5", "q50", or "value"."""
        return _short_name(self.quantile)


def _short_name(quantile: float | None) -> str:
    return "value" if quantile is None else f"q{quantile * 100:.10g}"


class GatesSpec(Spec):
    """The gates of one layer of a recurrent network, which an output shows step by step."""

    names: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        min_length=1,
        description="a name for each gate; the output has the units of each, one after the other",
    )
    layer: int = Field(0, ge=0, description="the layer, from 0, the lowest")
    direction: Literal["forward", "backward"] = Field(
        "forward", description="backward: of a layer that reads the sequence from its end"
    )


class OutputSpec(Spec):
    """An output of a time step."""

    name: str = Field(description="the graph output; it may be the new value of a state too")
    kind: OutputKind = Field(
        "values",
        description="what its numbers are. probabilities: of classes, one of which is true; labels: "
        "probabilities of labels that are true or not independently of each other",
    )
    dtype: DType = Field("float32", description="the dtype of the graph output")
    dims: tuple[Dim, ...] = Field((), description="shape of one time step; () for one number")
    axes: Axes | None = Field(
        None, description="where they differ from those of the inputs; null: those of the inputs"
    )
    labels: tuple[str, ...] = Field((), description="entry i names class i, label i, or number i")
    thresholds: tuple[Threshold, ...] = Field(
        (),
        description="of the kind labels: the probability from which on each label is predicted; empty: 0.5",
    )
    units: tuple[str, ...] = Field((), description="a unit for each number, in order; empty: not stated")
    forecasts: tuple[ForecastSpec, ...] = Field(
        (), description="what each number forecasts, in order; empty: not stated"
    )
    estimates: tuple[EstimateSpec, ...] = Field(
        (), description="what each number estimates, in order; empty: not stated"
    )
    steps: Literal["all", "last"] = Field("all", description="last: the graph keeps only the final step")
    gates: GatesSpec | None = Field(
        None, description="the kind gates: which gates they are; computed only for requests that ask for them"
    )

    @model_validator(mode="after")
    def _axes_have_no_sizes(self) -> Self:
        if self.axes is not None and (self.axes.batch_size or self.axes.time_size):
            raise ValueError(f"output {self.name!r}: batch_size and time_size belong to the manifest's axes")
        return self

    @model_validator(mode="after")
    def _labels_fit(self) -> Self:
        if self.labels and self.dims != (len(self.labels),):
            raise ValueError(f"output {self.name!r}: {len(self.labels)} labels for dims {list(self.dims)}")
        return self

    @model_validator(mode="after")
    def _independent_labels_have_names(self) -> Self:
        if self.kind == "labels" and (not self.labels or len(set(self.labels)) < len(self.labels)):
            raise ValueError(f"output {self.name!r}: the kind labels needs a different name for each label")
        if self.kind == "labels" and not self.dtype.startswith("float"):
            raise ValueError(f"output {self.name!r}: {self.dtype} holds no probabilities of labels")
        if self.thresholds and (self.kind != "labels" or len(self.thresholds) != len(self.labels)):
            raise ValueError(
                f"output {self.name!r}: {len(self.thresholds)} thresholds for {len(self.labels)} labels of "
                f"the kind {self.kind}"
            )
        return self

    @model_validator(mode="after")
    def _forecasts_fit(self) -> Self:
        width, count = math.prod(self.dims), len(self.forecasts)
        if self.forecasts and (self.kind != "values" or count != width):
            raise ValueError(f"output {self.name!r}: {count} forecasts for {width} {self.kind}")
        named = [(forecast.feature, forecast.steps, forecast.quantile) for forecast in self.forecasts]
        twice = {(feature, steps) for feature, steps, quantile in named if quantile is None}
        if len(set(named)) < len(named) or any(each[:2] in twice and each[2] for each in named):
            raise ValueError(f"output {self.name!r}: two forecasts are of the same value")
        return self

    @model_validator(mode="after")
    def _estimates_fit(self) -> Self:
        width, count = math.prod(self.dims), len(self.estimates)
        if self.estimates and (self.kind != "values" or count != width):
            raise ValueError(f"output {self.name!r}: {count} estimates for {width} {self.kind}")
        if self.estimates and self.forecasts:
            raise ValueError(f"output {self.name!r}: its numbers are forecasts or estimates, not both")
        named = [(one.target, one.quantile) for one in self.estimates]
        alone = {target for target, quantile in named if quantile is None}
        if len(set(named)) < len(named) or any(target in alone and quantile for target, quantile in named):
            raise ValueError(f"output {self.name!r}: two estimates are of the same number")
        return self

    @model_validator(mode="after")
    def _gates_fit(self) -> Self:
        if (self.kind == "gates") != (self.gates is not None):
            raise ValueError(f'output {self.name!r}: the kind "gates" and the field gates need each other')
        if self.gates is None:
            return self
        if len(set(self.gates.names)) < len(self.gates.names):
            raise ValueError(f"output {self.name!r}: a gate appears twice")
        if math.prod(self.dims) % len(self.gates.names):
            raise ValueError(
                f"output {self.name!r}: {math.prod(self.dims)} numbers are not the units of "
                f"{len(self.gates.names)} gates"
            )
        if self.steps == "last":
            raise ValueError(f"output {self.name!r}: gates are of every step")
        return self

    @cached_property
    def longest_label(self) -> int:
        """Characters of the longest label as JSON, with the comma after it."""
        return max((len(json.dumps(label)) for label in self.labels), default=4) + 1

    @cached_property
    def label_thresholds(self) -> tuple[float, ...]:
        """Of the kind labels: the threshold of each label."""
        return self.thresholds or (0.5,) * len(self.labels)


def gates_fault(outputs: Sequence[OutputSpec]) -> str | None:
    """Why these cannot be the outputs of one graph: the places of those with gates, or their gates."""
    places = [index for index, spec in enumerate(outputs) if spec.gates is not None]
    if len(places) == len(outputs):
        return "an output is needed that is not gates"
    if places != list(range(len(outputs) - len(places), len(outputs))):
        return "the outputs that are gates must follow all others"
    found = [
        (spec.gates.layer, spec.gates.direction, name)
        for spec in outputs
        if spec.gates is not None
        for name in spec.gates.names
    ]
    return "two outputs have the same gate of a layer" if len(set(found)) < len(found) else None
