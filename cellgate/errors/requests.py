"""Errors of a request, a model or a key."""

from cellgate.errors.root import BadInput, Conflict, NotFound, ResponseError, ServerError, TooMany


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


class GenerationNotSupported(BadInput, code="generation_not_supported"):
    """The model does not generate text."""


class ForecastNotSupported(BadInput, code="forecast_not_supported"):
    """The model does not forecast a value that the forecast needs, or has no quantiles to draw it from."""


class GatesNotSupported(BadInput, code="gates_not_supported"):
    """The model's manifest lists no gates."""


class IdempotencyMismatch(BadInput, code="idempotency_mismatch"):
    """The `Idempotency-Key` has been used with another request."""


class Unauthorized(ResponseError, code="unauthorized"):
    """The server requires an API key; there is none, or an unknown one."""


class Forbidden(ResponseError, code="forbidden"):
    """Only an administration key may do this."""


class UnknownModel(NotFound, code="unknown_model"):
    """No model of that name is loaded."""


class UnknownVersion(NotFound, code="unknown_version"):
    """The model is loaded, but not in that version."""


class MethodNotAllowed(ResponseError, code="method_not_allowed"):
    """The path exists, but not for this method."""


class ReadOnlyModels(Conflict, code="models_read_only"):
    """The server cannot write the model's policy."""


class IdempotencyInProgress(Conflict, code="idempotency_in_progress"):
    """The first request with this `Idempotency-Key` is still in progress."""


class RateLimited(TooMany, code="rate_limited"):
    """The tenant has used up its request rate; retried."""


class InternalError(ServerError, code="internal"):
    """An error in the server or in the model's graph; its log has it under `request_id`."""


class NonFiniteOutput(ServerError, code="non_finite_output"):
    """The model returned NaN or an infinity."""
