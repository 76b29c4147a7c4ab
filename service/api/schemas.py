"""Models that document what the hot path of `POST /predict` reads and writes by hand.

`codec` and these are one contract: a property test holds that what one accepts the other accepts.
"""

from typing import Annotated, Any, Literal

from fastapi.openapi.models import Example
from pydantic import BaseModel, ConfigDict, Field, StrictInt, model_validator

from service.api.samples import STEPS
from service.names import MAX_STEP, SESSION_NAME

Number = Annotated[float, Field(strict=True, allow_inf_nan=False)] | Annotated[int, Field(strict=True)] | None
Steps = Annotated[
    list[Any],
    Field(
        min_length=1,
        description="T time steps: each a row of D numbers, or a token (id or name); null = missing",
    ),
]

Text = Annotated[str, Field(min_length=1, description="a text, for a model with a tokenizer")]


class _Schema(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class SequenceBody(_Schema):
    """A sequence, on its own or as the next part of a session."""

    steps: Steps | Text | dict[str, Steps | Text] | None = Field(
        None, description="rows, tokens or a text; or an object of these by input name"
    )
    text: Text | None = Field(None, description="in the place of `steps`, where the model takes text")
    session: str | None = Field(
        None,
        pattern=f"^{SESSION_NAME.pattern}$",
        description="the session this continues; its first request creates it",
    )
    at: int | None = Field(
        None,
        ge=0,
        le=MAX_STEP,
        description="the step the client believes the session is at; makes retries safe",
    )
    end: bool = Field(False, description="the session ends with this sequence; its state is freed")

    @model_validator(mode="after")
    def _steps_or_text(self) -> "SequenceBody":
        if (self.steps is None) == (self.text is None):
            raise ValueError('expected "steps", or "text" in its place')
        return self

    @model_validator(mode="after")
    def _session_fields_need_a_session(self) -> "SequenceBody":
        if self.session is None and (self.at is not None or self.end):
            raise ValueError('"at" and "end" go with a "session"')
        return self


class PredictBody(_Schema):
    """One request: sequences, of any lengths, for one model."""

    model: str | None = Field(None, description="needless when only one model is served")
    version: str | None = Field(None, description="default: the highest, or the one a session is on")
    sequences: list[Steps | SequenceBody] = Field(min_length=1)
    returns: Literal["last", "all"] | None = Field(
        None, alias="return", description="the output at the last step or at every step; default by task"
    )
    trim_padding: bool = Field(
        False, description="leave out the steps at the end of each sequence that are zero in every input"
    )


PREDICT_EXAMPLES: dict[str, Example] = {
    "one sequence": {"summary": "One sequence, stateless", "value": {"sequences": [STEPS]}},
    "a session": {
        "summary": "The next steps of a session, safe to send again",
        "value": {"sequences": [{"steps": STEPS, "session": "call-42", "at": 0}]},
    },
    "many": {
        "summary": "Sequences of different lengths, an output for every step",
        "value": {"model": "vowels", "sequences": [STEPS, STEPS[:1]], "return": "all"},
    },
}


class GenerateBody(_Schema):
    """One text to be gone on with by a language model."""

    model: str | None = Field(None, description="needless when only one model is served")
    version: str | None = Field(None, description="default: the highest, or the one a session is on")
    prompt: Text | Annotated[list[StrictInt | str], Field(min_length=1)] = Field(
        description="what comes before: a text, or tokens by id or name"
    )
    max_steps: int = Field(100, ge=1, description="the most tokens that are generated")
    temperature: float = Field(
        1.0, ge=0, le=100, allow_inf_nan=False, description="below 1 bolder, above 1 wilder; 0: the likeliest"
    )
    top_k: int | None = Field(None, ge=1, description="draw from the likeliest only; default: from all")
    seed: int | None = Field(
        None, ge=0, le=MAX_STEP, description="the same gives the same text; default: by chance, and told"
    )
    stop: list[StrictInt | str] = Field(
        default=[], max_length=64, description="tokens, by id or name, with which the text ends"
    )
    session: str | None = Field(
        None, pattern=f"^{SESSION_NAME.pattern}$", description="the session this continues, or begins"
    )
    at: int | None = Field(None, ge=0, le=MAX_STEP, description="as in /predict: makes retries safe")
    end: bool = Field(False, description="the session ends with this; its state is freed")

    @model_validator(mode="after")
    def _session_fields_need_a_session(self) -> "GenerateBody":
        if self.session is None and (self.at is not None or self.end):
            raise ValueError('"at" and "end" go with a "session"')
        return self


GENERATE_EXAMPLES: dict[str, Example] = {
    "a text": {
        "summary": "Go on from a text",
        "value": {"prompt": "the cat ", "max_steps": 40, "temperature": 0.7, "top_k": 10, "seed": 1},
    },
    "a session": {
        "summary": "Go on within a session; the same request again gets the same text",
        "value": {"prompt": "the cat ", "session": "story-1", "at": 0},
    },
}


class GenerateReply(BaseModel):
    """What was generated; the prompt is not repeated. A token of `stop` is the last one."""

    model: str
    version: str
    ids: list[int]
    tokens: list[str] | None = Field(None, description="if the model has a vocabulary")
    text: str | None = Field(None, description="if the model has a tokenizer")
    seed: int
    session: str | None = None
    step: int | None = Field(None, description="steps of the session: prompts and all that was generated")


class Problem(BaseModel):
    """An error (RFC 9457). `code` is stable; `pointer` (RFC 6901) leads to the value at fault."""

    model_config = ConfigDict(extra="allow")

    type: str = "about:blank"
    title: str
    status: int
    code: str
    detail: str
    pointer: str | None = None


class Prediction(BaseModel):
    """The answer to one sequence; with `return: all`, `label` and `probability` are lists too."""

    output: list[Any] | float = Field(description="the graph's output: [D], or [T][D] with return: all")
    label: str | list[str] | None = None
    probability: float | list[float] | None = None
    session: str | None = None
    step: int | None = Field(None, description="steps the session has consumed, this request included")


class FailedSequence(BaseModel):
    """In the place of a prediction: this sequence failed, the others did not."""

    error: Problem


class PredictReply(BaseModel):
    """One prediction, or error, per sequence, in the request's order."""

    model: str
    version: str
    predictions: list[Prediction | FailedSequence]


class BatchingReply(BaseModel):
    """How full the engine calls of this worker process were, since its start."""

    calls: int
    sequences_per_call: float
    steps: int
    padding: float = Field(description="share of the computed steps that were padding")
    waiting: int = Field(description="sequences queued now")


class ModelReply(BaseModel):
    """One version of a model, as loaded."""

    name: str
    version: str
    description: str
    task: str
    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]
    sessions: bool = Field(description="whether it can be served step by step")
    retiring: bool = Field(description="its folder is gone: only those who name the version get it")
    provider: str
    exact: bool = Field(description="whether batching and chunking changed no bit, measured at load")
    max_difference: float = Field(description="0 when exact")
    batching: BatchingReply
    metrics: dict[str, float]
    example: dict[str, Any] | None = None
    provenance: dict[str, Any] | None = None


class ModelsReply(BaseModel):
    """All loaded models, every version of each."""

    models: list[ModelReply]


TtlS = Annotated[float, Field(gt=0, description="idle seconds after which it expires; bounded by the server")]


class CreateSessionBody(_Schema):
    """A session before its first step; all of it is optional."""

    model: str | None = Field(None, description="needless when only one model is served")
    version: str | None = Field(None, description="default: the highest")
    state: dict[str, Any] | None = Field(
        None, description="each recurrent tensor by name, without the batch axis; default: the initial state"
    )
    step: int = Field(0, ge=0, le=MAX_STEP, description="how many steps led to that state")
    ttl_s: TtlS | None = None


class ForkSessionBody(_Schema):
    """Where the copy goes."""

    to: str = Field(description="name of the new session, which must not be live")
    ttl_s: TtlS | None = Field(None, description="default: as the other's")


class MigrateSessionBody(_Schema):
    """Where the session goes."""

    version: str | None = Field(None, description="default: the highest")


class PatchSessionBody(_Schema):
    """What can be changed of a session."""

    ttl_s: TtlS


class SessionReply(BaseModel):
    """A live session."""

    session: str
    model: str
    version: str
    step: int
    created: str = Field(description="ISO 8601, UTC")
    idle_s: float
    expires_in_s: float
    state_bytes: int
    state: dict[str, Any] | None = Field(None, description="only if asked for")


class SessionsReply(BaseModel):
    """One page of live sessions, in order of name."""

    sessions: list[SessionReply]
    next: str | None = Field(None, description="pass as `after` for the next page; null at the end")


class HealthReply(BaseModel):
    """`status` is ok, or says what is missing."""

    status: str
