"""The channels of one stream: its messages → frames of sessions, openings, closings.

It knows the messages of a stream; it knows nothing of WebSockets, models or sessions' rules.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

import orjson

from service.codec import frames
from service.codec.fields import parse_object
from service.codec.frames import Opening
from service.errors import CellgateError, InternalError, TooManyStreams, UnknownChannel
from service.http.stream_bounds import StreamBounds
from service.predict import Channel, Socket, Streams

logger = logging.getLogger(__name__)

# Reasons why a stream reads nothing. CHANGING: a channel is being opened or closed, which comes first.
FULL, SLOW, CHANGING, DRAINING = 1, 2, 4, 8


class Line(Socket, Protocol):
    """The socket, as its channels need it. A `flush` reads on, if a channel had no room."""

    def pause(self, reason: int) -> None:
        """Read nothing, until `resume` for every reason."""
        ...

    def resume(self, reason: int) -> None:
        """Read again, if there is no other reason not to."""
        ...


class StreamChannels:
    """Channels by their numbers."""

    __slots__ = (
        "_bounds",
        "_by_number",
        "_closing",
        "_count",
        "_full",
        "_line",
        "_num_draining",
        "_on_closed",
        "_opening",
        "_streams",
        "_tenant",
        "num_frames",
        "num_opened",
    )

    def __init__(
        self,
        line: Line,
        streams: Streams,
        bounds: StreamBounds,
        tenant: str,
        count: Callable[[], None] | None,
    ) -> None:
        """`count`: called for each message; raises RateLimited."""
        self._line = line
        self._streams = streams
        self._bounds = bounds
        self._tenant = tenant
        self._count = count
        self._by_number: dict[int, Channel] = {}
        self._full: Channel | None = None  # the one because of which nothing is read
        self._opening: asyncio.Task[None] | None = None
        self._closing: Channel | None = None  # after its frames; nothing that is queued behind that is called
        self._on_closed: list[Callable[[], None]] = []
        self._num_draining = 0  # channels, and an opening, that are waited for
        self.num_frames = self.num_opened = 0

    def check_room(self) -> None:
        """Read on, if the channel has room because of which nothing was read."""
        if self._full is not None and self._full.has_room:
            self._full = None
            self._line.resume(FULL)

    def drop(self) -> None:
        """The stream is closed."""
        if self._opening is not None:
            self._opening.cancel()
        for channel in self._by_number.values():
            self._streams.close(channel)
        self._by_number.clear()
        self._full = self._closing = None
        self._on_closed.clear()

    def drain(self, done: Callable[[], None]) -> None:
        """Call `done` when all frames so far are answered. Nothing is read any more."""
        self._num_draining = len(self._by_number) + (self._opening is not None) + 1

        def end_one() -> None:
            self._num_draining -= 1
            if not self._num_draining:
                done()

        for channel in list(self._by_number.values()):
            if channel is self._closing:
                self._on_closed.append(end_one)
            else:
                self._streams.call(channel, end_one)
        if self._opening is not None:
            self._opening.add_done_callback(lambda _: end_one())
        end_one()

    def steps(self) -> list[tuple[int, str, int]]:
        """Of each channel its number, its session, and the step that it is at."""
        return [(channel.number, channel.session, channel.step) for channel in self._by_number.values()]

    def take_binary(self, payload: bytes) -> None:
        """Take in a binary message. Raises BadFrame if it has no channel."""
        channel = self._by_number.get(number := frames.channel_of_binary(payload))
        if channel is None:
            self._refuse(number, _unknown())
            return
        if self._is_allowed(channel):
            self._streams.receive_binary(channel, payload)
        self._took(channel)

    def take_text(self, payload: bytes) -> None:
        """Take in a text message. Raises InvalidJson or InvalidField if it has no channel."""
        document = parse_object(payload)
        number = frames.channel_of(document)
        channel = self._by_number.get(number)
        if frames.is_frame(document):
            if channel is None:
                self._refuse(number, _unknown())
                return
            if self._is_allowed(channel):
                self._streams.receive_json(channel, document, len(payload))
            self._took(channel)
            return
        try:
            if frames.is_close(document):
                self._close_channel(channel)
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
            self._line.pause(FULL)

    def _refuse(self, number: int, error: CellgateError, *, closed: bool = True) -> None:
        self._line.put(frames.write_error(number, error, closed=closed), is_text=True)

    def _close_channel(self, channel: Channel | None) -> None:
        if channel is None:
            raise _unknown()

        def close() -> None:
            self._line.put(frames.write_closed(channel.number, channel.step), is_text=True)
            self._end_channel(channel)
            self._line.resume(CHANGING)

        self._closing = channel
        self._line.pause(CHANGING)
        self._streams.call(channel, close)

    def _end_channel(self, channel: Channel) -> None:
        """Forget the channel that is being closed."""
        del self._by_number[channel.number]
        self._streams.close(channel)
        self._closing = None
        called, self._on_closed = self._on_closed, []
        for each in called:
            each()

    def _begin_opening(self, opening: Opening, old: Channel | None) -> None:
        """Open a channel, after the frames of one that has the number now. Nothing is read meanwhile."""
        if self._count is not None:
            self._count()
        if old is None and len(self._by_number) >= self._bounds.max_channels:
            raise TooManyStreams(f"the stream has {self._bounds.max_channels} channels, the maximum")
        self._line.pause(CHANGING)

        def start() -> None:
            if old is not None:
                self._end_channel(old)
            self._opening = asyncio.get_running_loop().create_task(self._open(opening))

        if old is None:
            start()
        else:
            self._closing = old
            self._streams.call(old, start)

    async def _open(self, opening: Opening) -> None:
        try:
            channel = await self._streams.open(opening, self._tenant, self._line)
        except CellgateError as error:
            self._refuse(opening.channel, error)
        except Exception:  # a bug; the client gets an answer all the same
            logger.exception("session %r was not opened", opening.session)
            self._refuse(opening.channel, InternalError())
        else:
            self._by_number[opening.channel] = channel
            self.num_opened += 1
            limits = {
                "max_frame_bytes": self._bounds.max_frame_bytes,
                "max_frames_in_flight": channel.max_in_flight,
                "idle_timeout_s": self._bounds.idle_s,
            }
            self._line.put(orjson.dumps(channel.describe() | {"limits": limits}), is_text=True)
        self._opening = None
        self._line.flush()
        self._line.resume(CHANGING)


def _unknown() -> UnknownChannel:
    return UnknownChannel("the channel is not open: its first message must name a session")
