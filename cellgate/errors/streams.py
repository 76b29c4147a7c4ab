"""Errors of streams and of events."""

from cellgate.errors.root import BadInput, Conflict, NotFound, ResponseError, TooMany


class BadFrame(BadInput, code="bad_frame"):
    """The message is not a frame of a stream."""


class OriginRefused(ResponseError, code="origin_refused"):
    """The server opens no streams for pages of this origin."""


class UnknownChannel(NotFound, code="unknown_channel"):
    """The channel of the stream is not open."""


class UpgradeRequired(ResponseError, code="upgrade_required"):
    """The path takes WebSockets only."""


class TooManyStreams(TooMany, code="too_many_streams"):
    """The tenant has reached its limit of open streams."""


class EventMismatch(Conflict, code="event_mismatch"):
    """The events cannot be resumed: the outputs so far, or the request, are others."""
