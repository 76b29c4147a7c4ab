"""Models that document what `/predict` reads and writes; its bodies are read by `codec`."""

from typing import Annotated, Any, Literal

from fastapi.openapi.models import Example
from pydantic import BaseModel, Field, model_validator

from service.api.samples import STATE_TOKEN, STEPS
from service.api.schemas import ModelName, ModelVersion, Problem, Schema
from service.api.sequence_schemas import ReturnState, SequenceBody, Steps

ReturnList = Annotated[list[Literal["output", "state", "gates", "last", "all"]], Field(min_length=1)]


class PredictBody(Schema):
    """One request: sequences, of any lengths, for one model."""

    model: ModelName = None
    version: ModelVersion = None
    sequences: list[Steps | SequenceBody] = Field(min_length=1)
    returns: Literal["last", "all"] | ReturnList | None = Field(
        None,
        alias="return",
        description="the output at the last step or at every step; the default depends on the task. Or a "
        "list of what is returned, `output`, `state` and `gates`, and when",
    )
    outputs: list[str] | None = Field(
        None, min_length=1, description="outputs by name; default: the model's first, as `output`"
    )
    trim_padding: bool = Field(
        False, description="true: ignore the steps at the end of each sequence that are zero in every input"
    )
    return_state: ReturnState = False

    @model_validator(mode="after")
    def _outputs_differ(self) -> "PredictBody":
        if self.outputs is not None and len(set(self.outputs)) < len(self.outputs):
            raise ValueError("an output appears twice")
        return self

    @model_validator(mode="after")
    def _words_differ(self) -> "PredictBody":
        if isinstance(self.returns, list):
            if len(set(self.returns)) < len(self.returns):
                raise ValueError("a word appears twice")
            if {"last", "all"} <= set(self.returns):
                raise ValueError('"last" and "all" exclude each other')
        return self


PREDICT_EXAMPLES: dict[str, Example] = {
    "one sequence": {
        "summary": "One sequence, stateless",
        "value": {"model": "vowels", "sequences": [STEPS]},
    },
    "a session": {
        "summary": "The next steps of a session, safe to retry",
        "value": {"model": "vowels", "sequences": [{"steps": STEPS, "session": "call-42", "at": 0}]},
    },
    "many": {
        "summary": "Sequences of different lengths, an output for every step",
        "value": {"model": "vowels", "sequences": [STEPS, STEPS[:1]], "return": "all"},
    },
    "a state": {
        "summary": "Begin from the state of an earlier reply, without a session, and return the next one",
        "value": {
            "model": "vowels",
            "sequences": [{"steps": STEPS, "state": STATE_TOKEN}],
            "return_state": True,
        },
    },
    "the inside": {
        "summary": 'The state after each step; a model that shows its gates also returns "gates"',
        "value": {"model": "vowels", "sequences": [STEPS], "return": ["output", "state", "all"]},
    },
    "named outputs": {
        "summary": "Outputs by name, of a model that has several",
        "value": {"model": "vowels", "sequences": [STEPS], "outputs": ["y", "logits"]},
    },
}


class PredictedLabel(BaseModel):
    """A label whose probability reaches its threshold."""

    label: str
    probability: float


class GateValues(BaseModel):
    """One gate of one layer."""

    layer: int = Field(description="from 0, the lowest")
    direction: Literal["forward", "backward"]
    gate: str = Field(description="its name in the manifest")
    values: list[Any] = Field(description="[units]; with all steps [T][units]")


class Prediction(BaseModel):
    """The answer to one sequence. With `return: all`, `label`, `probability` and `labels` are lists.

    If the model's manifest allows NaN and infinities, they are null, and such a step has no label.
    """

    output: list[Any] | bool | int | float | None = Field(
        None, description="the graph's output: [D] or a number; with return: all [T][D] or [T]"
    )
    outputs: dict[str, Any] | None = Field(
        None, description="in place of `output`: those requested by name, each as `output` would be"
    )
    forecast: dict[str, dict[str, dict[str, Any]]] | None = Field(
        None,
        description="of a model of a table: the numbers of a forecast by feature, by steps ahead (`+6`), and "
        "by quantile (`q50`) or `value`",
    )
    estimate: dict[str, dict[str, Any]] | None = Field(
        None,
        description="of a model of a table: the numbers of a regression by target, and by quantile "
        "(`q50`) or `value`",
    )
    label: str | list[str | None] | None = None
    probability: float | list[float | None] | None = None
    labels: list[PredictedLabel] | list[list[PredictedLabel] | None] | None = Field(
        None,
        description="of a model whose labels are independent of each other (task `multilabel`): those whose "
        "probability reaches their threshold, the likeliest first; `output` has the probabilities of all",
    )
    session: str | None = None
    step: int | None = Field(
        None, description="the steps that the session, or the state, has consumed, this request included"
    )
    state: str | None = Field(None, description="the token of the state after the last step, if requested")
    states: dict[str, Any] | None = Field(
        None, description="the recurrent tensors by name, if requested; with all steps those after each step"
    )
    gates: list[GateValues] | None = Field(None, description="if requested")


class FailedSequence(BaseModel):
    """The entry of a sequence that failed; the others are not affected."""

    error: Problem


class PredictReply(BaseModel):
    """One prediction, or error, per sequence, in the order of the request."""

    model: str
    version: str
    predictions: list[Prediction | FailedSequence]
