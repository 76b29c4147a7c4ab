"""Every way a call can fail: one class for each `code` of the server, and the client's own.

CellgateError
├── ConnectionFailed             no reply: refused, lost, or cut off; with retries, for `max_retry_s`
│   └── ReplyTimeout             no reply within `timeout_s`
├── BadReply                     a reply that is not Cellgate's, as of a proxy or another server
├── ResponseError                the server's answer; `status`, `code`, `detail`, `pointer`
│   ├── BadInput                 the request is at fault (400, 408, 413, 415, 422, 431, 501)
│   ├── Unauthorized  ├── Forbidden
│   ├── NotFound                 UnknownModel, UnknownVersion, UnknownSession
│   ├── Conflict                 SessionConflict, SessionExists, SessionMismatch, …
│   ├── SessionGone              ended, expired or evicted; `reason` and `step` say which, and where
│   ├── TooMany                  RateLimited, SessionQuota
│   ├── ServerError              InternalError, NonFiniteOutput, CorruptRecord
│   └── Unavailable              Overloaded, Draining, …: retried; raised when `max_retry_s` has passed
│       └── DeadlineExceeded

A code that this version does not know becomes the class of its status.
"""

from collections.abc import Mapping
from typing import Any, ClassVar


class CellgateError(Exception):
    """The root."""


class ConnectionFailed(CellgateError):
    """No reply. The request may have been applied; a step that is sent again is never applied twice."""


class ReplyTimeout(ConnectionFailed):
    """No reply within `timeout_s`."""


class BadReply(CellgateError):
    """The reply is not that of a Cellgate server."""


class ResponseError(CellgateError):
    """An error that the server answered (RFC 9457)."""

    code: ClassVar[str] = ""
    _by_code: ClassVar[dict[str, type["ResponseError"]]] = {}

    def __init_subclass__(cls, *, code: str = "") -> None:
        """Register the class of a code."""
        cls.code = code
        if code:
            cls._by_code[code] = cls

    def __init__(
        self, detail: str, *, status: int = 0, members: Mapping[str, Any] | None = None, request_id: str = ""
    ) -> None:
        """`members`: of the problem document: code, pointer, step, reason, and others."""
        super().__init__(detail)
        self.detail = detail
        self.status = status
        self.members = dict(members or {})
        self.request_id = request_id

    @property
    def pointer(self) -> str | None:
        """RFC 6901: the place in the request, as /sequences/0/steps/7; None: it has none."""
        pointer = self.members.get("pointer")
        return None if pointer is None else str(pointer)

    @property
    def step(self) -> int | None:
        """The step that the session is at, or was at; None: the error has none."""
        step = self.members.get("step")
        return step if isinstance(step, int) else None

    @property
    def reason(self) -> str | None:
        """Why a session is no more: ended, expired, evicted; None: the error has none."""
        reason = self.members.get("reason")
        return None if reason is None else str(reason)

    def __str__(self) -> str:
        """One line: status, code, detail, and the place in the request."""
        code = self.members.get("code", self.code)
        place = f" at {self.pointer}" if self.pointer else ""
        return " ".join(filter(None, (str(self.status or ""), str(code)))) + f": {self.detail}{place}"

    @classmethod
    def by_code(cls) -> Mapping[str, type["ResponseError"]]:
        """The class of each code that this version knows."""
        return cls._by_code


class BadInput(ResponseError, code="bad_input"):
    """The request is at fault: sent again unchanged, it fails again."""


class BadHttp(BadInput, code="bad_http"):
    """The request cannot be parsed as HTTP/1.1."""


class BadRequest(BadInput, code="http"):
    """The request is HTTP, but the server cannot process it."""


class HeadTooLarge(BadInput, code="head_too_large"):
    """The headers are too large."""


class InvalidJson(BadInput, code="invalid_json"):
    """The body is not JSON."""


class BadHeader(BadInput, code="bad_header"):
    """A header has an invalid value."""


class BodyTooLarge(BadInput, code="body_too_large"):
    """The body has more bytes than the server accepts: send fewer steps in one call."""


class BodyTimeout(BadInput, code="body_timeout"):
    """The body did not arrive in time; it is sent again."""


class UnsupportedMediaType(BadInput, code="unsupported_media_type"):
    """The route does not read this content type."""


class UnsupportedEncoding(BadInput, code="unsupported_encoding"):
    """The server does not decode this content coding."""


class InvalidField(BadInput, code="invalid_field"):
    """A field is missing, unknown, or of the wrong type or range."""


class WrongShape(InvalidField, code="wrong_shape"):
    """Rows differ in width, or do not have the width that the model takes."""


class NonFinite(InvalidField, code="non_finite"):
    """A number is NaN, infinite, or too large for the model's dtype."""


class EmptySequence(InvalidField, code="empty_sequence"):
    """A sequence has no time steps."""


class SequenceTooLong(InvalidField, code="sequence_too_long"):
    """A sequence has more time steps than the server accepts in one call."""


class TooManySequences(InvalidField, code="too_many_sequences"):
    """The request has more sequences than the server accepts."""


class TooManyValues(InvalidField, code="too_many_values"):
    """The body has more JSON values than the server reads in one request."""


class ReplyTooLarge(InvalidField, code="reply_too_large"):
    """The reply would be larger than the server sends; nothing was computed."""


class SessionNotSupported(BadInput, code="session_not_supported"):
    """The model needs the whole sequence, or has no state."""


class GenerationNotSupported(BadInput, code="generation_not_supported"):
    """The model does not generate text."""


class IdempotencyMismatch(BadInput, code="idempotency_mismatch"):
    """The `Idempotency-Key` has been used with another request."""


class BadExport(BadInput, code="bad_export"):
    """The file is not an exported session, or was modified after its export."""


class Unauthorized(ResponseError, code="unauthorized"):
    """The server requires an API key; there is none, or an unknown one."""


class Forbidden(ResponseError, code="forbidden"):
    """Only an administration key may do this."""


class NotFound(ResponseError, code="not_found"):
    """There is no resource of that name."""


class UnknownModel(NotFound, code="unknown_model"):
    """No model of that name is loaded."""


class UnknownVersion(NotFound, code="unknown_version"):
    """The model is loaded, but not in that version."""


class UnknownSession(NotFound, code="unknown_session"):
    """No session of that name exists."""


class MethodNotAllowed(ResponseError, code="method_not_allowed"):
    """The path exists, but not for this method."""


class Conflict(ResponseError):
    """The state of a resource does not allow the call."""


class SessionConflict(Conflict, code="session_conflict"):
    """The session is at another step than the client believed; `step` is the session's."""


class SessionExists(Conflict, code="session_exists"):
    """A live session has that name; `step` is its step."""


class SessionMismatch(Conflict, code="session_mismatch"):
    """The session belongs to another model, version or graph."""


class ReadOnlyModels(Conflict, code="models_read_only"):
    """The server cannot write the model's policy."""


class IdempotencyInProgress(Conflict, code="idempotency_in_progress"):
    """The first request with this `Idempotency-Key` is still in progress."""


class SessionGone(ResponseError, code="session_gone"):
    """The session was ended, has expired, or was evicted: `reason`; `step` is its last one."""


class TooMany(ResponseError):
    """A limit of the tenant."""


class RateLimited(TooMany, code="rate_limited"):
    """The tenant has used up its request rate; retried."""


class SessionQuota(TooMany, code="session_quota"):
    """The tenant has reached its limit of sessions, or of bytes in them."""


class ServerError(ResponseError):
    """The server failed; a session is as it was."""


class InternalError(ServerError, code="internal"):
    """An error in the server or in the model's graph; its log has it under `request_id`."""


class NonFiniteOutput(ServerError, code="non_finite_output"):
    """The model gave NaN or an infinity."""


class CorruptRecord(ServerError, code="corrupt_session"):
    """The stored session cannot be read; it can be deleted or replaced."""


class Unavailable(ResponseError, code="unavailable"):
    """Nothing was applied; it was retried until `max_retry_s` had passed."""


class Overloaded(Unavailable, code="overloaded"):
    """Too many requests are waiting."""


class MemoryExhausted(Unavailable, code="memory_exhausted"):
    """The bodies of requests in progress use all memory for them."""


class SessionCapacity(Unavailable, code="session_capacity"):
    """The session store is full."""


class Draining(Unavailable, code="draining"):
    """The server is starting or stopping."""


class ModelLoading(Unavailable, code="model_loading"):
    """The version is being loaded."""


class StoreUnavailable(Unavailable, code="store_unavailable"):
    """The session store does not answer."""


class ReplicaLost(Unavailable, code="replica_lost"):
    """The proxy lost the server that it had passed the request to."""


class DeadlineExceeded(Unavailable, code="deadline_exceeded"):
    """The request was not computed in time; a session has not moved."""


class ReplicaSilent(DeadlineExceeded, code="replica_silent"):
    """The proxy's server did not answer in time."""
