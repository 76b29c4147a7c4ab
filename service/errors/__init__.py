"""Every way a request, a model or a start can fail. Each class has its HTTP status, code, title and headers.

CellgateError
├── BadInput                     the request itself is at fault
│   ├── BadHttp                  400  not HTTP/1.1
│   ├── BadRequest               400  HTTP that the framework refuses
│   ├── HeadTooLarge             431  request line and headers too large
│   ├── InvalidJson              400  the body is not JSON
│   ├── BadFrame                 400  not a frame of a stream
│   ├── BadHeader                400  a header's value is invalid
│   ├── BodyTooLarge             413  the body is too large
│   ├── BodyTimeout              408  the body did not arrive in time
│   ├── UnsupportedMediaType     415  a content type that the route does not read
│   ├── UnsupportedEncoding      501  a content coding that the server does not decode
│   ├── InvalidField             422  missing, unknown or wrongly typed field
│   ├── WrongShape               422  ragged rows, wrong width
│   ├── NonFinite                422  NaN, an infinity, or a number beyond the model's dtype
│   ├── EmptySequence            422  no time step
│   ├── SequenceTooLong          422  too many time steps
│   ├── TooManySequences         422  too many sequences
│   ├── TooManyValues            422  too many JSON values
│   ├── ReplyTooLarge            422  the reply would be too large
│   ├── SessionNotSupported      422  the model needs the whole sequence, or has no state
│   ├── GenerationNotSupported   422  the model's task is not language, or it has no probabilities
│   ├── ForecastNotSupported     422  the model does not forecast its own inputs, or no quantiles of them
│   ├── GatesNotSupported        422  the model shows no gates
│   ├── IdempotencyMismatch      422  an Idempotency-Key that belongs to another request
│   ├── BadExport                422  not an exported session, or a modified one
│   ├── InvalidState             422  not a state token of this server and tenant, or a modified one
│   └── StateSecretMissing       422  state tokens need a secret on a server with API keys
├── Unauthorized                 401  no API key, or an unknown one
├── Forbidden                    403  an API key without administration rights
├── OriginRefused                403  a stream from a page of another origin
├── NotFound                     404  no such resource
│   ├── UnknownModel  ├── UnknownVersion  ├── UnknownState  ├── UnknownSession  └── UnknownChannel
├── MethodNotAllowed             405  the path exists, for other methods
├── SessionConflict              409  `at` is not the session's step
├── UnknownCheckpoint            409  the session does not keep that step
├── SessionExists                409  a new session's name belongs to a live one
├── SessionMismatch              409  the session belongs to another model, version or graph
├── StateMismatch                409  the state token belongs to another model, version or graph
├── ReadOnlyModels               409  the models directory cannot be written
├── IdempotencyInProgress        409  the first request with this Idempotency-Key is still in progress
├── EventMismatch                409  a Last-Event-ID that belongs to another reply
├── SessionGone                  410  ended, expired or evicted
├── UpgradeRequired              426  the path is for WebSockets
├── RateLimited                  429  too many requests of this tenant
├── SessionQuota                 429  too many sessions, or bytes of them, of this tenant
├── TooManyStreams               429  too many streams of this tenant, or channels of one stream
├── InternalError                500  an error in the server or in the model's graph
├── NonFiniteOutput              500  the graph's answer is NaN or infinite
├── CorruptRecord                500  a stored session cannot be read
├── Unavailable                  503  try again after `retry_after_s`
│   ├── Overloaded  ├── SessionCapacity  ├── Draining  ├── ModelLoading  ├── MemoryExhausted
│   └── StoreUnavailable
├── DeadlineExceeded             504  not computed in time
└── StartupError                      the server cannot start; never sent over HTTP
"""

from service.errors.fields import (
    EmptySequence,
    InvalidField,
    NonFinite,
    ReplyTooLarge,
    SequenceTooLong,
    TooManySequences,
    TooManyValues,
    WrongShape,
)
from service.errors.http import (
    BadHeader,
    BadHttp,
    BadRequest,
    BodyTimeout,
    BodyTooLarge,
    EventMismatch,
    Forbidden,
    HeadTooLarge,
    IdempotencyInProgress,
    IdempotencyMismatch,
    InvalidJson,
    MethodNotAllowed,
    RateLimited,
    Unauthorized,
    UnsupportedEncoding,
    UnsupportedMediaType,
)
from service.errors.models import (
    ForecastNotSupported,
    GatesNotSupported,
    GenerationNotSupported,
    NonFiniteOutput,
    ReadOnlyModels,
    UnknownModel,
    UnknownVersion,
)
from service.errors.root import MAX_CHARACTERS, BadInput, CellgateError, InternalError, NotFound, StartupError
from service.errors.sessions import (
    BadExport,
    CorruptRecord,
    SessionConflict,
    SessionExists,
    SessionGone,
    SessionMismatch,
    SessionNotSupported,
    SessionQuota,
    UnknownCheckpoint,
    UnknownSession,
)
from service.errors.states import InvalidState, StateMismatch, StateSecretMissing, UnknownState
from service.errors.streams import BadFrame, OriginRefused, TooManyStreams, UnknownChannel, UpgradeRequired
from service.errors.unavailable import (
    DeadlineExceeded,
    Draining,
    MemoryExhausted,
    ModelLoading,
    Overloaded,
    SessionCapacity,
    StoreUnavailable,
    Unavailable,
)

__all__ = [
    "MAX_CHARACTERS",
    "BadExport",
    "BadFrame",
    "BadHeader",
    "BadHttp",
    "BadInput",
    "BadRequest",
    "BodyTimeout",
    "BodyTooLarge",
    "CellgateError",
    "CorruptRecord",
    "DeadlineExceeded",
    "Draining",
    "EmptySequence",
    "EventMismatch",
    "Forbidden",
    "ForecastNotSupported",
    "GatesNotSupported",
    "GenerationNotSupported",
    "HeadTooLarge",
    "IdempotencyInProgress",
    "IdempotencyMismatch",
    "InternalError",
    "InvalidField",
    "InvalidJson",
    "InvalidState",
    "MemoryExhausted",
    "MethodNotAllowed",
    "ModelLoading",
    "NonFinite",
    "NonFiniteOutput",
    "NotFound",
    "OriginRefused",
    "Overloaded",
    "RateLimited",
    "ReadOnlyModels",
    "ReplyTooLarge",
    "SequenceTooLong",
    "SessionCapacity",
    "SessionConflict",
    "SessionExists",
    "SessionGone",
    "SessionMismatch",
    "SessionNotSupported",
    "SessionQuota",
    "StartupError",
    "StateMismatch",
    "StateSecretMissing",
    "StoreUnavailable",
    "TooManySequences",
    "TooManyStreams",
    "TooManyValues",
    "Unauthorized",
    "Unavailable",
    "UnknownChannel",
    "UnknownCheckpoint",
    "UnknownModel",
    "UnknownSession",
    "UnknownState",
    "UnknownVersion",
    "UnsupportedEncoding",
    "UnsupportedMediaType",
    "UpgradeRequired",
    "WrongShape",
]
