"""Streams that are refused, and what is wrong within one."""

from service.errors.root import BadInput, CellgateError, NotFound


class BadFrame(BadInput, code="bad_frame", title="Not a frame"):
    """The message is not a frame of a stream, or its header does not match its content."""


class OriginRefused(CellgateError, status=403, code="origin_refused", title="Origin refused"):
    """A page of another origin may open a stream only if `cors_origins` has its origin."""


class UnknownChannel(NotFound, code="unknown_channel", title="Unknown channel"):
    """The channel of the stream is not open; its first message must name a session."""


class UpgradeRequired(CellgateError, status=426, code="upgrade_required", title="Upgrade Required"):
    """The path takes WebSockets only (RFC 6455)."""

    def headers(self) -> list[tuple[bytes, bytes]]:
        """The protocol to upgrade to (RFC 9110, 15.5.22), and its version (RFC 6455, 4.4)."""
        return [*super().headers(), (b"upgrade", b"websocket"), (b"sec-websocket-version", b"13")]


class TooManyStreams(CellgateError, status=429, code="too_many_streams", title="Too many streams"):
    """The tenant has reached its limit of open streams, or the stream its limit of channels."""
