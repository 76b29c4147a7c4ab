"""The place of a client in a stream: frames without a reply are kept, and sent again after a break.

    send(x):   x → frame at 121 ─→ unanswered ─→ socket
    receive:   socket ─→ reply to the oldest unanswered frame, in order
    a break:   connect ─→ {"session", "at": of the oldest} ─→ all unanswered frames, again

The server answers a frame that it has applied with the stored reply, so each is applied once. It knows no
socket: its methods are flows.
"""

from collections import deque
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, TypeVar

from cellgate.catalog import Catalog
from cellgate.errors import BadReply, CellgateError, ConnectionFailed, ResponseError, SessionMismatch
from cellgate.flow import Flow, Outcome, Pause, Send
from cellgate.inputs import Steps
from cellgate.models import Model, Return
from cellgate.predict import dumps, returned
from cellgate.predictions import Prediction
from cellgate.replies import error_in
from cellgate.retry import Retry, is_retryable, wait
from cellgate.stream import frames
from cellgate.stream.frames import CHANNEL, Frame, Message
from cellgate.stream.options import StreamOptions

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Connect:
    """Open a socket, in place of the one there is, if any."""


@dataclass(frozen=True, slots=True)
class Post:
    """Send a message on the socket."""

    message: Message


@dataclass(frozen=True, slots=True)
class Receive:
    """Wait for a message."""


Effect = Connect | Post | Receive | Send | Pause
StreamOutcome = Outcome | Message | CellgateError
StreamFlow = Generator[Effect, StreamOutcome, T]


class StreamCursor:
    """One session, driven over a socket that may break at any time."""

    def __init__(
        self, session: str, options: StreamOptions, catalog: Catalog, retry: Retry, *, at: int | None = None
    ) -> None:
        """`at`: where the client believes the session is; None: where the server says."""
        self.session = session
        self.at = at
        """Steps of the frames that are answered."""
        self.options = options
        self.in_flight_limit = options.in_flight
        self.has_ended = False
        self._catalog = catalog
        self._retry = retry
        self._rewinds: int | None = None
        self._model: Model | None = None
        self._returns: Return = "last"
        self._is_binary = False
        self._is_open = False
        self._has_begun = False  # a frame is answered: the session is there
        self._follows = False  # the session to another version, without a reply since
        self._unanswered: deque[Frame] = deque()
        self._num_posted = 0  # of the unanswered frames, on this socket
        self._attempts = 0  # that failed since the last reply
        self._failing_since = 0.0

    @property
    def timeout_s(self) -> float:
        """Longest wait for a message (s)."""
        return self._retry.settings.timeout_s

    @property
    def in_flight(self) -> int:
        """Frames without a reply."""
        return len(self._unanswered)

    @property
    def has_room(self) -> bool:
        """Whether another frame may be sent before the next reply."""
        counted = not self._unanswered or self._unanswered[-1].steps is not None
        return counted and self.in_flight < self.in_flight_limit

    def open(self) -> StreamFlow[None]:
        """Connect, and learn where the session is. Raises a CellgateError."""
        if not self._is_open:
            yield from self._recover(None)

    def send(self, steps: Steps, *, end: bool = False) -> StreamFlow[None]:
        """Send one frame. A socket that breaks meanwhile is replaced by `receive`.

        Raises ValueError or TypeError for steps that cannot be encoded, RuntimeError after the end.
        """
        if self.has_ended or (self._unanswered and self._unanswered[-1].end):
            raise RuntimeError(f"the stream of session {self.session!r} has ended")
        if not self.has_room:
            raise RuntimeError(f"{self.in_flight} frames have no reply yet; receive one first")
        if self._model is None:
            yield from self.open()
        assert self._model is not None and self.at is not None
        write = frames.binary_frame if self._is_binary else frames.json_frame
        self._unanswered.append(write(steps, self._model, self._next_at(self.at), end=end))
        if self._is_open:
            yield from self._post()

    def receive(self) -> StreamFlow[Prediction]:
        """The reply to the oldest frame without one. After a break, continue on another socket.

        Raises the error of a frame: nothing of it, and of the frames behind it, is applied.
        """
        if not self._unanswered:
            raise RuntimeError("no frame is without a reply")
        while True:
            if not self._is_open:
                yield from self._recover(None)
            outcome = yield Receive()
            if isinstance(outcome, CellgateError):
                yield from self._recover(outcome)
                continue
            message = _message(outcome)
            if isinstance(message, str):
                document = frames.document_in(message)
                if "draining" in document:
                    continue
                if "error" in document:
                    yield from self._fail(error_in(document["error"]))
                    continue
            return self._answered(message)

    def locate(self) -> StreamFlow[int]:
        """Ask the server where the session is, and continue there; frames without a reply are dropped."""
        self._unanswered.clear()
        self.at = self._rewinds = None
        self.has_ended, self._has_begun = False, True
        yield from self._recover(None)
        assert self.at is not None
        return self.at

    def close(self) -> None:
        """Forget the socket; the session stays."""
        self._is_open = False

    def _answered(self, message: Message) -> Prediction:
        assert self._model is not None
        prediction = frames.prediction_in(message, self._model, self.session, self._returns)
        if prediction.step is None:
            raise BadReply("the reply to a frame has no step")
        frame = self._unanswered.popleft()
        self._num_posted -= 1
        self.at, self.has_ended = prediction.step, frame.end
        self._attempts, self._has_begun, self._follows = 0, True, False
        return prediction

    def _fail(self, error: ResponseError) -> StreamFlow[None]:
        """What passes is tried again. Else drop the frame and those behind it, whose `at` no longer fits."""
        self._is_open = False
        # The session is on another version than when the stream was opened: the next opening continues there.
        has_moved = isinstance(error, SessionMismatch) and not (self._follows or self.options.names_number)
        if not (has_moved or is_retryable(error)):
            self._unanswered.clear()
            raise error
        self._follows = self._follows or has_moved
        yield from self._recover(None if has_moved else error)

    def _recover(self, error: CellgateError | None) -> StreamFlow[None]:
        """Open the session on a new socket, and send what is unanswered. Raises what does not pass."""
        self._is_open = False
        while True:
            if error is not None:
                yield from self._pause(error)
            error = yield from self._open_once()
            if error is None:
                return

    def _pause(self, error: CellgateError) -> StreamFlow[None]:
        """Wait before the next socket. Raises the error if there were none but failures for too long."""
        if not self._attempts:
            self._failing_since = self._retry.clock()
        self._attempts += 1
        asked = error.members.get("retry_after_s") if isinstance(error, ResponseError) else None
        try:
            yield from _over_http(wait(error, self._attempts, self._failing_since, asked, self._retry))
        except CellgateError:
            self._attempts = 0
            raise

    def _open_once(self) -> StreamFlow[CellgateError | None]:
        """One attempt. What prevented it; None: it succeeded."""
        if self._model is None:
            self._model = yield from _over_http(self._catalog.find(self.options.model, self.options.version))
        self._num_posted = 0
        for effect in (Connect(), Post(self._opening(self._model)), Receive()):
            outcome = yield effect
            if isinstance(outcome, CellgateError):
                return outcome
        opened = frames.document_in(_message(outcome))
        if "error" in opened:
            return error_in(opened["error"])
        if "draining" in opened:
            return ConnectionFailed("the server is stopping")
        yield from self._take_up(opened)
        return (yield from self._post_or_fail())

    def _opening(self, model: Model) -> str:
        """The first message: where the oldest frame without a reply belongs."""
        options = self.options
        fields = {
            "model": options.model,
            "version": options.version,
            "session": self.session,
            "at": self._unanswered[0].at if self._unanswered else self.at,
            "rewinds": self._rewinds,
            "return": returned(options.returns),
            "outputs": list(options.outputs) or None,
            "encoding": options.encoding_for(model),
            "max_frames_in_flight": options.in_flight,
            "state": None if self._has_begun else options.state,
            "return_state": options.return_state or None,
        }
        given = {name: value for name, value in fields.items() if value is not None}
        return dumps({"channel": CHANNEL} | given).decode()

    def _take_up(self, opened: dict[str, Any]) -> StreamFlow[None]:
        """Continue as the server's answer says.

        Its step is a later one than ours where replies are lost; the frames before it are sent again.
        """
        try:
            name, version, step = opened["model"], opened["version"], opened["step"]
            limit = opened["limits"]["max_frames_in_flight"]
            self._is_binary = opened["encoding"] == "binary"
        except (KeyError, TypeError) as error:
            raise BadReply(f"not the answer to an opening: {error!r}") from error
        self._model = yield from _over_http(self._catalog.find(name, version))
        steps = opened.get("return") or self.options.returns or self._model.default_return
        self._returns = "all" if "all" in steps else "last"  # of a word, or a list of words
        self._rewinds = opened.get("rewinds")
        self.in_flight_limit = min(self.options.in_flight, limit)
        self.at = step if self.at is None else self.at
        self._is_open = True

    def _post(self) -> StreamFlow[None]:
        """Send the frames that are not on this socket yet."""
        if (yield from self._post_or_fail()) is not None:
            self._is_open = False  # `receive` continues on another one

    def _post_or_fail(self) -> StreamFlow[CellgateError | None]:
        while self._num_posted < len(self._unanswered):
            frame = self._unanswered[self._num_posted]
            self._num_posted += 1
            outcome = yield Post(frame.payload)
            if isinstance(outcome, CellgateError):
                self._is_open = False
                return outcome
        return None

    def _next_at(self, at: int) -> int:
        if not self._unanswered:
            return at
        last = self._unanswered[-1]
        assert last.steps is not None  # `has_room`
        return last.at + last.steps


def _over_http(flow: Flow[T]) -> StreamFlow[T]:
    """A flow of requests within one of messages."""
    return (yield from flow)


def _message(outcome: StreamOutcome) -> Message:
    if not isinstance(outcome, str | bytes):
        raise BadReply(f"expected a message, got {outcome!r}")
    return outcome
