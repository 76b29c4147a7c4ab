"""What a model takes and returns, as `GET /models` describes it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, Literal

Return = Literal["last", "all"]
ReturnWord = Literal["output", "state", "gates", "last", "all"]
Returns = Return | Sequence[ReturnWord]
"""The output at the last step or at all, or a list of what is returned."""


@dataclass(frozen=True, slots=True)
class Input:
    """One named input of a time step, or, with `per` "sequence", of a whole sequence."""

    name: str
    kind: str
    """numeric, token, image or video."""
    dtype: str
    """A numpy dtype; of tokens, that of their ids."""
    dims: tuple[int, ...]
    """The shape of one time step; () for one number or token a step."""
    per: Literal["step", "sequence"] = "step"

    @property
    def width(self) -> int:
        """Numbers in one time step."""
        return prod(self.dims)


@dataclass(frozen=True, slots=True)
class Output:
    """One named output of a time step."""

    name: str
    kind: str
    """probabilities, labels (which are true independently of each other), values, logits or gates."""
    dtype: str
    dims: tuple[int, ...]
    """The shape of one time step; () for one number."""
    labels: tuple[str, ...] = field(default=(), repr=False)
    """Entry i names class i, or label i; () without names."""
    steps: Literal["all", "last"] = "all"
    """last: it exists for the last step of a request only."""
    thresholds: tuple[float, ...] = field(default=(), repr=False)
    """Of the kind labels: the probability from which on each label is predicted."""


@dataclass(frozen=True, slots=True)
class Model:
    """One version of a model."""

    name: str
    version: str
    task: str
    """classify, label, multilabel, regress, forecast or language."""
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    sessions: bool
    """Whether it has sessions."""
    default: bool
    """Whether it answers requests that name no version."""
    aliases: tuple[str, ...] = ()
    """Names that stand for this version."""
    exact: bool = True
    """Whether batching and chunking change no bit of a result."""
    details: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    """The whole entry of `GET /models`: metrics, provenance, an example, …"""

    @property
    def step_input(self) -> Input:
        """The first input with time steps."""
        return next(spec for spec in self.inputs if spec.per == "step")

    @property
    def default_return(self) -> Return:
        """What `predict` returns by default: every step if the task is to label every step."""
        return "all" if self.task == "label" and self.outputs[0].steps == "all" else "last"

    def answers(self, version: str | None) -> bool:
        """Whether a request for this version, or alias, means it; None: the default one."""
        return self.default if version is None else version == self.version or version in self.aliases

    def output(self, name: str) -> Output | None:
        """The output of that name; None: there is none."""
        return next((spec for spec in self.outputs if spec.name == name), None)


def model_of(entry: Mapping[str, Any]) -> Model:
    """A model from its entry in `GET /models`. Raises KeyError where a field is missing."""
    return Model(
        name=entry["name"],
        version=entry["version"],
        task=entry["task"],
        inputs=tuple(_input(spec) for spec in entry["inputs"]),
        outputs=tuple(_output(spec) for spec in entry["outputs"]),
        sessions=entry["sessions"],
        default=entry["default"],
        aliases=tuple(entry.get("aliases", ())),
        exact=entry.get("exact", True),
        details=entry,
    )


def _input(spec: Mapping[str, Any]) -> Input:
    return Input(spec["name"], spec["kind"], spec["dtype"], tuple(spec["dims"]), spec.get("per", "step"))


def _output(spec: Mapping[str, Any]) -> Output:
    is_labels = spec["kind"] == "labels"
    return Output(
        spec["name"],
        spec["kind"],
        spec["dtype"],
        tuple(spec["dims"]),
        tuple(spec.get("labels", ())),
        spec.get("steps", "all"),
        tuple(spec.get("thresholds", ()) or (0.5,) * len(spec.get("labels", ()))) if is_labels else (),
    )
