"""Answers: small frozen values with arrays, from the JSON or the tensors of a reply."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellgate.errors import BadReply
from cellgate.inside import Gate, gates_in, states_in
from cellgate.models import Model, Output, Return

Array = NDArray[Any]
FLOAT32 = "float32"


@dataclass(frozen=True, slots=True)
class Label:
    """A label that is predicted, and its probability."""

    name: str
    probability: float


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """The answer to one sequence, or to the next part of a session."""

    outputs: Mapping[str, Array]
    """By name; each [*dims] at the last step or, with `returns="all"`, [time, *dims]."""
    label: str | None = None
    """Of the likeliest class at the last step, where the model is a classifier with labels."""
    probability: float | None = None
    """Of the likeliest class at the last step, where the output is probabilities."""
    labels: tuple[str | None, ...] | None = None
    """With `returns="all"`: the label at every step."""
    probabilities: Array | None = None
    """With `returns="all"`: the probability at every step, [time]."""
    label_set: tuple[Label, ...] | None = None
    """Of a model whose labels are independent of each other (task multilabel): those whose probability
    reaches their threshold, the likeliest first, at the last step; None where one is not a number."""
    label_sets: tuple[tuple[Label, ...] | None, ...] | None = None
    """With `returns="all"`: the same at every step."""
    states: Mapping[str, Array] | None = field(default=None, repr=False)
    """With "state" in `returns`: the recurrent tensors by name, after the last step or, with "all", each."""
    gates: tuple[Gate, ...] | None = field(default=None, repr=False)
    """With "gates" in `returns`: every gate of every layer."""
    session: str | None = None
    step: int | None = None
    """Steps that the session has consumed, with these."""
    state: str | None = field(default=None, repr=False)
    """With `return_state`: a token of the state after `step`, from which another sequence can begin."""
    model: str = ""
    version: str = ""

    @property
    def output(self) -> Array:
        """The first output: [*dims] or, with `returns="all"`, [time, *dims].

        Raises LookupError if it was not requested.
        """
        if not self.outputs:
            raise LookupError('the output was not requested: add "output" to returns')
        return next(iter(self.outputs.values()))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        """`np.asarray(prediction)` is its first output."""
        array = self.output if dtype is None else self.output.astype(dtype, copy=False)
        return array.copy() if copy else array

    def __repr__(self) -> str:
        """One line, with large arrays shortened."""
        shown: dict[str, Any] = {}
        if self.labels is not None:
            shown["labels"] = self.labels if len(self.labels) <= 6 else (*self.labels[:6], ...)
        elif self.label is not None:
            shown["label"] = self.label
        if self.label_set is not None:
            shown["label_set"] = {label.name: round(label.probability, 4) for label in self.label_set}
        if self.probability is not None and self.labels is None:
            shown["probability"] = round(self.probability, 4)
        if self.session is not None:
            shown |= {"session": self.session, "step": self.step}
        parts = [f"{name}={value!r}" for name, value in shown.items()]
        parts += [f"{name}={_brief(array)}" for name, array in self.outputs.items()]
        return f"Prediction({', '.join(parts)})"


@dataclass(frozen=True, slots=True)
class Generation:
    """A continued prompt."""

    ids: tuple[int, ...]
    """The generated tokens."""
    text: str | None = None
    """The same as text, where the model has a tokenizer."""
    tokens: tuple[str, ...] | None = field(default=None, repr=False)
    """The same by name, where the model has a vocabulary."""
    seed: int = 0
    """Repeats this text."""
    session: str | None = None
    step: int | None = None
    state: str | None = field(default=None, repr=False)
    """With `return_state`: a token of the state after `step`."""
    model: str = ""
    version: str = ""


def from_json(entry: Mapping[str, Any], model: Model) -> Prediction:
    """A prediction from an entry of `predictions` in a reply of `/predict`. Raises BadReply."""
    named = entry.get("outputs")
    if named is None and "output" in entry:
        named = {model.outputs[0].name: entry["output"]}
    states, gates = states_in(entry), gates_in(entry)
    if named is None and not (states is None and gates is None):
        named = {}
    elif not isinstance(named, Mapping) or not named:
        raise BadReply(f"a prediction without outputs: {str(dict(entry))[:200]}")
    arrays = {name: _array(value, model.output(name)) for name, value in named.items()}
    place = {name: entry.get(name) for name in ("session", "step", "state")}
    return from_arrays(arrays, model, states=states, gates=gates, **place)


def from_arrays(arrays: Mapping[str, Array], model: Model, **place: Any) -> Prediction:
    """A prediction from outputs by name. The labels are those of the first output that has any.

    `place`: session, step and state, and what is inside.
    """
    marks: dict[str, Any] = {}
    for name, array in arrays.items():
        spec = model.output(name)
        if spec is not None and spec.kind == "labels":
            marks = _label_marks(array, spec)
            break
        if spec is not None and spec.kind == "probabilities":
            marks = _marks(array, spec) if len(spec.dims) == 1 else {}
            break
    return Prediction(arrays, model=model.name, version=model.version, **marks, **place)


def generation_from(reply: Mapping[str, Any]) -> Generation:
    """A generation from the reply of `/generate`. Raises BadReply."""
    if not isinstance(reply.get("ids"), list):
        raise BadReply(f"a generation without ids: {str(dict(reply))[:200]}")
    tokens = reply.get("tokens")
    return Generation(
        ids=tuple(reply["ids"]),
        text=reply.get("text"),
        tokens=None if tokens is None else tuple(tokens),
        seed=reply.get("seed", 0),
        session=reply.get("session"),
        step=reply.get("step"),
        state=reply.get("state"),
        model=reply.get("model", ""),
        version=reply.get("version", ""),
    )


def keeps_time(spec: Output, returns: Return) -> bool:
    """Whether an output has a time axis."""
    return returns == "all" and spec.steps == "all"


def _array(value: Any, spec: Output | None) -> Array:
    """In the dtype of the output; null, which is NaN or an infinity of the model, becomes NaN."""
    return np.asarray(value, dtype=FLOAT32 if spec is None else spec.dtype)


def _marks(array: Array, spec: Output) -> dict[str, Any]:
    """Label and probability, as the server computes them: neither where it is not a number."""
    best, most = array.argmax(-1), array.max(-1)
    is_finite = np.isfinite(most)
    if array.ndim == 1:
        if not is_finite:
            return {}
        label = spec.labels[int(best)] if spec.labels else None
        return {"label": label, "probability": float(most)}
    marks: dict[str, Any] = {"probabilities": most}
    labels: Sequence[str | None] = ()
    if spec.labels:
        labels = [spec.labels[k] if ok else None for k, ok in zip(best.tolist(), is_finite, strict=True)]
        marks |= {"labels": tuple(labels), "label": labels[-1]}
    return marks | {"probability": float(most[-1]) if is_finite[-1] else None}


def _label_marks(array: Array, spec: Output) -> dict[str, Any]:
    """The sets of labels, as the server computes them: None where a probability is not a number."""
    if array.ndim == 1:
        return {"label_set": _label_set(array, spec)}
    sets = tuple(_label_set(step, spec) for step in array)
    return {"label_sets": sets, "label_set": sets[-1]}


def _label_set(step: Array, spec: Output) -> tuple[Label, ...] | None:
    if not np.isfinite(step).all():
        return None
    reached = np.flatnonzero(step.astype(np.float64) >= spec.thresholds)
    order = reached[np.argsort(-step[reached], kind="stable")]
    return tuple(Label(spec.labels[place], float(step[place])) for place in order.tolist())


def _brief(array: Array) -> str:
    if array.size > 12:
        return f"array{list(array.shape)} {array.dtype}"
    return np.array2string(array, precision=4, separator=", ", max_line_width=1000).replace("\n", "")
