"""Open loop: requests are sent by a schedule, whether or not earlier ones were answered.

    schedule   |    |  |      |   |          each mark: the time at which a request is due
    latency    └──────────┘ reply            from the due time, not from the time of sending

A client that waits for a reply before it sends the next request cannot see a stall (Gil Tene's "coordinated
omission"); this one can. It knows sockets, not peers.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import httptools
import numpy as np
import uvloop
from numpy.typing import NDArray

GRACE_S = 60.0  # after the last request is due
NO_ANSWER, NOT_SENT = 0, -1  # in addition to HTTP statuses


@dataclass(frozen=True, slots=True)
class Due:
    """A request and the time to send it, in seconds from the start."""

    at_s: float
    payload: bytes
    kind: str


@dataclass(frozen=True, slots=True)
class Answer:
    """The outcome of a request."""

    kind: str
    latency_s: float
    status: int  # HTTP status, NO_ANSWER or NOT_SENT
    lag_s: float  # delay of sending, caused by the generator or a busy machine


def schedule(
    kinds: Sequence[tuple[str, float, Sequence[bytes]]], *, rate: float, seconds: float
) -> list[Due]:
    """Poisson arrivals with a fixed seed, the same for every peer; kinds: (name, share, payloads)."""
    random = np.random.default_rng(7)
    times = np.cumsum(random.exponential(1 / rate, round(rate * seconds)))
    chosen = random.choice(len(kinds), len(times), p=[share for _, share, _ in kinds])
    dues = []
    for number, (at, index) in enumerate(zip(times, chosen, strict=True)):
        name, _, payloads = kinds[index]
        dues.append(Due(float(at), payloads[number % len(payloads)], name))
    return dues


def payload(path: str, body: bytes) -> bytes:
    """A whole HTTP request."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def run(port: int, dues: Iterable[Due], *, connections: int) -> list[Answer]:
    """Send each request at its time, over at most `connections` connections; wait for the answers."""
    return uvloop.run(_run(port, dues, connections, GRACE_S))


def overload(port: int, dues: Iterable[Due], *, connections: int) -> list[Answer]:
    """As `run`, above the capacity: requests that are due while all connections are busy are not sent."""
    return uvloop.run(_run(port, dues, connections, 2.0, is_shedding=True))


def percentile_ms(answers: Sequence[Answer], kind: str, percent: float) -> float:
    """A percentile of the latencies of one kind of request; without a 200 it counts as infinite."""
    values: NDArray[np.float64] = np.array(
        [a.latency_s if a.status == 200 else np.inf for a in answers if a.kind == kind]
    )
    return float(np.percentile(values, percent, method="higher")) * 1e3


def answered_ms(answers: Sequence[Answer], percent: float) -> float:
    """A percentile of the latencies of the requests that were answered 200, NaN if there are none."""
    values = [answer.latency_s for answer in answers if answer.status == 200]
    return float(np.percentile(values, percent, method="higher")) * 1e3 if values else float("nan")


class _Connection(asyncio.Protocol):
    """One request at a time on one keep-alive connection."""

    def __init__(self) -> None:
        self._reply: asyncio.Future[int] | None = None
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)

    @property
    def is_open(self) -> bool:
        """Whether it can take a request."""
        return self._transport is not None and not self._transport.is_closing()

    def send(self, data: bytes) -> asyncio.Future[int]:
        """The status of the complete reply; NO_ANSWER if the connection broke."""
        assert self._transport is not None
        self._reply = asyncio.get_running_loop().create_future()
        self._transport.write(data)
        return self._reply

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's class does not inherit from it

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        keep = self._parser.should_keep_alive()
        self._parser = httptools.HttpResponseParser(self)
        if not keep:
            self.close()
        self._settle(status)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  asyncio names it
        self._settle(NO_ANSWER)

    def _settle(self, status: int) -> None:
        if self._reply is not None and not self._reply.done():
            self._reply.set_result(status)


class _Pool:
    """Idle connections; more are opened as needed, up to a limit."""

    def __init__(self, port: int, limit: int) -> None:
        self._port = port
        self._free: list[_Connection] = []
        self._permits = asyncio.Semaphore(limit)

    @property
    def is_full(self) -> bool:
        """Whether another request would have to wait for a connection."""
        return self._permits.locked()

    async def send(self, data: bytes) -> int:
        """The status of the reply, or NO_ANSWER."""
        async with self._permits:
            connection = await self._take()
            if connection is None:
                return NO_ANSWER
            status = await connection.send(data)
            if connection.is_open:
                self._free.append(connection)
            return status

    def close(self) -> None:
        """Close all idle connections."""
        for connection in self._free:
            connection.close()

    async def _take(self) -> _Connection | None:
        while self._free:
            connection = self._free.pop()
            if connection.is_open:
                return connection
        try:
            loop = asyncio.get_running_loop()
            return (await loop.create_connection(_Connection, "127.0.0.1", self._port))[1]
        except OSError:
            return None


async def _run(
    port: int, dues: Iterable[Due], connections: int, grace_s: float, is_shedding: bool = False
) -> list[Answer]:
    loop = asyncio.get_running_loop()
    pool = _Pool(port, connections)
    start = loop.time() + 0.1
    answers: list[Answer] = []

    async def send(due: Due) -> None:
        due_time = start + due.at_s
        lag = loop.time() - due_time
        try:
            status = await pool.send(due.payload)
        except asyncio.CancelledError:
            status = NO_ANSWER
        answers.append(Answer(due.kind, loop.time() - due_time, status, lag))

    async with asyncio.TaskGroup() as group:
        running: set[asyncio.Task[None]] = set()
        for due in dues:
            await asyncio.sleep(start + due.at_s - loop.time())
            if is_shedding and pool.is_full:
                answers.append(Answer(due.kind, float("inf"), NOT_SENT, 0.0))
                continue
            task = group.create_task(send(due))
            running.add(task)
            task.add_done_callback(running.discard)
        if running:
            _, late = await asyncio.wait(running, timeout=grace_s)
            for task in late:
                task.cancel()
    pool.close()
    return answers
