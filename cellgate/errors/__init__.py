"""Every way a call can fail: one class for each `code` of the server, and the client's own.

CellgateError
├── ConnectionFailed             no reply: refused, lost, or cut off; with retries, for `max_retry_s`
│   └── ReplyTimeout             no reply within `timeout_s`
├── BadReply                     a reply that is not Cellgate's, as of a proxy or another server
├── ResponseError                the server's answer; `status`, `code`, `detail`, `pointer`
│   ├── BadInput                 the request is at fault (400, 408, 413, 415, 422, 431, 501)
│   ├── Unauthorized  ├── Forbidden
│   ├── NotFound                 UnknownModel, UnknownVersion, UnknownSession, UnknownState
│   ├── Conflict                 SessionConflict, SessionExists, SessionMismatch, UnknownCheckpoint, …
│   ├── SessionGone              ended, expired or evicted; `reason` and `step` say which, and where
│   ├── TooMany                  RateLimited, SessionQuota
│   ├── ServerError              InternalError, NonFiniteOutput, CorruptRecord
│   └── Unavailable              Overloaded, Draining, …: retried; raised when `max_retry_s` has passed
│       └── DeadlineExceeded

A code that this version does not know becomes the class of its status.
"""

from cellgate.errors.requests import (
    BadHeader,
    BadHttp,
    BadRequest,
    BodyTimeout,
    BodyTooLarge,
    EmptySequence,
    Forbidden,
    ForecastNotSupported,
    GatesNotSupported,
    GenerationNotSupported,
    HeadTooLarge,
    IdempotencyInProgress,
    IdempotencyMismatch,
    InternalError,
    InvalidField,
    InvalidJson,
    MethodNotAllowed,
    NonFinite,
    NonFiniteOutput,
    RateLimited,
    ReadOnlyModels,
    ReplyTooLarge,
    SequenceTooLong,
    TooManySequences,
    TooManyValues,
    Unauthorized,
    UnknownModel,
    UnknownVersion,
    UnsupportedEncoding,
    UnsupportedMediaType,
    WrongShape,
)
from cellgate.errors.root import (
    BadInput,
    BadReply,
    CellgateError,
    Conflict,
    ConnectionFailed,
    NotFound,
    ReplyTimeout,
    ResponseError,
    ServerError,
    TooMany,
)
from cellgate.errors.sessions import (
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
from cellgate.errors.states import InvalidState, StateMismatch, StateSecretMissing, UnknownState
from cellgate.errors.streams import (
    BadFrame,
    EventMismatch,
    OriginRefused,
    TooManyStreams,
    UnknownChannel,
    UpgradeRequired,
)
from cellgate.errors.unavailable import (
    DeadlineExceeded,
    Draining,
    MemoryExhausted,
    ModelLoading,
    Overloaded,
    ReplicaLost,
    ReplicaSilent,
    SessionCapacity,
    StoreUnavailable,
    Unavailable,
)

__all__ = [
    "BadExport",
    "BadFrame",
    "BadHeader",
    "BadHttp",
    "BadInput",
    "BadReply",
    "BadRequest",
    "BodyTimeout",
    "BodyTooLarge",
    "CellgateError",
    "Conflict",
    "ConnectionFailed",
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
    "ReplicaLost",
    "ReplicaSilent",
    "ReplyTimeout",
    "ReplyTooLarge",
    "ResponseError",
    "SequenceTooLong",
    "ServerError",
    "SessionCapacity",
    "SessionConflict",
    "SessionExists",
    "SessionGone",
    "SessionMismatch",
    "SessionNotSupported",
    "SessionQuota",
    "StateMismatch",
    "StateSecretMissing",
    "StoreUnavailable",
    "TooMany",
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
