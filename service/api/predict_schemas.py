"""Models that document what `/predict` and `/generate` read and write.

The bodies are read by `codec`. A property test holds that it accepts what these models accept, nothing else.
"""

from typing import Annotated, Any, Literal

from fastapi.openapi.models import Example
from pydantic import BaseModel, Field, GetJsonSchemaHandler, RootModel, StrictBool, StrictInt, model_validator
from pydantic.json_schema import SkipJsonSchema

from service.api.samples import STATE_TOKEN, STEPS
from service.api.schemas import ModelName, ModelVersion, Problem, Schema
from service.codec.generation import DEFAULT_STEPS, MAX_STOP_TOKENS, MAX_TEMPERATURE
from service.names import MAX_STEP, SESSION_NAME

Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]


def _list_of(*types: str) -> dict[str, Any]:
    """A list that may be nested: generators of clients do not know lists of themselves."""
    nested: dict[str, Any] = {"type": "array", "items": {}}
    return {"type": "array", "minItems": 1, "items": {"anyOf": [*({"type": kind} for kind in types), nested]}}


class Row(
    RootModel[
        Annotated[list[Number | None], Field(min_length=1)] | Annotated[list["Row"], Field(min_length=1)]
    ]
):
    """One time step: D numbers, or rows of them if a step has more than one axis; null = missing."""

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: Any, _handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """As generators take it."""
        return _list_of("number", "null") | {"title": cls.__name__, "description": cls.__doc__}


class Flags(
    RootModel[
        Annotated[list[StrictBool], Field(min_length=1)] | Annotated[list["Flags"], Field(min_length=1)]
    ]
):
    """One time step of a boolean input: D values true or false, or rows of them."""

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: Any, _handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """As generators take it."""
        return _list_of("boolean") | {"title": cls.__name__, "description": cls.__doc__}


Record = Annotated[
    dict[str, Number | StrictBool | str | None],
    Field(min_length=1, description="one time step of a model of a table: its values by column"),
]
Steps = Annotated[
    list[Row | Flags | Record | Number | StrictBool | str | None],
    Field(
        min_length=1,
        description="T time steps: each a row of D numbers, a single number, or a token (id or name); "
        "null = missing; true or false for a boolean input; or a record, if the model has a `table`",
    ),
]
Text = Annotated[str, Field(min_length=1, description="a text, for a model with a tokenizer")]
Value = Annotated[
    Number | StrictBool | None, Field(description="a single number, for an input without a time axis")
]
Inputs = Annotated[dict[str, Steps | Text | Value], Field(min_length=1)]
Session = Annotated[
    str | None,
    Field(
        pattern=f"^{SESSION_NAME.pattern}$",
        description="the session this continues; its first request creates it",
    ),
]
At = Annotated[
    int | None,
    Field(ge=0, le=MAX_STEP, description="the session's step before this request; makes a retry safe"),
]
End = Annotated[bool, Field(description="true: the session ends with this request, and its state is deleted")]


Token = Annotated[str, Field(description="a state token: the `state` of an earlier reply")]


class InitialState(Schema):
    """A named initial state of the version, see `states` in `GET /models/{name}`."""

    name: str


GivenState = Annotated[
    Token | InitialState | SkipJsonSchema[None],
    Field(
        None,
        description="begin from this state; in a session, only with its first request. Default: the "
        "session's state, or the model's initial one",
    ),
]
ReturnState = Annotated[
    bool, Field(description="true: return the state after the last step as a token, in `state`")
]
Rewinds = Annotated[
    int | None,
    Field(
        ge=0,
        le=MAX_STEP,
        description="how often the session was rewound, as the client believes; a request from before a "
        "rewind is refused",
    ),
]


class _SessionFields(Schema):
    session: Session = None
    at: At = None
    rewinds: Rewinds = None
    end: End = False
    state: GivenState = None

    @model_validator(mode="after")
    def _need_a_session(self) -> "_SessionFields":
        if self.session is None and (self.at is not None or self.end):
            raise ValueError('"at" and "end" need a "session"')
        if self.session is None and self.rewinds is not None:
            raise ValueError('"rewinds" needs a "session"')
        return self


class SequenceBody(_SessionFields):
    """A sequence, on its own or as the next part of a session."""

    steps: Steps | Text | Inputs | SkipJsonSchema[None] = Field(
        None,
        description="rows, tokens or a text; or an object of these by input name. An input without a time "
        "axis is one row, given with the first steps of a session and kept",
    )
    text: Text | SkipJsonSchema[None] = Field(
        None, description="instead of `steps`, for a model that takes text"
    )

    @model_validator(mode="after")
    def _has_steps_or_text(self) -> "SequenceBody":
        if len(self.model_fields_set & {"steps", "text"}) != 1 or (self.steps is None and self.text is None):
            raise ValueError('expected either "steps" or "text"')
        return self


class PredictBody(Schema):
    """One request: sequences, of any lengths, for one model."""

    model: ModelName = None
    version: ModelVersion = None
    sequences: list[Steps | SequenceBody] = Field(min_length=1)
    returns: Literal["last", "all"] | None = Field(
        None,
        alias="return",
        description="the output at the last step or at every step; the default depends on the task",
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
    "named outputs": {
        "summary": "Outputs by name, of a model that has several",
        "value": {"model": "vowels", "sequences": [STEPS], "outputs": ["y", "logits"]},
    },
}


class GenerateBody(_SessionFields):
    """A text that a language model continues."""

    model: ModelName = None
    version: ModelVersion = None
    prompt: Text | Annotated[list[StrictInt | str], Field(min_length=1)] = Field(
        description="a text, or tokens by id or name"
    )
    max_steps: int = Field(
        DEFAULT_STEPS, ge=1, le=MAX_STEP, description="the maximum number of tokens to generate"
    )
    temperature: float = Field(
        1.0,
        ge=0,
        le=MAX_TEMPERATURE,
        allow_inf_nan=False,
        description="below 1, likely tokens become likelier (more predictable); above 1, all tokens become "
        "more equal (more random); 0 always takes the likeliest token",
    )
    top_k: int | None = Field(
        None, ge=1, le=MAX_STEP, description="draw only from the k likeliest tokens; default: from all"
    )
    seed: int | None = Field(
        None,
        ge=0,
        le=MAX_STEP,
        description="the same seed gives the same text; default: random, and part of the reply",
    )
    stop: list[StrictInt | str] = Field(
        default=[], max_length=MAX_STOP_TOKENS, description="tokens, by id or name, that end the text"
    )
    return_state: ReturnState = False


GENERATE_EXAMPLES: dict[str, Example] = {
    "a text": {
        "summary": "Continue a text",
        "value": {
            "model": "letters",
            "prompt": "the cat ",
            "max_steps": 40,
            "temperature": 0.7,
            "top_k": 10,
            "seed": 1,
        },
    },
    "a session": {
        "summary": "Continue within a session; a retry of the request gets the same text",
        "value": {"model": "letters", "prompt": "the cat ", "session": "story-1", "at": 0},
    },
}


class GenerateReply(BaseModel):
    """The generated text, without the prompt. It ends with a token of `stop`, if one was drawn."""

    model: str
    version: str
    ids: list[int]
    tokens: list[str] | None = Field(None, description="if the model has a vocabulary")
    text: str | None = Field(None, description="if the model has a tokenizer")
    seed: int
    session: str | None = None
    step: int | None = Field(None, description="the session's step: all prompts and generated tokens")
    state: str | None = Field(None, description="the token of the state after the text, if requested")


class Prediction(BaseModel):
    """The answer to one sequence. With `return: all`, `label` and `probability` are lists.

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
    label: str | list[str | None] | None = None
    probability: float | list[float | None] | None = None
    session: str | None = None
    step: int | None = Field(
        None, description="the steps that the session, or the state, has consumed, this request included"
    )
    state: str | None = Field(None, description="the token of the state after the last step, if requested")


class FailedSequence(BaseModel):
    """The entry of a sequence that failed; the others are not affected."""

    error: Problem


class PredictReply(BaseModel):
    """One prediction, or error, per sequence, in the order of the request."""

    model: str
    version: str
    predictions: list[Prediction | FailedSequence]
