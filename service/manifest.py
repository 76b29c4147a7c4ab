"""The contract between an ONNX graph and the server: `model.json`, which lies beside `model.onnx`.

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
Dim = Annotated[int, Field(ge=1)]


class _Spec(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class InputSpec(_Spec):
    """One named input of a time step, and what the service accepts for it."""

    name: str = Field(description="what a request calls it")
    tensor: str | None = Field(
        None, description="the graph input that receives it; null: the one of its name"
    )
    kind: InputKind = "numeric"
    dtype: DType = "float32"
    dims: tuple[Dim, ...] = Field((), description="shape of one time step; () for one token id a step")
    features: tuple[str, ...] = Field((), description="a name for each feature, in order; empty = unnamed")
    units: tuple[str, ...] = Field((), description="a unit for each feature, in order; empty = unstated")
    vocabulary: tuple[str, ...] = Field((), description="token kinds: entry i is the text of token id i")
    tokenizer: str | None = Field(
        None, description="token kinds that take text: JSON of the `tokenizers` library"
    )
    unknown: int | None = Field(
        None, ge=0, description="token kinds: the id for a token that is not in the vocabulary; null: refused"
    )
    missing: Literal["error", "nan"] = Field(
        "error", description="what a null becomes: refused, or NaN that the graph knows how to treat"
    )
    missing_token: int | None = Field(
        None, ge=0, description="token kinds: the id that a null becomes; null: it is refused"
    )

    @model_validator(mode="after")
    def _names_fit_the_width(self) -> Self:
        for field in ("features", "units"):
            given: tuple[str, ...] = getattr(self, field)
            if given and len(given) != self.width:
                raise ValueError(f"input {self.name!r}: {len(given)} {field} for {self.width} numbers a step")
        return self

    @model_validator(mode="after")
    def _text_has_a_vocabulary(self) -> Self:
        chosen = {"unknown": self.unknown, "missing": self.missing_token}
        ids = {what: number for what, number in chosen.items() if number is not None}
        if (self.tokenizer is not None or ids) and (self.kind != "token" or not self.vocabulary):
            raise ValueError(f"input {self.name!r}: text needs the kind token and a vocabulary")
        for what, number in ids.items():
            if number >= len(self.vocabulary):
                raise ValueError(f"input {self.name!r}: the {what} token is not in the vocabulary")
        return self

    @property
    def graph_input(self) -> str:
        """The graph input that receives it."""
        return self.name if self.tensor is None else self.tensor

    @cached_property
    def ids(self) -> dict[str, int]:
        """The id of each token of the vocabulary."""
        return {token: index for index, token in enumerate(self.vocabulary)}

    @cached_property
    def longest(self) -> int:
        """Characters of the longest token, and one for what parts it from the next."""
        return max(map(len, self.vocabulary), default=0) + 1

    @property
    def width(self) -> int:
        """How many numbers one time step holds."""
        width = 1
        for dim in self.dims:
            width *= dim
        return width


class Axes(_Spec):
    """Which axis of inputs and outputs is which. None = the graph has no such axis."""

    batch: Literal[0, 1] | None = 0
    time: Literal[0, 1] | None = 1
    batch_size: Dim | None = Field(None, description="set where the graph fixes the batch, e.g. 1")

    @model_validator(mode="after")
    def _axes_differ(self) -> Self:
        if self.batch is not None and self.batch == self.time:
            raise ValueError(f"batch and time cannot both be axis {self.batch}")
        return self


class StateSpec(_Spec):
    """A recurrent tensor that goes in and comes out of the graph; one row of the batch axis per sequence."""

    input: str
    output: str
    shape: tuple[Dim | Literal["batch"], ...] = Field(description="e.g. [1, 'batch', 128]")
    dtype: Literal["float32", "float64", "float16"] = "float32"
    initial: float = Field(0.0, description="value of every element at step 0")

    @model_validator(mode="after")
    def _at_most_one_batch_axis(self) -> Self:
        if self.shape.count("batch") > 1:
            raise ValueError(f"state {self.input!r}: more than one batch axis in {list(self.shape)}")
        return self

    @property
    def batch_axis(self) -> int | None:
        """Position of the batch axis; None where the graph has none (then batches hold one sequence)."""
        return self.shape.index("batch") if "batch" in self.shape else None

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Shape of one sequence's state: `shape` without the batch axis."""
        return tuple(dim for dim in self.shape if dim != "batch")


class OutputSpec(_Spec):
    """What the graph says at every time step."""

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
    """A real sequence and the answer to it, which every load computes again."""

    steps: list[Any] | dict[str, list[Any]] = Field(description="what `/predict` takes as `steps`")
    output: list[Any] = Field(description="the expected output at the last step")
    label: str | None = None
    tolerance: float = Field(1e-4, gt=0, description="largest absolute difference that still passes")


class Provenance(_Spec):
    """Where the graph came from, and what it takes to make it again."""

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
    """All that the service must know about a graph. `schema_version` guards the format itself."""

    schema_version: Literal[1] = 1
    description: str = ""
    task: Task
    causal: bool = Field(True, description="false: needs the whole sequence, so sessions are refused")
    inputs: tuple[InputSpec, ...] = Field(min_length=1)
    lengths: str | None = Field(None, description="graph input [batch] int32: the true steps of each row")
    constants: dict[str, Any] = Field(default_factory=dict, description="extra graph inputs, fixed")
    axes: Axes = Axes()
    states: tuple[StateSpec, ...] = ()
    outputs: tuple[OutputSpec, ...] = Field(min_length=1, description="the first is what `/predict` answers")
    example: Example | None = None
    metrics: dict[str, float] = Field(default_factory=dict, description="on the test split")
    provenance: Provenance | None = None

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        asked = [spec.name for spec in self.inputs]
        given = [spec.graph_input for spec in self.inputs] + [state.input for state in self.states]
        given += [*self.constants, *([self.lengths] if self.lengths else [])]
        made = [spec.name for spec in self.outputs] + [state.output for state in self.states]
        for names in (asked, given, made):
            twice = {name for name in names if names.count(name) > 1}
            if twice:
                raise ValueError(f"named twice: {', '.join(sorted(twice))}")
        return self

    @property
    def chunkable(self) -> bool:
        """Whether a sequence may be cut and its state carried over: what sessions and chunks need."""
        return self.causal and bool(self.states)

    @property
    def default_return(self) -> Literal["last", "all"]:
        """What `/predict` returns when the request does not say: every step where every step is labelled."""
        return "all" if self.task == "label" and self.outputs[0].steps == "all" else "last"

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read `model.json` from a version folder. Raises OSError, or pydantic.ValidationError."""
        return cls.model_validate_json((folder / MANIFEST_FILE).read_bytes())

    def write(self, folder: Path) -> None:
        """Write `model.json` into a version folder."""
        text = self.model_dump_json(indent=1, exclude_defaults=False)
        (folder / MANIFEST_FILE).write_text(text + "\n")
