"""Requests that are refused as HTTP: their form, their size, their key, their rate."""

from collections.abc import Iterable

from service.errors.root import BadInput, CellgateError


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


class IdempotencyMismatch(
    BadInput, status=422, code="idempotency_mismatch", title="Idempotency-Key belongs to another request"
):
    """The `Idempotency-Key` has been used with another body or path."""


class Unauthorized(CellgateError, status=401, code="unauthorized", title="API key required"):
    """The server requires an API key; the request has none, or an unknown one."""

    def headers(self) -> list[tuple[bytes, bytes]]:
        """The scheme in which the server expects a key (RFC 9110, 11.6.1)."""
        return [*super().headers(), (b"www-authenticate", b"Bearer")]


class Forbidden(CellgateError, status=403, code="forbidden", title="Administration key required"):
    """Only an API key with `admin = true` may do this; without keys, the setting admin_access allows it."""


class MethodNotAllowed(CellgateError, status=405, code="method_not_allowed", title="Method Not Allowed"):
    """The path exists, but not for this method; the header Allow lists those it has."""

    def __init__(self, detail: str, *, allow: Iterable[str] = ()) -> None:
        super().__init__(detail)
        self.allow = tuple(allow)

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Allow (RFC 9110, 10.2.1): the methods that the path has."""
        return [*super().headers(), (b"allow", ", ".join(self.allow).encode())]


class IdempotencyInProgress(
    CellgateError, status=409, code="idempotency_in_progress", title="Request is in progress"
):
    """The first request with this `Idempotency-Key` is still in progress; retry after it."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail, retry_after_s=1)


class EventMismatch(CellgateError, status=409, code="event_mismatch", title="Events of another reply"):
    """`Last-Event-ID` belongs to another request, or the outputs have changed since; send it without."""


class RateLimited(CellgateError, status=429, code="rate_limited", title="Too many requests"):
    """The tenant has used up its request rate; nothing was applied."""
