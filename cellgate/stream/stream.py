"""A stream of the synchronous client."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from types import TracebackType
from typing import Protocol, Self, TypeVar

from cellgate.errors import CellgateError, ConnectionFailed
from cellgate.flow import Outcome, Pause, Send
from cellgate.inputs import Steps
from cellgate.predictions import Prediction
from cellgate.stream.cursor import Connect, Effect, Post, StreamCursor, StreamFlow, StreamOutcome
from cellgate.stream.sockets import Socket

T = TypeVar("T")


class Connector(Protocol):
    """What a stream needs of its client."""

    sleep: Callable[[float], None]

    def attempt(self, send: Send) -> Outcome:
        """Send one HTTP request."""

    def connect(self) -> Socket:
        """Open a socket."""

    def hold(self) -> None:
        """Begin to use the client's connections."""

    def release(self) -> None:
        """End it."""


class Stream:
    """A session driven frame by frame over a WebSocket. Made by `Client.stream`.

    A socket that breaks is replaced by another, to any replica: frames without a reply are sent again, and
    each is applied once. For one thread at a time.
    """

    def __init__(self, client: Connector, cursor: StreamCursor) -> None:
        self._client = client
        self._cursor = cursor
        self._socket: Socket | None = None

    @property
    def session(self) -> str:
        """The session's name."""
        return self._cursor.session

    @property
    def at(self) -> int | None:
        """Steps consumed, in frames that are answered; None: not connected yet."""
        return self._cursor.at

    @property
    def in_flight(self) -> int:
        """Frames without a reply."""
        return self._cursor.in_flight

    def __enter__(self) -> Self:
        """Connect, and learn where the session is. Raises a CellgateError."""
        self._client.hold()
        try:
            self._run(self._cursor.open())
        except BaseException:
            self._client.release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the socket. The session stays."""
        self.close()
        self._client.release()

    def __repr__(self) -> str:
        """Session and step."""
        return f"Stream({self.session!r}, at={self.at})"

    def step(self, steps: Steps, *, end: bool = False) -> Prediction:
        """Send one frame, one step or several, and wait for its reply."""
        self.send(steps, end=end)
        return self.receive()

    def run(self, frames: Iterable[Steps]) -> Iterator[Prediction]:
        """Send the frames, and yield the reply to each, in order.

        With `in_flight` frames at once: the first reply is awaited when so many are sent, or none is left.
        """
        for steps in frames:
            while not self._cursor.has_room:
                yield self.receive()
            self.send(steps)
        while self.in_flight:
            yield self.receive()

    def send(self, steps: Steps, *, end: bool = False) -> None:
        """Send one frame without waiting for its reply. Raises RuntimeError if too many have none."""
        self._run(self._cursor.send(steps, end=end))

    def receive(self) -> Prediction:
        """The reply to the oldest frame without one. Raises its error; the frames behind it are dropped."""
        return self._run(self._cursor.receive())

    def locate(self) -> int:
        """Ask the server where the session is, and continue there; frames without a reply are dropped."""
        return self._run(self._cursor.locate())

    def close(self) -> None:
        """Close the socket. The session stays, and the next frame connects again."""
        self._cursor.close()
        socket, self._socket = self._socket, None
        if socket is not None:
            socket.close()

    def _run(self, flow: StreamFlow[T]) -> T:
        outcome: StreamOutcome = None
        with closing(flow):
            while True:
                try:
                    effect = flow.send(outcome)
                except StopIteration as end:
                    result: T = end.value
                    return result
                try:
                    outcome = self._perform(effect)
                except CellgateError as error:
                    outcome = error

    def _perform(self, effect: Effect) -> StreamOutcome:
        if isinstance(effect, Pause):
            self._client.sleep(effect.seconds)
            return None
        if isinstance(effect, Send):
            return self._client.attempt(effect)
        if isinstance(effect, Connect):
            socket, self._socket = self._socket, None
            if socket is not None:
                socket.close()
            self._socket = self._client.connect()
            return None
        if self._socket is None:
            raise ConnectionFailed("the stream was closed")
        if isinstance(effect, Post):
            self._socket.send(effect.message)
            return None
        return self._socket.receive(self._cursor.timeout_s)
