"""Models that document what the routes read and write: models, sessions, health, and the form of an error."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from service.manifest import Example, InputSpec, OutputSpec, Provenance, TableSpec, Task
from service.names import MAX_STEP

ModelName = Annotated[str | None, Field(description="optional if only one model is loaded")]
ModelVersion = Annotated[
    str | None,
    Field(description="a version or an alias; default: the default version, or that of the session"),
]


class Schema(BaseModel):
    """A body: a field that is not known is an error, and no value is converted to another type."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Problem(BaseModel):
    """An error (RFC 9457). `code` is stable; `pointer` (RFC 6901) leads to the value at fault."""

    model_config = ConfigDict(extra="allow")

    type: str = "about:blank"
    title: str
    status: int
    code: str
    detail: str
    pointer: str | None = None


class BatchingReply(BaseModel):
    """The engine calls of this version in all workers, since the server started."""

    calls: int
    sequences_per_call: float
    steps: int
    padding: float = Field(description="the share of computed steps that were padding")
    waiting: int = Field(description="sequences in the queue now")


class ShadowReply(BaseModel):
    """How the answers of a shadow differ from those of one version, since the server started."""

    version: str = Field(description="that the sessions are on")
    steps: int = Field(description="compared")
    mean_difference: float = Field(description="absolute, of the first output's numbers")
    max_difference: float
    label_changes: int = Field(description="steps with another most probable label")
    failures: int = Field(description="requests that the shadow could not compute")
    dropped: int = Field(description="requests that were not run, because too many waited")
    forked: int = Field(description="forks that began within a session")


class ModelReply(BaseModel):
    """One version of a model, as loaded."""

    name: str
    version: str
    description: str
    task: Task
    inputs: tuple[InputSpec, ...]
    outputs: tuple[OutputSpec, ...]
    sessions: bool = Field(description="whether the model supports sessions")
    default: bool = Field(description="whether it answers requests that name no version")
    aliases: list[str] = Field(description="names that stand for this version, by the policy")
    canary_weight: float | None = Field(None, description="the share of new sessions, if it is the canary")
    shadow: list[ShadowReply] | None = Field(None, description="its comparisons, if it is the shadow")
    policy_fault: str | None = Field(
        None, description="what is wrong with the model's policy.json; the last valid one is in force"
    )
    retiring: bool = Field(
        description="whether its folder was deleted: it answers only requests that name the version"
    )
    provider: str
    exact: bool = Field(
        description="whether batching and chunking change no bit of a result; measured at load"
    )
    max_difference: float = Field(description="between batched and single runs; 0 if exact")
    fingerprint: str = Field(
        description="of the graph, its weights, and what the manifest says of states, inputs, axes and "
        "constants; as in exported sessions; hex"
    )
    optimization: str = Field(
        "all", description="of ONNX Runtime: all; basic or none if it crashes with more on this graph"
    )
    states: list[str] = Field(
        description="named initial states, from `states/<name>.safetensors`; a sequence begins from one with "
        '`"state": {"name": …}`'
    )
    batching: BatchingReply
    table: TableSpec | None = Field(
        None, description="how the table that it was trained on is read; a step may then be a record of it"
    )
    metrics: dict[str, float]
    example: Example | None = None
    provenance: Provenance | None = None


class ModelsReply(BaseModel):
    """All loaded models, every version of each."""

    models: list[ModelReply]


TtlS = Annotated[
    float, Field(gt=0, description="idle seconds after which the session expires; the server sets a maximum")
]


class HistoryBody(Schema):
    """Which earlier states a session keeps, so that it can be rewound to them."""

    last: int = Field(
        ge=0, le=2**32 - 1, description="how many, at most `max_checkpoints`; 0: none. The oldest are dropped"
    )
    every: int | None = Field(
        None,
        ge=1,
        le=MAX_STEP,
        description="the state at each multiple of so many steps; default: the state before each request",
    )


class ExpectedBody(Schema):
    """What a change of a live session expects, so that it undoes no other client's step."""

    at: int | None = Field(
        None, ge=0, le=MAX_STEP, description="the step that the session is at; at another one: 409"
    )
    rewinds: int | None = Field(
        None, ge=0, le=MAX_STEP, description="how often it was rewound; at another number: 409"
    )


class CreateSessionBody(ExpectedBody):
    """A new session. All fields are optional.

    With `at` or `rewinds`, it replaces the live session that is so, and no other. Time to live and
    checkpoints are by default those of that session. The same replacement, sent again, changes nothing.
    """

    model: ModelName = None
    version: str | None = Field(None, description="a version or an alias; default: the default version")
    state: dict[str, Any] | None = Field(
        None,
        description='each recurrent tensor by name, without the batch axis; or `{"name": …}`, a named state; '
        "default: the initial state",
    )
    step: int = Field(0, ge=0, le=MAX_STEP, description="the number of steps that led to this state")
    ttl_s: TtlS | None = None
    history: HistoryBody | None = Field(
        None, description="default: no earlier states are kept, or as in the session that is replaced"
    )


class ForkSessionBody(Schema):
    """The copy of a session."""

    to: str = Field(description="the name of the new session; no live session may have it")
    at: int | None = Field(
        None,
        ge=0,
        le=MAX_STEP,
        description="the step to continue from, one that is kept; default: the current",
    )
    ttl_s: TtlS | None = Field(None, description="default: that of the original")
    history: HistoryBody | None = Field(
        None, description="default: that of the original, with its checkpoints before the step"
    )


class MigrateSessionBody(ExpectedBody):
    """The version that a session continues on."""

    version: str | None = Field(None, description="a version or an alias; default: the default version")


class RewindSessionBody(Schema):
    """A step to return to. The same rewind, sent again, changes nothing."""

    step: int = Field(ge=0, le=MAX_STEP, description="the session's own, or one of `history.checkpoints`")
    at: int | None = Field(None, ge=0, le=MAX_STEP, description="the step that the session is at before")
    rewinds: int | None = Field(
        None, ge=0, le=MAX_STEP, description="how often it was rewound before; makes a late copy harmless"
    )


class PatchSessionBody(ExpectedBody):
    """The changes to a session, at least one."""

    ttl_s: TtlS | None = None
    history: HistoryBody | None = Field(
        None, description="what is kept from now on; checkpoints beyond `last` are dropped"
    )


class HistoryReply(BaseModel):
    """What a session keeps of its past."""

    last: int = Field(description="how many earlier states, at most")
    every: int | None = Field(description="at multiples of so many steps; null: before each request")
    checkpoints: list[int] = Field(description="the earlier steps that it can be rewound to")
    bytes: int = Field(description="of these states")


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
    rewinds: int = Field(0, description="how often it was rewound, or replaced by a request with `at`")
    history: HistoryReply | None = Field(None, description="null: it keeps no earlier states")
    state: dict[str, Any] | None = Field(None, description="only with `state=true`")


class SessionsReply(BaseModel):
    """One page of live sessions, in order of name."""

    sessions: list[SessionReply]
    next: str | None = Field(None, description="the value of `after` for the next page; null on the last one")


class HealthReply(BaseModel):
    """`status` is ok; an error otherwise."""

    status: str
