"""A bare WebSocket client of `GET /stream`, with several frames in flight, in JSON or binary.

send ─→ pending: frame frame frame ─→ socket ─→ proxy that cuts it at any byte ─→ a server
          ↑ first                                      │
          └─ answered, and removed ←───────────────────┘
   no reply, or a refusal that passes: open the channel again, and send all that is pending again
"""

import asyncio
import contextlib
import random
from collections import deque

import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus, WebSocketException

from tests.faults.answer import FRAME, OK, RETRIED, Answer, from_binary_frame, from_json_frame
from tests.faults.drivers.base import FIRST_WAIT_S, LONGEST_WAIT_S, Network, Record, WrongAnswerError
from tests.faults.drivers.http import HttpDriver
from tests.faults.history import History, Life, Piece, TimedFault
from tests.faults.witness import Sending

END, HAS_AT = 1, 2  # flags of a frame
WINDOWS = (1, 2, 4, 16)  # frames in flight
CLOSE_S = 1.0


class StreamDriver:
    """One channel; a new socket when the one before broke."""

    def __init__(self, history: History, network: Network, record: Record) -> None:
        self.num_sent = 0
        self._history = history
        self._network = network
        self._record = record
        self._rng = random.Random(history.number)
        self.window = self._rng.choice(WINDOWS)
        self.is_binary = self._rng.random() < 0.5
        self._channel = self._rng.randrange(256)
        self._keep_all = False
        self._pending: deque[tuple[Sending, Piece]] = deque()  # frames without an answer, in order
        self._socket: ClientConnection | None = None
        self._is_open = False  # the channel, with all that is pending sent on it
        self._wait_s = FIRST_WAIT_S
        self._copies = HttpDriver(history, network, record)

    async def begin(self, number: int, life: Life) -> None:  # noqa: ARG002
        """Open the channel again: this life may want other replies."""
        self._keep_all = life.pieces[0].keep_all
        self._is_open = False

    async def send(self, sending: Sending, piece: Piece) -> None:
        while len(self._pending) >= self.window:
            await self._receive()
        self._pending.append((sending, piece))
        if self._is_open:
            try:
                await self._write(piece)
            except (OSError, WebSocketException):
                self._is_open = False

    async def drain(self) -> None:
        while self._pending:
            await self._receive()

    async def copy(self, sending: Sending, piece: Piece, fault: TimedFault) -> None:
        """Over HTTP, whose replies are those of JSON; in binary over a stream of its own."""
        if not self.is_binary:
            await self._copies.copy(sending, piece, fault)
            return
        other = StreamDriver(self._history, self._network, self._ignore)
        other.window, other._keep_all = self.window, piece.keep_all
        try:
            await asyncio.sleep(fault.delay_s)
            await other._try(sending, piece)
        finally:
            self.num_sent += other.num_sent
            await other.close()

    async def last(self) -> Answer:
        return await self._copies.last()

    async def close(self) -> None:
        self._is_open = False
        if self._socket is not None:
            await self._socket.close()

    def _ignore(self, sending: Sending, answer: Answer) -> None:
        """The answer to a copy: it is checked, and has no other use."""
        self._network.witness.record(sending, answer)

    async def _try(self, sending: Sending, piece: Piece) -> None:
        """Send a frame once."""
        self._pending.append((sending, piece))
        with contextlib.suppress(OSError, WebSocketException, EOFError):
            await self._exchange()

    async def _receive(self) -> None:
        """Make some progress: open the channel, or take in a message."""
        try:
            is_answered = await self._exchange()
        except (OSError, WebSocketException, EOFError):
            self._is_open, self._socket = False, None
            is_answered = False
        if is_answered:
            self._wait_s = FIRST_WAIT_S
        elif not self._is_open:
            await asyncio.sleep(self._rng.random() * self._wait_s)
            self._wait_s = min(LONGEST_WAIT_S, 2 * self._wait_s)

    async def _exchange(self) -> bool:
        """Whether the first frame has its final answer."""
        if self._socket is None:
            self._socket = await self._connect()
        if not self._is_open and (refusal := await self._open(self._socket)) is not None:
            return self._take(refusal)
        return self._take(await self._socket.recv())

    async def _connect(self) -> ClientConnection:
        url = f"ws://127.0.0.1:{self._network.cutter.port}/stream"
        try:
            return await connect(
                url, compression=None, proxy=None, ping_interval=None, close_timeout=CLOSE_S, max_size=None
            )
        except InvalidStatus as error:
            if error.response.status_code in RETRIED:
                raise
            raise WrongAnswerError(f"GET /stream: {error}") from error

    async def _open(self, socket: ClientConnection) -> str | None:
        """Open the channel at the first frame without an answer, and send all of them; or the refusal."""
        opening = {
            "channel": self._channel,
            "model": "vowels",
            "session": self._history.session,
            "at": self._pending[0][1].at,
            "return": "all" if self._keep_all else "last",
            "encoding": "binary" if self.is_binary else "json",
            "max_frames_in_flight": self.window,
        }
        await socket.send(orjson.dumps(opening).decode())
        message = await socket.recv()
        while not _is_answer_to_opening(message):  # to a frame before it, which is sent again
            message = await socket.recv()
        document = orjson.loads(message)
        if "error" in document:
            return str(message)
        if document["step"] < self._pending[0][1].at:
            raise WrongAnswerError(f"opened at {document['step']}, not {self._pending[0][1].at}")
        for _, piece in self._pending:
            await self._write(piece)
        self._is_open = True
        return None

    async def _write(self, piece: Piece) -> None:
        assert self._socket is not None
        self.num_sent += 1
        if not self.is_binary:
            frame = {"channel": self._channel, "steps": piece.steps.tolist(), "at": piece.at}
            frame |= {"end": True} if piece.is_end else {}
            await self._socket.send(orjson.dumps(frame).decode())
            return
        flags = HAS_AT | (END if piece.is_end else 0)
        head = FRAME.pack(self._channel, flags, len(piece.steps), piece.at)
        await self._socket.send(head + piece.steps.astype("<f4").tobytes())

    def _take(self, message: str | bytes) -> bool:
        """Take in a message; whether it is the final answer to the first frame."""
        if isinstance(message, str) and "draining" in message:
            return False  # the server closes the socket next
        answer = from_json_frame(message) if isinstance(message, str) else from_binary_frame(message)
        if answer.status != OK:
            self._is_open = False  # frames behind it are refused, too
        if answer.status in RETRIED or _has_moved(answer):
            return False
        sending, _ = self._pending.popleft()
        self._record(sending, answer)
        return True


def _has_moved(answer: Answer) -> bool:
    """Whether the session is on another version than when its channel was opened: open it again."""
    return answer.code == "session_mismatch" and b"open the channel again" in answer.raw


def _is_answer_to_opening(message: str | bytes) -> bool:
    document = orjson.loads(message) if isinstance(message, str) else {}
    return "limits" in document or "closed" in document
