"""Bodies of which a field or a value is at fault."""

from service.errors.root import BadInput


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
