"""The tensors of a graph as a manifest describes them: inputs, axes, states and outputs.

They know names, shapes, dtypes and meanings; they know nothing of the manifest's other fields, of ONNX
Runtime or of HTTP.
"""

import json
import math
from functools import cached_property
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

InputKind = Literal["numeric", "token", "image", "video"]
OutputKind = Literal["probabilities", "values", "logits"]
DType = Literal["float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool"]
StateDType = DType
Dim = Annotated[int, Field(ge=1)]
Axis = Annotated[int, Field(ge=0, le=3)]


class Spec(BaseModel):
    """A part of a manifest: unknown fields are refused, and it never changes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class InputSpec(Spec):
    """One named input of a time step, and the values that it accepts."""

    name: str = Field(description="its name in a request")
    tensor: str | None = Field(
        None, description="the graph input that receives it; null: the one of the same name"
    )
    kind: InputKind = Field("numeric", description="what its numbers are")
    dtype: DType = Field("float32", description="the dtype of the graph input")
    dims: tuple[Dim, ...] = Field((), description="shape of one time step; () for one number a step")
    per: Literal["step", "sequence"] = Field(
        "step",
        description="sequence: it has no time axis. It is given once, with the first piece of a session or "
        "with a whole sequence, and kept with the session's state",
    )
    carry: int = Field(
        0,
        ge=0,
        description="how many numbers before a step's own, along the first dim, the graph takes too: the "
        "last ones of the steps before, zeros at step 0. The graph's first dim is dims[0] + carry",
    )
    size: Dim | None = Field(
        None, description="token kinds: every id must be below it; null: below the vocabulary's size, if any"
    )
    features: tuple[str, ...] = Field((), description="a name for each feature, in order; empty: unnamed")
    units: tuple[str, ...] = Field((), description="a unit for each feature, in order; empty: not stated")
    vocabulary: tuple[str, ...] = Field((), description="token kinds: entry i is the text of token id i")
    tokenizer: str | None = Field(
        None, description="token kinds that take text: JSON of the `tokenizers` library"
    )
    unknown: int | None = Field(
        None,
        ge=0,
        description="token kinds: the id of tokens that are not in the vocabulary; null: they are refused",
    )
    numbers: Literal["ids", "tokens"] = Field(
        "ids",
        description="token kinds: what a number in a request is: the id of a token, or, where tokens are the "
        'categories of a table, the token that is written so, such as "2"',
    )
    missing: Literal["error", "nan"] = Field(
        "error", description="what a null becomes: an error, or NaN, which the graph must handle"
    )
    missing_token: int | None = Field(
        None, ge=0, description="token kinds: the id that a null becomes; null: it is refused"
    )

    @model_validator(mode="after")
    def _names_fit_the_width(self) -> Self:
        for field in ("features", "units"):
            names: tuple[str, ...] = getattr(self, field)
            if names and len(names) != self.width:
                raise ValueError(f"input {self.name!r}: {len(names)} {field} for {self.width} numbers a step")
        return self

    @model_validator(mode="after")
    def _text_has_a_vocabulary(self) -> Self:
        special = {"unknown": self.unknown, "missing": self.missing_token}
        ids = {meaning: number for meaning, number in special.items() if number is not None}
        if (self.tokenizer is not None or ids) and (self.kind != "token" or not self.vocabulary):
            raise ValueError(f"input {self.name!r}: text needs the kind token and a vocabulary")
        if self.numbers == "tokens" and not self.vocabulary:
            raise ValueError(f"input {self.name!r}: numbers that are tokens need a vocabulary")
        for meaning, number in ids.items():
            if number >= len(self.vocabulary):
                raise ValueError(f"input {self.name!r}: the {meaning} token is not in the vocabulary")
        return self

    @model_validator(mode="after")
    def _size_bounds_tokens(self) -> Self:
        if self.size is not None and self.kind != "token":
            raise ValueError(f"input {self.name!r}: size is the number of token ids; its kind is {self.kind}")
        if self.size is not None and self.size < len(self.vocabulary):
            raise ValueError(
                f"input {self.name!r}: size {self.size} is less than the {len(self.vocabulary)} tokens of "
                "the vocabulary"
            )
        return self

    @model_validator(mode="after")
    def _carry_has_a_dim(self) -> Self:
        if self.carry and (self.per == "sequence" or not self.dims):
            raise ValueError(
                f"input {self.name!r}: carry continues the first dim of a step, "
                + ("but it has no steps" if self.per == "sequence" else "but dims is empty")
            )
        return self

    @cached_property
    def graph_input(self) -> str:
        """The graph input that receives it."""
        return self.name if self.tensor is None else self.tensor

    @cached_property
    def takes_integers(self) -> bool:
        """Whether a time step holds integers."""
        return self.kind == "token" or self.dtype.startswith(("int", "uint"))

    @cached_property
    def takes_null(self) -> bool:
        """Whether a null is a value: a missing number, or the token of a missing category."""
        return self.missing_token is not None if self.kind == "token" else self.missing == "nan"

    @cached_property
    def num_ids(self) -> int | None:
        """Token kinds: every id is below it. None: only the graph knows."""
        return len(self.vocabulary) or self.size

    @cached_property
    def graph_dims(self) -> tuple[int, ...]:
        """The shape of one time step in the graph: `dims`, and what is carried over from the steps before."""
        return (self.dims[0] + self.carry, *self.dims[1:]) if self.carry else self.dims

    @cached_property
    def kept_shape(self) -> tuple[int, ...] | None:
        """The shape of what is kept of this input with a session's state; None: nothing."""
        if self.per == "sequence":
            return self.dims
        return (self.carry, *self.dims[1:]) if self.carry else None

    @cached_property
    def ids(self) -> dict[str, int]:
        """The id of each token of the vocabulary."""
        return {token: index for index, token in enumerate(self.vocabulary)}

    @cached_property
    def longest(self) -> int:
        """Characters of the longest token, and one for the separator before the next."""
        return max(map(len, self.vocabulary), default=0) + 1

    @cached_property
    def width(self) -> int:
        """Numbers in one time step."""
        width = 1
        for dim in self.dims:
            width *= dim
        return width


class Axes(Spec):
    """The positions of the batch and time axes in a tensor of the graph; the other axes are the dims."""

    batch: Axis | None = Field(0, description="position of the batch axis; null: there is none")
    time: Axis | None = Field(1, description="position of the time axis; null: there is none")
    batch_size: Dim | None = Field(
        None, description="set where the graph fixes the batch: calls with fewer sequences are filled up"
    )
    time_size: Dim | None = Field(
        None,
        description="set where the graph fixes the time axis. 1: one step a call. T, without states: a "
        "sequence has exactly T steps. T, with states: a multiple of T",
    )

    @model_validator(mode="after")
    def _axes_differ(self) -> Self:
        if self.batch is not None and self.batch == self.time:
            raise ValueError(f"batch and time cannot both be axis {self.batch}")
        return self

    @model_validator(mode="after")
    def _sizes_have_an_axis(self) -> Self:
        for name in ("batch", "time"):
            size = getattr(self, f"{name}_size")
            if size is not None and getattr(self, name) is None:
                raise ValueError(f"{name}_size is {size}, but there is no {name} axis ({name} is null)")
        return self


class StateSpec(Spec):
    """A recurrent tensor, input and output of the graph: one row of the batch axis per sequence."""

    input: str = Field(description="the graph input that takes it")
    output: str = Field(description="the graph output that holds its new value")
    shape: tuple[Dim | Literal["batch"], ...] = Field(
        description="e.g. [1, 'batch', 128]; without 'batch', a call holds one sequence"
    )
    dtype: StateDType = Field("float32", description="the dtype of the graph input and output")
    initial: float = Field(0.0, description="value of every element at step 0")
    grows: Axis | None = Field(
        None,
        description="position in `shape` of an axis that has the size 0 at step 0 and grows, at most to the "
        "size in `shape`, as a cache of the last steps does; null: the shape is the same in every step",
    )

    @model_validator(mode="after")
    def _a_sized_axis_grows(self) -> Self:
        if self.grows is not None and (self.grows >= len(self.shape) or self.shape[self.grows] == "batch"):
            raise ValueError(
                f"state {self.input!r}: axis {self.grows} of {list(self.shape)} cannot grow: expected the "
                "position of a size, which is the largest"
            )
        return self

    @model_validator(mode="after")
    def _at_most_one_batch_axis(self) -> Self:
        if self.shape.count("batch") > 1:
            raise ValueError(f"state {self.input!r}: more than one batch axis in {list(self.shape)}")
        return self

    @model_validator(mode="after")
    def _initial_has_the_dtype(self) -> Self:
        if not self.dtype.startswith("float") and not _is_in(self.initial, self.dtype):
            raise ValueError(f"state {self.input!r}: the initial value {self.initial} is not {self.dtype}")
        return self

    @cached_property
    def batch_axis(self) -> int | None:
        """Position of the batch axis; None if there is none: then a batch holds one sequence."""
        return self.shape.index("batch") if "batch" in self.shape else None

    @cached_property
    def row_shape(self) -> tuple[int, ...]:
        """Shape of one sequence's state: `shape` without the batch axis."""
        return tuple(dim for dim in self.shape if dim != "batch")

    @cached_property
    def row_grows(self) -> int | None:
        """Position in `row_shape` of the axis that grows; None: the shape is the same in every step."""
        if self.grows is None:
            return None
        return self.grows - (self.batch_axis is not None and self.batch_axis < self.grows)

    @cached_property
    def initial_shape(self) -> tuple[int, ...]:
        """Shape of one sequence's state at step 0."""
        return tuple(0 if axis == self.row_grows else size for axis, size in enumerate(self.row_shape))

    def allows(self, shape: tuple[int, ...]) -> bool:
        """Whether a tensor of the graph, with its batch axis, may have this shape."""
        return len(shape) == len(self.shape) and all(
            most in ("batch", size) or (axis == self.grows and size <= int(most))
            for axis, (size, most) in enumerate(zip(shape, self.shape, strict=True))
        )


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
        return "value" if self.quantile is None else f"q{self.quantile * 100:.10g}"


class OutputSpec(Spec):
    """An output of a time step."""

    name: str = Field(description="the graph output; it may be the new value of a state too")
    kind: OutputKind = Field("values", description="what its numbers are")
    dtype: DType = Field("float32", description="the dtype of the graph output")
    dims: tuple[Dim, ...] = Field((), description="shape of one time step; () for one number")
    axes: Axes | None = Field(
        None, description="where they differ from those of the inputs; null: those of the inputs"
    )
    labels: tuple[str, ...] = Field((), description="probabilities: entry i names class i")
    units: tuple[str, ...] = Field((), description="a unit for each number, in order; empty: not stated")
    forecasts: tuple[ForecastSpec, ...] = Field(
        (), description="what each number forecasts, in order; empty: not stated"
    )
    steps: Literal["all", "last"] = Field("all", description="last: the graph keeps only the final step")

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
    def _forecasts_fit(self) -> Self:
        width, count = math.prod(self.dims), len(self.forecasts)
        if self.forecasts and (self.kind != "values" or count != width):
            raise ValueError(f"output {self.name!r}: {count} forecasts for {width} {self.kind}")
        named = [(forecast.feature, forecast.steps, forecast.quantile) for forecast in self.forecasts]
        twice = {(feature, steps) for feature, steps, quantile in named if quantile is None}
        if len(set(named)) < len(named) or any(each[:2] in twice and each[2] for each in named):
            raise ValueError(f"output {self.name!r}: two forecasts are of the same value")
        return self

    @cached_property
    def longest_label(self) -> int:
        """Characters of the longest label as JSON, with the comma after it."""
        return max((len(json.dumps(label)) for label in self.labels), default=4) + 1


def written_forms(value: bool | float) -> tuple[str, ...]:
    """How a table may write a number or a boolean; the first is the usual form."""
    if isinstance(value, bool):
        return ("true", "True", "TRUE") if value else ("false", "False", "FALSE")
    if math.isfinite(value) and value == int(value):
        return (str(int(value)), f"{int(value)}.0")
    return (repr(value),)


def _is_in(value: float, dtype: str) -> bool:
    """Whether an integer or boolean dtype has this value."""
    bits = 1 if dtype == "bool" else int(dtype.lstrip("uint"))
    signed = dtype.startswith("int")
    lowest, highest = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return value.is_integer() and lowest <= value <= highest
