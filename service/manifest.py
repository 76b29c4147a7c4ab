"""The contract between an ONNX graph and the server: `model.json`, beside `model.onnx`.

The manifest knows names, shapes and meanings; it knows nothing of ONNX Runtime, HTTP or PyTorch.
"""

from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

MANIFEST_FILE = "model.json"
GRAPH_FILE = "model.onnx"

Task = Literal["classify", "label", "forecast", "language"]
InputKind = Literal["numeric", "token", "image", "video"]
OutputKind = Literal["probabilities", "values", "logits"]
DType = Literal["float32", "float64", "float16", "int64", "int32"]
StateDType = Literal["float32", "float64", "float16"]
Dim = Annotated[int, Field(ge=1)]


class _Spec(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class InputSpec(_Spec):
    """One named input of a time step, and the values that it accepts."""

    name: str = Field(description="its name in a request")
    tensor: str | None = Field(
        None, description="the graph input that receives it; null: the one of the same name"
    )
    kind: InputKind = "numeric"
    dtype: DType = "float32"
    dims: tuple[Dim, ...] = Field((), description="shape of one time step; () for one token id a step")
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
        for meaning, number in ids.items():
            if number >= len(self.vocabulary):
                raise ValueError(f"input {self.name!r}: the {meaning} token is not in the vocabulary")
        return self

    @cached_property
    def graph_input(self) -> str:
        """The graph input that receives it."""
        return self.name if self.tensor is None else self.tensor

    @cached_property
    def takes_integers(self) -> bool:
        """Whether a time step holds integers."""
        return self.kind == "token" or self.dtype.startswith("int")

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


class Axes(_Spec):
    """The batch and time axes of inputs and outputs. None: the graph has no such axis."""

    batch: Literal[0, 1] | None = 0
    time: Literal[0, 1] | None = 1
    batch_size: Dim | None = Field(None, description="set where the graph fixes the batch, e.g. 1")

    @model_validator(mode="after")
    def _axes_differ(self) -> Self:
        if self.batch is not None and self.batch == self.time:
            raise ValueError(f"batch and time cannot both be axis {self.batch}")
        return self


class StateSpec(_Spec):
    """A recurrent tensor, input and output of the graph: one row of the batch axis per sequence."""

    input: str
    output: str
    shape: tuple[Dim | Literal["batch"], ...] = Field(description="e.g. [1, 'batch', 128]")
    dtype: StateDType = "float32"
    initial: float = Field(0.0, description="value of every element at step 0")

    @model_validator(mode="after")
    def _at_most_one_batch_axis(self) -> Self:
        if self.shape.count("batch") > 1:
            raise ValueError(f"state {self.input!r}: more than one batch axis in {list(self.shape)}")
        return self

    @cached_property
    def batch_axis(self) -> int | None:
        """Position of the batch axis; None if there is none: then a batch holds one sequence."""
        return self.shape.index("batch") if "batch" in self.shape else None

    @cached_property
    def row_shape(self) -> tuple[int, ...]:
        """Shape of one sequence's state: `shape` without the batch axis."""
        return tuple(dim for dim in self.shape if dim != "batch")


class OutputSpec(_Spec):
    """The output of a time step."""

    name: str
    kind: OutputKind = "values"
    dims: tuple[Dim, ...] = Field((), description="shape of one time step; () for one number")
    labels: tuple[str, ...] = Field((), description="probabilities: entry i names class i")
    units: tuple[str, ...] = ()
    steps: Literal["all", "last"] = Field("all", description="last: the graph keeps only the final step")

    @model_validator(mode="after")
    def _labels_fit(self) -> Self:
        if self.labels and self.dims != (len(self.labels),):
            raise ValueError(f"output {self.name!r}: {len(self.labels)} labels for dims {list(self.dims)}")
        return self


class Example(_Spec):
    """A real sequence and its output, which every load computes again."""

    steps: list[Any] | dict[str, list[Any]] = Field(description="`steps` of a request to `/predict`")
    output: list[Any] = Field(description="the expected output at the last step")
    label: str | None = None
    tolerance: float = Field(1e-4, gt=0, description="largest absolute difference that still passes")


class Provenance(_Spec):
    """Where the graph came from, and how to reproduce it."""

    data_set: str
    citation: str = ""
    license: str = ""
    command: str = ""
    seed: int | None = None
    created: str = Field("", description="ISO 8601, UTC")
    versions: dict[str, str] = Field(default_factory=dict)
    parity: dict[str, float] = Field(
        default_factory=dict, description="max abs difference between PyTorch and ONNX Runtime, by tensor"
    )


class Manifest(_Spec):
    """All that the service needs to know about a graph. `schema_version` is that of this format."""

    schema_version: Literal[1] = 1
    description: str = ""
    task: Task
    causal: bool = Field(True, description="false: needs the whole sequence, so sessions are refused")
    inputs: tuple[InputSpec, ...] = Field(min_length=1)
    lengths: str | None = Field(None, description="graph input [batch] int32: the true steps of each row")
    constants: dict[str, Any] = Field(default_factory=dict, description="extra graph inputs, fixed")
    axes: Axes = Axes()
    states: tuple[StateSpec, ...] = ()
    outputs: tuple[OutputSpec, ...] = Field(
        min_length=1, description="the first is the output that `/predict` returns"
    )
    example: Example | None = None
    metrics: dict[str, float] = Field(default_factory=dict, description="on the test split")
    provenance: Provenance | None = None

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        requested = [spec.name for spec in self.inputs]
        graph_inputs = [spec.graph_input for spec in self.inputs] + [state.input for state in self.states]
        graph_inputs += [*self.constants, *([self.lengths] if self.lengths else [])]
        graph_outputs = [spec.name for spec in self.outputs] + [state.output for state in self.states]
        for names in (requested, graph_inputs, graph_outputs):
            duplicates = {name for name in names if names.count(name) > 1}
            if duplicates:
                raise ValueError(f"named twice: {', '.join(sorted(duplicates))}")
        return self

    @cached_property
    def chunkable(self) -> bool:
        """Whether a sequence may be cut, and its state carried over, as sessions and chunks need."""
        return self.causal and bool(self.states)

    @cached_property
    def default_return(self) -> Literal["last", "all"]:
        """The default of "return" in `/predict`: every step if the task is to label every step."""
        return "all" if self.task == "label" and self.outputs[0].steps == "all" else "last"

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read `model.json` from a version folder. Raises OSError, or pydantic.ValidationError."""
        return cls.model_validate_json((folder / MANIFEST_FILE).read_bytes())

    def write(self, folder: Path) -> None:
        """Write `model.json` into a version folder."""
        text = self.model_dump_json(indent=1, exclude_defaults=False)
        (folder / MANIFEST_FILE).write_text(text + "\n")
