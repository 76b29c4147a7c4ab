"""Sessions frame by frame over a WebSocket: what is sent, what is sent again, and what the replies mean.

It knows the messages of `GET /stream`; it knows no socket but what `sockets` opens.
"""

from cellgate.stream.async_stream import AsyncStream
from cellgate.stream.cursor import StreamCursor
from cellgate.stream.options import StreamOptions
from cellgate.stream.sockets import AsyncSocket, AsyncStreamTransport, Socket, StreamTransport
from cellgate.stream.stream import Stream

__all__ = [
    "AsyncSocket",
    "AsyncStream",
    "AsyncStreamTransport",
    "Socket",
    "Stream",
    "StreamCursor",
    "StreamOptions",
    "StreamTransport",
]
