"""One stream: a WebSocket whose channels drive sessions. Messages in, messages out, in order.

    open ──message──→ … ──────────────→ closing ──close frame of the client, or CLOSE_S──→ closed
      │ paused: a frame too many in flight, a reader too slow, or a channel being opened
      └ draining: nothing is read any more; closes (1012) when all frames so far are answered

It has no task and no timer while it is idle: `StreamSockets` looks at all sockets. It knows the messages of a
stream; it knows nothing of models or of sessions' rules.
"""

import asyncio
from collections.abc import Callable
from math import inf

from websockets.frames import CloseCode, Opcode

from service.codec import frames
from service.errors import CellgateError, InvalidJson
from service.http import websocket
from service.http.messages import Request
from service.http.peer import Peer
from service.http.stream_bounds import StreamBounds
from service.http.stream_channels import DRAINING, SLOW, StreamChannels
from service.http.stream_handshake import Accepted
from service.http.websocket import BINARY, TEXT, Reader, Violation
from service.predict import Streams

CLOSE_S = 2.0  # for a client to answer a close frame, and to close
PAUSED_S = 300.0  # in addition to the idle time; pauses end earlier, with the deadlines of the frames
APPLICATION = 4000  # close codes of this range are an HTTP status, beside it
IDLE = APPLICATION + 408


class StreamSocket(asyncio.Protocol):
    """An asyncio protocol that takes over the connection on which the handshake was."""

    __slots__ = (
        "_bounds",
        "_broken",
        "_clock",
        "_extensions",
        "_last_message",
        "_on_lost",
        "_out",
        "_paused",
        "_peer",
        "_pinged",
        "_reader",
        "_transport",
        "bytes_read",
        "bytes_written",
        "channels",
        "close_code",
        "last_heard",
        "request",
    )

    def __init__(
        self,
        transport: asyncio.Transport,
        streams: Streams,
        bounds: StreamBounds,
        request: Request,
        accepted: Accepted,
        *,
        clock: Callable[[], float],
        count: Callable[[], None] | None,
        on_lost: Callable[["StreamSocket"], None],
    ) -> None:
        """`count`: called for each message; raises RateLimited. `on_lost`: called once, when it is closed."""
        self._transport = transport
        self._bounds = bounds
        self._clock = clock
        self._on_lost = on_lost
        self._extensions = accepted.extensions
        self._reader = Reader(bounds.max_frame_bytes, accepted.extensions)
        self.channels = StreamChannels(self, streams, bounds, request.tenant, count)
        self._out: list[bytes] = []  # to be sent by `flush`
        self._paused = 0  # reasons
        self._broken = False  # by the client: what it sends is not read any more, or it sends no more
        self._peer: Peer | None = None  # while it does not read
        self._pinged = -inf
        self.last_heard = self._last_message = clock()
        self.request = request
        self.bytes_read = self.bytes_written = 0
        self.close_code = 0  # 0: open

    def data_received(self, data: bytes) -> None:
        """Bytes of the client."""
        self.last_heard = self._clock()
        self.bytes_read += len(data)
        if not self._broken:
            self._reader.feed(data)
            self._read()

    def eof_received(self) -> bool:
        """The client sends nothing more. Returns whether it waits for replies to what was read.

        One that has disconnected altogether refuses the pong, which asks for no answer (RFC 6455, 5.5.3), and
        then its frames are dropped.
        """
        if self._broken or self.close_code:
            return False
        self._broken = True
        self._write(websocket.write(Opcode.PONG, b""))
        self.channels.drain(self._transport.close)
        return True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """The connection is closed."""
        self.channels.drop()
        self.close_code = self.close_code or CloseCode.ABNORMAL_CLOSURE
        self._on_lost(self)

    def pause_writing(self) -> None:
        """The client does not read as fast as replies are written: nothing is read from it meanwhile."""
        self._peer = Peer(self._transport)
        self._peer.pause(self._clock())
        self.pause(SLOW)

    def resume_writing(self) -> None:
        """It has caught up."""
        self._peer = None
        self.resume(SLOW)

    def put(self, message: bytes, *, is_text: bool) -> None:
        """Send a message with the next `flush`."""
        self._out.append(websocket.write(TEXT if is_text else BINARY, message, self._extensions))

    def flush(self) -> None:
        """Send what was put, in one write, and continue reading if a channel had no room."""
        if self._out and not self.close_code:
            self._write(self._out[0] if len(self._out) == 1 else b"".join(self._out))
        self._out.clear()
        self.channels.check_room()

    def drain(self) -> None:
        """Close, when all frames that were read are answered."""
        if self._paused & DRAINING or self._broken or self.close_code:
            return
        self.pause(DRAINING)
        self.channels.drain(self._end_draining)

    def shutdown(self) -> None:
        """The server stops now; frames that are not answered are the client's to send again."""
        self.close(CloseCode.SERVICE_RESTART, "the server is stopping")

    def check(self, now: float) -> None:
        """Ping or close what is idle, and abort what does not read. To be called at intervals."""
        bounds, silent_s = self._bounds, now - self.last_heard
        if self._peer is not None and self._peer.is_stalled(now):
            self._transport.abort()
        elif self.close_code:
            return
        elif now - self._last_message > bounds.idle_s + (PAUSED_S if self._paused else 0):
            self.close(IDLE, f"no message for {bounds.idle_s:g} s")
        elif bounds.ping_s and silent_s > bounds.ping_s and not (self._paused or self._broken):
            if self._pinged <= self.last_heard:
                self._pinged = now
                self._write(websocket.write(Opcode.PING, b""))
            elif now - self._pinged > bounds.ping_s:
                self._transport.abort()

    def close(self, code: int, reason: str) -> None:
        """Begin the closing handshake. What was put and not flushed is sent before."""
        if self.close_code or self._transport.is_closing():
            return
        self._write(b"".join(self._out) + websocket.write_close(code, reason))
        self._end(code)
        asyncio.get_running_loop().call_later(CLOSE_S, self._transport.abort)

    def _end(self, code: int) -> None:
        """No frame is read any more but a close frame."""
        self.close_code = code
        self.channels.drop()
        if self._paused:
            self._paused = 0
            self._transport.resume_reading()

    def _write(self, data: bytes) -> None:
        self.bytes_written += len(data)
        self._transport.write(data)

    def pause(self, reason: int) -> None:
        """Read nothing, until `resume` for every reason."""
        if not self._paused:
            self._transport.pause_reading()
        self._paused |= reason

    def resume(self, reason: int) -> None:
        """Read again, if there is no other reason not to."""
        if self._paused & reason:
            self._paused &= ~reason
            if not self._paused:
                self._transport.resume_reading()
                self._read()

    def _read(self) -> None:
        read = self._reader.read
        try:
            while not self._paused and (message := read()) is not None:
                opcode, payload = message
                if opcode > BINARY:
                    self._take_control(opcode, payload)
                elif not self.close_code:
                    self._last_message = self.last_heard
                    if opcode == BINARY:
                        self.channels.take_binary(payload)
                    else:
                        self._take_text(payload)
        except Violation as violation:
            self._broken = True
            self.close(violation.code, violation.reason)
        except CellgateError as error:
            self.close(APPLICATION + error.status, error.detail)
        if self._out:
            self.flush()

    def _take_text(self, payload: bytes) -> None:
        try:
            self.channels.take_text(payload)
        except InvalidJson as error:
            try:
                payload.decode()
            except UnicodeDecodeError:
                raise Violation(CloseCode.INVALID_DATA, "a text message is UTF-8") from error
            raise

    def _take_control(self, opcode: int, payload: bytes) -> None:
        if opcode == Opcode.PING and not self.close_code:
            self._out.append(websocket.write(Opcode.PONG, payload))
        elif opcode == Opcode.CLOSE:
            code, _ = websocket.read_close(payload)
            if not self.close_code:
                self._out.append(websocket.write(Opcode.CLOSE, payload[:2]))
                self.flush()
                self._end(code)
            self._transport.close()

    def _end_draining(self) -> None:
        if not self.close_code:
            self.put(frames.write_draining(self.channels.steps()), is_text=True)
            self.close(CloseCode.SERVICE_RESTART, "the server is stopping; connect again")
