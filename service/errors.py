"""Every way a request, a model or a start can fail. Each class has its HTTP status, code, title and headers.

CellgateError
├── BadInput                     the request itself is at fault
│   ├── BadHttp                  400  not HTTP/1.1
│   ├── BadRequest               400  HTTP that the framework refuses
│   ├── HeadTooLarge             431  request line and headers too large
│   ├── InvalidJson              400  the body is not JSON
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
│   ├── IdempotencyMismatch      422  an Idempotency-Key that belongs to another request
│   └── BadExport                422  not an exported session, or a modified one
├── Unauthorized                 401  no API key, or an unknown one
├── Forbidden                    403  an API key without administration rights
├── NotFound                     404  no such resource
│   ├── UnknownModel  ├── UnknownVersion  └── UnknownSession
├── MethodNotAllowed             405  the path exists, for other methods
├── SessionConflict              409  `at` is not the session's step
├── SessionExists                409  a new session's name belongs to a live one
├── SessionMismatch              409  the session belongs to another model, version or graph
├── ReadOnlyModels               409  the models directory cannot be written
├── IdempotencyInProgress        409  the first request with this Idempotency-Key is still in progress
├── SessionGone                  410  ended, expired or evicted
├── RateLimited                  429  too many requests of this tenant
├── SessionQuota                 429  too many sessions, or bytes of them, of this tenant
├── InternalError                500  an error in the server or in the model's graph
├── NonFiniteOutput              500  the graph's answer is NaN or infinite
├── CorruptRecord                500  a stored session cannot be read
├── Unavailable                  503  try again after `retry_after_s`
│   ├── Overloaded  ├── SessionCapacity  ├── Draining  ├── ModelLoading  ├── MemoryExhausted
│   └── StoreUnavailable
├── DeadlineExceeded             504  not computed in time
└── StartupError                      the server cannot start; never sent over HTTP
"""

from collections.abc import Iterable, Mapping
from typing import ClassVar

MAX_CHARACTERS = 1000  # of a detail or a pointer, which may quote what a client sent


class CellgateError(Exception):
    """The root. `detail` says what was wrong and what was expected; `pointer` (RFC 6901) says where."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"
    title: ClassVar[str] = "Internal error"
    closes_connection: ClassVar[bool] = False  # whether the rest of the request's body is left unread

    def __init_subclass__(
        cls, *, status: int = 0, code: str = "", title: str = "", closes: bool = False
    ) -> None:
        """Set what the class names; it inherits the rest."""
        super().__init_subclass__()
        cls.status = status or cls.status
        cls.code = code or cls.code
        cls.title = title or cls.title
        cls.closes_connection = closes

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
        self.model: tuple[str, str] | None = None  # name and version that the request was for, once known

    @classmethod
    def summary(cls) -> str:
        """One line for the documentation: the first of the class's docstring."""
        return (cls.__doc__ or cls.title).partition("\n")[0]

    def headers(self) -> list[tuple[bytes, bytes]]:
        """The HTTP headers that belong to this error: Retry-After (RFC 9110, 10.2.3) where it has one."""
        return [] if self.retry_after_s is None else [(b"retry-after", b"%d" % self.retry_after_s)]

    def problem(self) -> dict[str, int | str]:
        """The RFC 9457 problem details object, with `code`, `pointer` and the further members."""
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
    return text if len(text) <= MAX_CHARACTERS else f"{text[:MAX_CHARACTERS]}…"


class BadInput(CellgateError, status=400, code="bad_input", title="Bad input"):
    """The request is at fault: sending it again unchanged fails again."""


class BadHttp(BadInput, code="bad_http", title="Not HTTP", closes=True):
    """The request cannot be parsed as HTTP/1.1 (RFC 9112)."""


class BadRequest(BadInput, code="http", title="Bad Request"):
    """The request is HTTP, but the server cannot process it."""


class HeadTooLarge(BadInput, status=431, code="head_too_large", title="Head too large", closes=True):
    """The request line and headers together are too large (RFC 6585, section 5)."""


class InvalidJson(BadInput, code="invalid_json", title="Not JSON"):
    """The body is not JSON (RFC 8259)."""


class BadHeader(BadInput, code="bad_header", title="Bad header"):
    """A header has an invalid value."""


class BodyTooLarge(BadInput, status=413, code="body_too_large", title="Body too large", closes=True):
    """The body has more bytes than the server accepts."""


class BodyTimeout(BadInput, status=408, code="body_timeout", title="Body timeout", closes=True):
    """The body did not arrive in time."""


class UnsupportedMediaType(
    BadInput, status=415, code="unsupported_media_type", title="Unsupported media type"
):
    """The route does not read this content type."""


class UnsupportedEncoding(BadInput, status=501, code="unsupported_encoding", title="Unsupported encoding"):
    """The server does not decode this content coding."""  # Triton, too, answers 501

    def headers(self) -> list[tuple[bytes, bytes]]:
        """The codings that the server decodes (RFC 9110, 12.5.3)."""
        return [*super().headers(), (b"accept-encoding", b"gzip, deflate")]


class InvalidField(BadInput, status=422, code="invalid_field", title="Invalid field"):
    """A field is missing, unknown, or of the wrong type or range."""


class WrongShape(InvalidField, code="wrong_shape", title="Wrong shape"):
    """The rows differ in width, or do not have the width that the model takes."""


class NonFinite(InvalidField, code="non_finite", title="Number out of range"):
    """A number is NaN, infinite, or too large for the model's dtype."""


class EmptySequence(InvalidField, code="empty_sequence", title="Empty sequence"):
    """A sequence has no time steps."""


class SequenceTooLong(InvalidField, code="sequence_too_long", title="Sequence too long"):
    """A sequence has more time steps than the server accepts."""


class TooManySequences(InvalidField, code="too_many_sequences", title="Too many sequences"):
    """The request has more sequences than the server accepts."""


class TooManyValues(InvalidField, code="too_many_values", title="Too many values"):
    """The body has more JSON values than the server reads in one request."""


class ReplyTooLarge(InvalidField, code="reply_too_large", title="Reply too large"):
    """The reply would have more bytes than the server sends; nothing was computed."""


class SessionNotSupported(BadInput, status=422, code="session_not_supported", title="Sessions not supported"):
    """The model has no sessions: it needs the whole sequence, or has no state."""


class GenerationNotSupported(
    BadInput, status=422, code="generation_not_supported", title="Generation not supported"
):
    """The model does not generate: its task is not language, or it has no probabilities."""


class IdempotencyMismatch(
    BadInput, status=422, code="idempotency_mismatch", title="Idempotency-Key belongs to another request"
):
    """The `Idempotency-Key` has been used with another body or path."""


class BadExport(BadInput, status=422, code="bad_export", title="Not an exported session"):
    """The body is not an exported session, or was modified after its export."""


class Unauthorized(CellgateError, status=401, code="unauthorized", title="API key required"):
    """The server requires an API key; the request has none, or an unknown one."""

    def headers(self) -> list[tuple[bytes, bytes]]:
        """The scheme in which the server expects a key (RFC 9110, 11.6.1)."""
        return [*super().headers(), (b"www-authenticate", b"Bearer")]


class Forbidden(CellgateError, status=403, code="forbidden", title="Administration key required"):
    """Only an API key with `admin = true` may do this; without keys, the setting admin_access allows it."""


class NotFound(CellgateError, status=404, code="not_found", title="Not found"):
    """There is no resource of that name."""


class UnknownModel(NotFound, code="unknown_model", title="Unknown model"):
    """No model of that name is loaded."""


class UnknownVersion(NotFound, code="unknown_version", title="Unknown version"):
    """The model is loaded, but not in that version."""


class UnknownSession(NotFound, code="unknown_session", title="Unknown session"):
    """No session of that name exists: it was never started, or it was deleted."""


class MethodNotAllowed(CellgateError, status=405, code="method_not_allowed", title="Method Not Allowed"):
    """The path exists, but not for this method; the header Allow lists those it has."""

    def __init__(self, detail: str, *, allow: Iterable[str] = ()) -> None:
        super().__init__(detail)
        self.allow = tuple(allow)

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Allow (RFC 9110, 10.2.1): the methods that the path has."""
        return [*super().headers(), (b"allow", ", ".join(self.allow).encode())]


class SessionConflict(CellgateError, status=409, code="session_conflict", title="Session is at another step"):
    """`at` is neither the session's step nor that of its last request; `step` is the session's."""


class SessionExists(CellgateError, status=409, code="session_exists", title="Session exists"):
    """A live session has that name, and the request does not ask to restart it; `step` is its step."""


class SessionMismatch(
    CellgateError, status=409, code="session_mismatch", title="Session belongs to another model"
):
    """The session was started on another model, version or graph, and stays with it."""


class ReadOnlyModels(
    CellgateError, status=409, code="models_read_only", title="Models directory is read-only"
):
    """The server cannot write the model's policy; nothing has changed."""


class SessionGone(CellgateError, status=410, code="session_gone", title="Session has ended"):
    """The session was ended, has expired, or was evicted; `reason` says which."""


class IdempotencyInProgress(
    CellgateError, status=409, code="idempotency_in_progress", title="Request is in progress"
):
    """The first request with this `Idempotency-Key` is still in progress; retry after it."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail, retry_after_s=1)


class RateLimited(CellgateError, status=429, code="rate_limited", title="Too many requests"):
    """The tenant has used up its request rate; nothing was applied."""


class SessionQuota(CellgateError, status=429, code="session_quota", title="Too many sessions"):
    """The tenant has reached its limit of sessions, or of bytes in them; nothing was applied."""


class InternalError(CellgateError):
    """An internal error, in the server or in the model's graph; the log has it under the request's id."""

    def __init__(self, detail: str = "an unexpected error occurred; the server's log has it") -> None:
        super().__init__(detail)


class NonFiniteOutput(CellgateError, code="non_finite_output", title="Output is not finite"):
    """The model gave NaN or an infinity; the session is as it was. A manifest may allow them."""


class CorruptRecord(CellgateError, code="corrupt_session", title="Corrupt session"):
    """The stored session cannot be read; it can be deleted or replaced.

    `revision` is what stands in the place of the record's revision: it allows replacing the record.
    """

    def __init__(self, detail: str, revision: bytes) -> None:
        super().__init__(f"{detail}; the session cannot be continued, only deleted or replaced")
        self.revision = revision


class Unavailable(CellgateError, status=503, code="unavailable", title="Unavailable"):
    """Nothing was applied; the same request may succeed after the time in Retry-After."""

    def __init__(self, detail: str, *, retry_after_s: int = 1) -> None:
        super().__init__(detail, retry_after_s=retry_after_s)


class Overloaded(Unavailable, code="overloaded", title="Overloaded"):
    """Too many requests are waiting."""


class MemoryExhausted(Unavailable, code="memory_exhausted", title="Out of memory for requests"):
    """The bodies of requests in progress use the memory that they may use."""


class SessionCapacity(Unavailable, code="session_capacity", title="Session store is full"):
    """The session store is full, and no session has been idle long enough to be evicted."""


class Draining(Unavailable, code="draining", title="Not ready"):
    """The server is starting or stopping: it finishes running requests and accepts no new ones."""


class ModelLoading(Unavailable, code="model_loading", title="Version is being loaded"):
    """This worker does not serve the version yet, but it, or another one, has found it."""


class StoreUnavailable(Unavailable, code="store_unavailable", title="Session store unavailable"):
    """The session store does not answer; requests without a session still work."""


class DeadlineExceeded(CellgateError, status=504, code="deadline_exceeded", title="Deadline exceeded"):
    """The request was not computed in time; a session has not moved."""


class StartupError(CellgateError, code="startup", title="Cannot start"):
    """The server cannot start: a setting, a model or a device is not usable."""
