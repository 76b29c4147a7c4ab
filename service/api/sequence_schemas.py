"""Models that document a sequence in a request: its steps, its session, and the state that it begins from.

The bodies are read by `codec`. A property test holds that it accepts what these models accept, nothing else.
"""

from typing import Annotated, Any

from pydantic import Field, GetJsonSchemaHandler, RootModel, StrictBool, model_validator
from pydantic.json_schema import SkipJsonSchema

from service.api.schemas import Schema
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


class SessionFields(Schema):
    """The session that a request continues, and the state that it begins from."""

    session: Session = None
    at: At = None
    rewinds: Rewinds = None
    end: End = False
    state: GivenState = None

    @model_validator(mode="after")
    def _need_a_session(self) -> "SessionFields":
        if self.session is None and (self.at is not None or self.end):
            raise ValueError('"at" and "end" need a "session"')
        if self.session is None and self.rewinds is not None:
            raise ValueError('"rewinds" needs a "session"')
        return self


class SequenceBody(SessionFields):
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
