"""One stream: a WebSocket whose channels drive sessions. Messages in, messages out, in order.

    open ──message──→ … ──────────────→ closing ──close frame of the client, or CLOSE_S──→ closed
      │ paused: a frame too many in flight, a reader too slow, or a channel being opened
      └ draining: nothing is read any more; closes (1012) when all frames so far are answered

It has no task and no timer while it is idle: `StreamSockets` looks at all sockets. It knows the messages of a
stream; it knows nothing of models or of sessions' rules.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from math import inf

import orjson
from websockets.frames import CloseCode, Opcode

from service.codec import frames
from service.codec.fields import parse_object
from service.codec.frames import Opening
from service.errors import CellgateError, TooManyStreams, UnknownChannel
from service.http import websocket
from service.http.messages import Request
from service.http.peer import Peer
from service.http.stream_handshake import Accepted
from service.http.websocket import BINARY, TEXT, Reader, Violation
from service.predict import Channel, Streams

CLOSE_S = 2.0  # for a client to answer a close frame, and to close
APPLICATION = 4000  # close codes of this range are an HTTP status, beside it
IDLE = APPLICATION + 408
# Reasons why nothing is read.
_FULL, _SLOW, _OPENING, _DRAINING = 1, 2, 4, 8


@dataclass(slots=True, frozen=True)
class StreamBounds:
    """What a stream may use."""

    max_channels: int
    max_frame_bytes: int
    idle_s: float
    ping_s: float  # 0: no pings


class StreamSocket(asyncio.Protocol):
    """An asyncio protocol that takes over the connection on which the handshake was."""

    __slots__ = (
        "_bounds",
        "_channels",
        "_clock",
        "_count",
        "_extensions",
        "_full",
        "_last_message",
        "_num_draining",
        "_on_lost",
        "_opening",
        "_out",
        "_paused",
        "_peer",
        "_pinged",
        "_reader",
        "_streams",
        "_transport",
        "bytes_read",
        "bytes_written",
        "close_code",
        "last_heard",
        "num_frames",
        "num_opened",
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
        self._streams = streams
        self._bounds = bounds
        self._clock = clock
        self._count = count
        self._on_lost = on_lost
        self._extensions = accepted.extensions
        self._reader = Reader(bounds.max_frame_bytes, accepted.extensions)
        self._channels: dict[int, Channel] = {}
        self._out: list[bytes] = []  # to be sent by `flush`
        self._paused = 0  # reasons
        self._full: Channel | None = None
        self._opening: asyncio.Task[None] | None = None
        self._num_draining = 0  # channels, and an opening, that are waited for
        self._peer: Peer | None = None  # while it does not read
        self._pinged = -inf
        self.last_heard = self._last_message = clock()
        self.request = request
        self.num_frames = self.num_opened = self.bytes_read = self.bytes_written = 0
        self.close_code = 0  # 0: open

    def data_received(self, data: bytes) -> None:
        """Bytes of the client."""
        self.last_heard = self._clock()
        self.bytes_read += len(data)
        self._reader.feed(data)
        self._read()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """The connection is closed."""
        self._drop_channels()
        self.close_code = self.close_code or CloseCode.ABNORMAL_CLOSURE
        self._on_lost(self)

    def pause_writing(self) -> None:
        """The client does not read as fast as replies are written: nothing is read from it meanwhile."""
        self._peer = Peer(self._transport)
        self._peer.pause(self._clock())
        self._pause(_SLOW)

    def resume_writing(self) -> None:
        """It has caught up."""
        self._peer = None
        self._continue(_SLOW)

    def put(self, message: bytes, *, is_text: bool) -> None:
        """Send a message with the next `flush`."""
        self._out.append(websocket.write(TEXT if is_text else BINARY, message, self._extensions))

    def flush(self) -> None:
        """Send what was put, in one write, and continue reading if a channel had no room."""
        if self._out and not self.close_code:
            self._write(self._out[0] if len(self._out) == 1 else b"".join(self._out))
        self._out.clear()
        if self._full is not None and self._full.has_room:
            self._full = None
            self._continue(_FULL)

    def drain(self) -> None:
        """Close, when all frames that were read are answered."""
        if self._paused & _DRAINING or self.close_code:
            return
        self._pause(_DRAINING)
        self._num_draining = len(self._channels) + (self._opening is not None)
        for channel in list(self._channels.values()):
            self._streams.call(channel, self._drain_one)
        if not self._num_draining:
            self._end_draining()

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
        elif now - self._last_message > bounds.idle_s and not self._paused:
            self.close(IDLE, f"no message for {bounds.idle_s:g} s")
        elif bounds.ping_s and silent_s > bounds.ping_s and not self._paused:
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
        self._drop_channels()
        if self._paused:
            self._paused = 0
            self._transport.resume_reading()

    def _drop_channels(self) -> None:
        if self._opening is not None:
            self._opening.cancel()
        for channel in self._channels.values():
            self._streams.close(channel)
        self._channels.clear()
        self._full = None

    def _write(self, data: bytes) -> None:
        self.bytes_written += len(data)
        self._transport.write(data)

    def _pause(self, reason: int) -> None:
        if not self._paused:
            self._transport.pause_reading()
        self._paused |= reason

    def _continue(self, reason: int) -> None:
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
                    self._take_binary(payload) if opcode == BINARY else self._take_text(payload)
        except Violation as violation:
            self.close(violation.code, violation.reason)
        except CellgateError as error:
            self.close(APPLICATION + error.status, error.detail)
        if self._out:
            self.flush()

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

    def _take_binary(self, payload: bytes) -> None:
        channel = self._channels.get(number := frames.channel_of_binary(payload))
        if channel is None:
            self._refuse(number, _unknown())
            return
        if self._is_allowed(channel):
            self._streams.receive_binary(channel, payload)
        self._took(channel)

    def _take_text(self, payload: bytes) -> None:
        document = parse_object(payload)
        number = frames.channel_of(document)
        channel = self._channels.get(number)
        if frames.is_frame(document):
            if channel is None:
                self._refuse(number, _unknown())
                return
            if self._is_allowed(channel):
                self._streams.receive_json(channel, document)
            self._took(channel)
            return
        try:
            if frames.is_close(document):
                self._close_channel(number, channel)
            else:
                self._begin_opening(frames.parse_opening(document), channel)
        except CellgateError as error:
            self._refuse(number, error, closed=channel is None)

    def _is_allowed(self, channel: Channel) -> bool:
        """Whether the tenant may send a frame now; if not, it has its error."""
        if self._count is None:
            return True
        try:
            self._count()
        except CellgateError as error:
            self._streams.refuse(channel, error)
            return False
        return True

    def _took(self, channel: Channel) -> None:
        self.num_frames += 1
        if not channel.has_room:
            self._full = channel
            self._pause(_FULL)

    def _refuse(self, number: int, error: CellgateError, *, closed: bool = True) -> None:
        self.put(frames.write_error(number, error, closed=closed), is_text=True)

    def _close_channel(self, number: int, channel: Channel | None) -> None:
        if channel is None:
            raise _unknown()

        def close() -> None:
            self.put(frames.write_closed(channel.number, channel.step), is_text=True)
            del self._channels[number]
            self._streams.close(channel)

        self._streams.call(channel, close)

    def _begin_opening(self, opening: Opening, old: Channel | None) -> None:
        """Open a channel, after the frames of one that has the number now. Nothing is read meanwhile."""
        if self._count is not None:
            self._count()
        if old is None and len(self._channels) >= self._bounds.max_channels:
            raise TooManyStreams(f"the stream has {self._bounds.max_channels} channels, the maximum")
        self._pause(_OPENING)

        def start() -> None:
            if old is not None:
                self._channels.pop(old.number, None)
                self._streams.close(old)
            self._opening = asyncio.get_running_loop().create_task(self._open(opening))

        start() if old is None else self._streams.call(old, start)

    async def _open(self, opening: Opening) -> None:
        try:
            channel = await self._streams.open(opening, self.request.tenant, self)
        except CellgateError as error:
            self._refuse(opening.channel, error)
        else:
            self._channels[opening.channel] = channel
            self.num_opened += 1
            limits = {
                "max_frame_bytes": self._bounds.max_frame_bytes,
                "max_frames_in_flight": channel.max_in_flight,
                "idle_timeout_s": self._bounds.idle_s,
            }
            self.put(orjson.dumps(channel.describe() | {"limits": limits}), is_text=True)
        self._opening = None
        self.flush()
        if self._num_draining:
            self._drain_one()
        self._continue(_OPENING)

    def _drain_one(self) -> None:
        self._num_draining -= 1
        if not self._num_draining:
            self._end_draining()

    def _end_draining(self) -> None:
        steps = [(channel.number, channel.session, channel.step) for channel in self._channels.values()]
        self.put(frames.write_draining(steps), is_text=True)
        self.close(CloseCode.SERVICE_RESTART, "the server is stopping; connect again")


def _unknown() -> UnknownChannel:
    return UnknownChannel("the channel is not open: its first message names a session")
