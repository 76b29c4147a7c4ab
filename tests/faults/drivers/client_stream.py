"""The Python client's stream, which connects again, and sends what has no reply again, by itself."""

import random
from collections import deque

from cellgate import AsyncClient, AsyncStream, ResponseError, Settings
from tests.faults.answer import Answer, from_error, from_prediction
from tests.faults.drivers.base import RETRY_S, Network, Record
from tests.faults.drivers.stream import StreamDriver
from tests.faults.history import History, Life, Piece, TimedFault
from tests.faults.witness import Sending

ASKING = 0.2  # share of streams that let the server say where the session is


class ClientStreamDriver:
    """One stream for each life; another one to repeat a frame."""

    def __init__(self, history: History, network: Network, record: Record) -> None:
        self._frames_sent = 0
        self._session = history.session
        self._record = record
        self._rng = random.Random(history.number)
        self._bare = StreamDriver(history, network, record)  # sends the copies, in the same form
        settings = Settings(
            url=f"http://127.0.0.1:{network.cutter.port}",
            max_retry_s=RETRY_S,
            first_backoff_s=0.02,
            max_backoff_s=1.0,
        )
        self._client = AsyncClient(settings=settings, transport=network.transport)
        self._stream: AsyncStream | None = None
        self._next = 0  # the step of the stream's next frame
        self._keep_all = False
        self._pending: deque[tuple[Sending, Piece]] = deque()  # frames without a reply, in order

    @property
    def num_sent(self) -> int:
        """Frames, and requests of copies."""
        return self._frames_sent + self._bare.num_sent

    async def begin(self, number: int, life: Life) -> None:
        """Begin a stream: this life may want other replies."""
        await self._bare.begin(number, life)
        self._keep_all = life.pieces[0].keep_all
        is_alone = number == 0 and not life.pieces[0].copies  # which would move the session meanwhile
        await self._restart(life.pieces[0].at, asks=is_alone and self._rng.random() < ASKING)

    async def send(self, sending: Sending, piece: Piece) -> None:
        while len(self._pending) >= self._bare.window:
            await self._receive()
        if self._stream is None or self._next != piece.at:
            await self.drain()
            await self._restart(piece.at)
        assert self._stream is not None
        self._frames_sent += 1
        try:
            await self._stream.send(piece.steps, end=piece.is_end)
        except ResponseError as error:  # of the opening
            self._stream = None
            self._record(sending, from_error(error))
        else:
            self._pending.append((sending, piece))
            self._next = piece.end

    async def drain(self) -> None:
        while self._pending:
            await self._receive()

    async def copy(self, sending: Sending, piece: Piece, fault: TimedFault) -> None:
        await self._bare.copy(sending, piece, fault)

    async def last(self) -> Answer:
        return await self._bare.last()

    async def close(self) -> None:
        """Close the socket. The other connections are shared: the campaign closes them."""
        await self._bare.close()
        if self._stream is not None:
            await self._stream.close()

    async def _receive(self) -> None:
        """The reply to the first frame. After a refusal, the frames behind it are sent on another stream."""
        assert self._stream is not None
        sending, _ = self._pending.popleft()
        try:
            prediction = await self._stream.receive()
        except ResponseError as error:
            self._record(sending, from_error(error))
            behind, self._pending = self._pending, deque()
            await self._stream.close()
            self._stream = None
            for frame in behind:
                await self.send(*frame)
        else:
            self._record(sending, from_prediction(prediction))

    async def _restart(self, at: int, *, asks: bool = False) -> None:
        if self._stream is not None:
            await self._stream.close()
        self._next = at
        self._stream = self._client.stream(
            self._session,
            model="vowels",
            at=None if asks else at,
            returns="all" if self._keep_all else "last",
            encoding="binary" if self._bare.is_binary else "json",
            in_flight=self._bare.window,
        )
