"""All streams of a worker: which requests become one, their bounds, their checks, their end.

    upgrade ─ draining? ─ key, rate ─ origin ─ streams of the tenant ─ handshake ─→ 101, a `StreamSocket`
               503        401, 429    403        429                   400, 426

A refused request gets an HTTP response. It knows HTTP and sockets; it knows nothing of frames or sessions.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from functools import partial

from service.errors import OriginRefused, TooManyStreams
from service.http import stream_handshake
from service.http.cors import Cors
from service.http.keys import Guard
from service.http.messages import Fields, Request
from service.http.stream_bounds import StreamBounds
from service.http.stream_handshake import Accepted
from service.http.stream_socket import StreamSocket
from service.predict import Streams

PATH = "/stream"
End = Callable[[StreamSocket], None]


class StreamSockets:
    """The streams of one worker."""

    def __init__(
        self,
        streams: Streams,
        bounds: StreamBounds,
        *,
        max_streams: int,
        compresses: bool,
        guard: Guard | None,
        cors: Cors | None,
        access_log: Callable[[Fields], None] | None = None,
    ) -> None:
        """`max_streams`: of one tenant; `compresses`: whether permessage-deflate is offered."""
        self._streams = streams
        self._bounds = bounds
        self._max_streams = max_streams
        self._compresses = compresses
        self._guard = guard
        self._cors = cors
        self._access_log = access_log
        self._sockets: set[StreamSocket] = set()
        self._by_tenant: Counter[str] = Counter()
        self._loop = asyncio.get_running_loop()
        # Of streams that are closed; those of open ones are added by `totals`.
        self._frames = self._bytes_read = self._bytes_written = 0

    @property
    def num_open(self) -> int:
        """Streams that are open."""
        return len(self._sockets)

    @property
    def totals(self) -> tuple[int, int, int]:
        """Frames, bytes read and bytes written so far."""
        sockets = self._sockets
        return (
            self._frames + sum([each.channels.num_frames for each in sockets]),
            self._bytes_read + sum([each.bytes_read for each in sockets]),
            self._bytes_written + sum([each.bytes_written for each in sockets]),
        )

    def admit(self, request: Request) -> Accepted:
        """Accept the handshake of a request, and set its tenant.

        Raises Unauthorized, RateLimited, OriginRefused, TooManyStreams, UpgradeRequired or BadHeader.
        """
        if self._guard is not None:
            key = stream_handshake.key_header(request.headers)
            # A key in a header precedes one that is a subprotocol.
            request.tenant = self._guard.admit(request.headers if key is None else [*request.headers, key])
        self._check_origin(request)
        if self._by_tenant[request.tenant] >= self._max_streams:
            raise TooManyStreams(f"the tenant has {self._max_streams} streams open on this worker")
        return stream_handshake.accept(request.headers, compresses=self._compresses)

    def open(
        self, transport: asyncio.Transport, request: Request, accepted: Accepted, end: End
    ) -> StreamSocket:
        """The stream of an admitted request. `end` is called when it is closed."""
        count = None if self._guard is None else self._guard.counter(request.tenant)
        socket = StreamSocket(
            transport,
            self._streams,
            self._bounds,
            request,
            accepted,
            clock=self._loop.time,
            count=count,
            on_lost=partial(self._remove, end, time.perf_counter()),
        )
        self._sockets.add(socket)
        self._by_tenant[request.tenant] += 1
        return socket

    def drain(self) -> None:
        """Close every stream, each when its frames are answered."""
        for socket in list(self._sockets):
            socket.drain()

    async def check(self) -> None:
        """Look at every stream, and drop what idle ones hold. To be called once a second."""
        now = self._loop.time()
        for socket in list(self._sockets):
            socket.check(now)
        self._streams.forget()

    def _check_origin(self, request: Request) -> None:
        """Refuse pages of other origins: a browser does not. Raises OriginRefused."""
        headers = dict(request.headers)
        origin = headers.get(b"origin")
        if origin is None or origin.partition(b"://")[2] == headers.get(b"host"):
            return
        if self._cors is None or not self._cors.allows(origin):
            raise OriginRefused(f"the origin {origin.decode('latin-1')!r} is not one of cors_origins")

    def _remove(self, end: End, started: float, socket: StreamSocket) -> None:
        self._sockets.discard(socket)
        tenant = socket.request.tenant
        self._by_tenant[tenant] -= 1
        if not self._by_tenant[tenant]:
            del self._by_tenant[tenant]
        self._frames += socket.channels.num_frames
        self._bytes_read += socket.bytes_read
        self._bytes_written += socket.bytes_written
        end(socket)
        if self._access_log is not None:
            self._access_log(_fields(socket, time.perf_counter() - started))


def _fields(socket: StreamSocket, seconds: float) -> Fields:
    """The line of the access log of a stream that is closed."""
    request = socket.request
    return {
        "close_code": socket.close_code,
        "channels": socket.channels.num_opened,
        "frames": socket.channels.num_frames,
        "bytes_read": socket.bytes_read,
        "bytes_written": socket.bytes_written,
        "ms": seconds * 1e6 // 1 / 1e3,
        "id": request.id.decode(),
        "method": request.method,
        "path": request.path,
        "status": 101,
    } | (request.trace.fields if request.trace is not None else {})
