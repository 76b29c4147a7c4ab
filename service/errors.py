"""Every way a request, a model or a start can fail. Each class holds its HTTP status and its code.

CellgateError
├── BadInput                     the request itself is at fault
│   ├── BadHttp                  400  the request is not HTTP/1.1
│   ├── HeadTooLarge             431  request line and headers
│   ├── InvalidJson              400  the body is not JSON
│   ├── BadHeader                400  a header has a value we cannot read
│   ├── BodyTooLarge             413
│   ├── BodyTimeout              408  the body did not arrive in time
│   ├── UnsupportedMediaType     415
│   ├── UnsupportedEncoding      501  a content coding we cannot undo
│   ├── InvalidField             422  missing, unknown or wrongly typed field
│   ├── WrongShape               422  ragged rows, wrong width
│   ├── NonFinite                422  NaN, an infinity, or a number beyond the model's dtype
│   ├── EmptySequence            422
│   ├── SequenceTooLong          422
│   ├── TooManySequences         422
│   └── BadExport                422  a file that is no exported session, or was changed
├── Unauthorized                 401  no API key, or one that is not known
├── RateLimited                  429  too many requests of this tenant
├── SessionQuota                 429  too many sessions, or bytes of them, of this tenant
├── NotFound                     404
│   ├── UnknownModel  ├── UnknownVersion  └── UnknownSession
├── SessionConflict              409  `at` is not the session's step
├── SessionExists                409  to be started, but it is live
├── SessionMismatch              409  the session belongs to another model, version or graph
├── SessionNotSupported          422  the model needs the whole sequence, or has no state
├── GenerationNotSupported       422  the model's task is another, or it says no probabilities
├── SessionGone                  410  ended, expired or evicted
├── Unavailable                  503  try again after `retry_after_s`
│   ├── Overloaded  ├── SessionCapacity  ├── Draining  └── StoreUnavailable
├── DeadlineExceeded             504
├── InternalError                500  our bug, or the graph's
├── CorruptRecord                500  a stored session is not what was written
└── StartupError                      the server cannot start; never sent over HTTP
"""

from collections.abc import Mapping
from typing import ClassVar

UNFORESEEN = "something went wrong; the log has it under this request's id"
MOST_CHARACTERS = 1000  # of a detail or a pointer, which may quote what a client sent


class CellgateError(Exception):
    """The root. `detail` says what was wrong and what was expected; `pointer` (RFC 6901) says where."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"
    title: ClassVar[str] = "Internal error"

    def __init__(
        self,
        detail: str,
        *,
        pointer: str | None = None,
        retry_after_s: int | None = None,
        members: Mapping[str, int | str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = _clip(detail)
        self.pointer = None if pointer is None else _clip(pointer)
        self.retry_after_s = retry_after_s
        self.members = dict(members or {})

    def problem(self) -> dict[str, int | str]:
        """The RFC 9457 problem details object, `code`, `pointer` and further members included."""
        problem: dict[str, int | str] = {
            "type": "about:blank",
            "title": self.title,
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
        }
        if self.pointer is not None:
            problem["pointer"] = self.pointer
        return problem | self.members


def _clip(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}…"


class BadInput(CellgateError):
    """The request is at fault; sending it again cannot help."""

    status = 400
    code = "bad_input"
    title = "Bad input"


class BadHttp(BadInput):
    """The request cannot be parsed as HTTP (RFC 9112)."""

    code = "bad_http"
    title = "Not HTTP"


class HeadTooLarge(BadInput):
    """Request line and headers have more bytes than a head may have (RFC 6585, section 5)."""

    status = 431
    code = "head_too_large"
    title = "Head too large"


class InvalidJson(BadInput):
    """The body cannot be parsed as JSON (RFC 8259)."""

    code = "invalid_json"
    title = "Not JSON"


class BadHeader(BadInput):
    """A header we act on holds a value we cannot read."""

    code = "bad_header"
    title = "Bad header"


class BodyTooLarge(BadInput):
    """The body has more bytes than `max_body_bytes`."""

    status = 413
    code = "body_too_large"
    title = "Body too large"


class BodyTimeout(BadInput):
    """The body did not arrive whole within `body_timeout_s`."""

    status = 408
    code = "body_timeout"
    title = "Body too slow"


class UnsupportedMediaType(BadInput):
    """The content type is not one the route reads."""

    status = 415
    code = "unsupported_media_type"
    title = "Unsupported media type"


class UnsupportedEncoding(BadInput):
    """The content coding is not one we can undo. (The Open Inference Protocol's servers say 501.)"""

    status = 501
    code = "unsupported_encoding"
    title = "Unsupported content coding"


class InvalidField(BadInput):
    """A field is missing, unknown, or of the wrong type or range."""

    status = 422
    code = "invalid_field"
    title = "Invalid field"


class WrongShape(InvalidField):
    """Rows of different widths, or of a width the model does not take."""

    code = "wrong_shape"
    title = "Wrong shape"


class NonFinite(InvalidField):
    """A number that the model's dtype cannot hold."""

    code = "non_finite"
    title = "Number out of range"


class EmptySequence(InvalidField):
    """A sequence without a single time step."""

    code = "empty_sequence"
    title = "Empty sequence"


class SequenceTooLong(InvalidField):
    """More time steps than `max_steps`."""

    code = "sequence_too_long"
    title = "Sequence too long"


class TooManySequences(InvalidField):
    """More sequences in one request than `max_sequences`."""

    code = "too_many_sequences"
    title = "Too many sequences"


class BadExport(BadInput):
    """What should be an exported session is none, or is not what was exported."""

    status = 422
    code = "bad_export"
    title = "Not an exported session"


class Unauthorized(CellgateError):
    """The server asks for an API key, and the request has none that it knows."""

    status = 401
    code = "unauthorized"
    title = "API key needed"


class RateLimited(CellgateError):
    """The tenant asks more often than it may; nothing was applied."""

    status = 429
    code = "rate_limited"
    title = "Too many requests"


class SessionQuota(CellgateError):
    """The tenant has as many sessions, or as many bytes of them, as it may; nothing was applied."""

    status = 429
    code = "session_quota"
    title = "Too many sessions"


class NotFound(CellgateError):
    """There is nothing of that name."""

    status = 404
    code = "not_found"
    title = "Not found"


class UnknownModel(NotFound):
    """No model of that name is loaded."""

    code = "unknown_model"
    title = "Unknown model"


class UnknownVersion(NotFound):
    """The model is loaded, the version is not."""

    code = "unknown_version"
    title = "Unknown version"


class UnknownSession(NotFound):
    """No session of that name was ever started, or it was deleted."""

    code = "unknown_session"
    title = "Unknown session"


class SessionConflict(CellgateError):
    """`at` is neither the session's step nor that of its last request; `step` holds the true one."""

    status = 409
    code = "session_conflict"
    title = "Session is at another step"


class SessionExists(CellgateError):
    """A session of that name is live, and the request did not ask to restart it; `step` is where it is."""

    status = 409
    code = "session_exists"
    title = "Session exists"


class SessionMismatch(CellgateError):
    """The session was started on another model, version or graph, and stays with it."""

    status = 409
    code = "session_mismatch"
    title = "Session belongs to another model"


class SessionNotSupported(BadInput):
    """The model cannot be served step by step."""

    status = 422
    code = "session_not_supported"
    title = "Model has no sessions"


class GenerationNotSupported(BadInput):
    """The model cannot go on by itself: its task is another than language."""

    status = 422
    code = "generation_not_supported"
    title = "Model generates nothing"


class SessionGone(CellgateError):
    """The session was here and is no more; `reason` is ended, expired or evicted."""

    status = 410
    code = "session_gone"
    title = "Session is gone"


class Unavailable(CellgateError):
    """Nothing was applied; the same request may succeed after `retry_after_s`."""

    status = 503
    code = "unavailable"
    title = "Unavailable"

    def __init__(self, detail: str, *, retry_after_s: int = 1) -> None:
        super().__init__(detail, retry_after_s=retry_after_s)


class Overloaded(Unavailable):
    """The queue is full."""

    code = "overloaded"
    title = "Overloaded"


class SessionCapacity(Unavailable):
    """The session store is full and no session has been idle long enough to be evicted."""

    code = "session_capacity"
    title = "No room for a session"


class Draining(Unavailable):
    """The server is stopping: what runs will finish, nothing new begins."""

    code = "draining"
    title = "Stopping"


class StoreUnavailable(Unavailable):
    """The session store does not answer; stateless predictions go on."""

    code = "store_unavailable"
    title = "Session store unavailable"


class DeadlineExceeded(CellgateError):
    """The request's time ran out before it was computed; a session was not moved."""

    status = 504
    code = "deadline_exceeded"
    title = "Deadline exceeded"


class InternalError(CellgateError):
    """Our bug or the graph's; the log has the traceback under the request's id."""


class CorruptRecord(CellgateError):
    """The stored bytes are not what was written. The session is refused rather than gone on with.

    `revision` is what stands where the revision was: enough to put another record in its place, or none.
    """

    code = "corrupt_session"
    title = "Corrupt session"

    def __init__(self, detail: str, revision: bytes) -> None:
        super().__init__(f"{detail}; the session can be deleted or replaced, not gone on with")
        self.revision = revision


class StartupError(CellgateError):
    """The server cannot start: a setting, a model or a device is not as asked for."""

    code = "startup"
    title = "Cannot start"
