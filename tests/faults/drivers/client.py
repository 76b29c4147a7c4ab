"""The Python client, `cellgate.AsyncClient`: it repeats its requests by itself.

Half of its histories go through the proxies that apply a fault to a request, and the others, over connections
that many histories share, through the proxy that cuts them at any byte.
"""

import itertools
import random

import httpx

from cellgate import AsyncClient, AsyncSession, ResponseError, Settings
from tests.faults.answer import Answer, from_error, from_prediction
from tests.faults.drivers.base import RETRY_S, Network, Record, WrongAnswerError
from tests.faults.drivers.http import HttpDriver
from tests.faults.history import History, Life, Piece, TimedFault
from tests.faults.witness import Sending

LOCATED = 0.2  # share of pieces before which the client asks where the session is


class ClientDriver:
    """One client, and the session of a history."""

    def __init__(self, history: History, network: Network, record: Record) -> None:
        self.num_sent = 0
        self._history = history
        self._record = record
        self._rng = random.Random(history.number)
        self._copies = HttpDriver(history, network, record)
        self._transport = _Transport(network, history)
        settings = Settings(
            url=f"http://127.0.0.1:{network.cutter.port}",
            max_retry_s=RETRY_S,
            first_backoff_s=0.02,
            max_backoff_s=1.0,
        )
        self._client = AsyncClient(settings=settings, transport=self._transport)
        self._session = self._client.session(history.session, model="vowels", at=0)
        self._is_alone = True  # no request of others can move the session now

    async def begin(self, number: int, life: Life) -> None:
        """A session begins with its first request."""

    async def send(self, sending: Sending, piece: Piece) -> None:
        self._transport.begin(sending, piece)
        session = await self._session_at(piece, may_locate=sending.kind == "main" and not piece.copies)
        try:
            prediction = await session.step(
                piece.steps, end=piece.is_end, returns="all" if piece.keep_all else "last"
            )
        except ResponseError as error:
            self._record(sending, from_error(error))
        else:
            self._record(sending, from_prediction(prediction))
        self._is_alone = not piece.brings_next
        self.num_sent = self._copies.num_sent + self._transport.num_sent

    async def drain(self) -> None:
        """Every piece is answered when it is sent."""

    async def copy(self, sending: Sending, piece: Piece, fault: TimedFault) -> None:
        await self._copies.copy(sending, piece, fault)

    async def last(self) -> Answer:
        return await self._copies.last()

    async def close(self) -> None:
        """The connections are shared: the campaign closes them."""

    async def _session_at(self, piece: Piece, *, may_locate: bool) -> AsyncSession:
        """The session before the piece. Sometimes a new process continues it, and asks where it is."""
        if may_locate and self._is_alone and self._rng.random() < LOCATED:
            self._session = self._client.session(self._history.session, model="vowels")
            if (at := await self._session.locate()) != piece.at:
                raise WrongAnswerError(f"the client continues at {at}, not at {piece.at}")
        if self._session.at != piece.at:
            self._session = self._client.session(self._history.session, model="vowels", at=piece.at)
        return self._session


class _Transport(httpx.AsyncBaseTransport):
    """Marks each request with its piece and its fault, unless the connections are to be cut."""

    def __init__(self, network: Network, history: History) -> None:
        self.num_sent = 0
        self._network = network
        self._is_cut = history.is_cut
        self._numbers = itertools.count()

    def begin(self, sending: Sending, piece: Piece) -> None:
        """The requests that follow are for that piece."""
        self._sending, self._piece, self._attempt = sending, piece, 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.num_sent += 1
        if not self._is_cut:
            self._mark(request)
        return await self._network.transport.handle_async_request(request)

    def _mark(self, request: httpx.Request) -> None:
        sending, faults, ports = self._sending, self._piece.faults, self._network.ports
        fault = TimedFault()
        if request.url.path != "/predict":
            sending = sending.looking()
        elif self._attempt < len(faults):
            fault = faults[self._attempt]
        request.headers["X-Request-ID"] = str(sending.numbered(next(self._numbers)))
        request.headers["X-Fault"] = str(fault)
        request.headers["Connection"] = "close"
        request.url = request.url.copy_with(port=ports[(self._piece.route + self._attempt) % len(ports)])
        self._attempt += request.url.path == "/predict"
