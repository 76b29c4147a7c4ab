"""HTTP by hand: each request has its own connection, through a proxy that applies a fault to it."""

import asyncio
import itertools
import random
from typing import Any

import orjson

from tests.faults import wire
from tests.faults.answer import RETRIED, Answer, from_http
from tests.faults.drivers.base import FIRST_WAIT_S, LONGEST_WAIT_S, Network, Record
from tests.faults.history import History, Life, Piece, TimedFault
from tests.faults.wire import Message
from tests.faults.witness import Sending

JSON = {"Content-Type": "application/json"}


class HttpDriver:
    """Repeats each request, with the same `at`, until there is an answer."""

    def __init__(self, history: History, network: Network, record: Record) -> None:
        self.history = history
        self.num_sent = 0
        self._network = network
        self._record = record
        self._numbers = itertools.count()
        self._rng = random.Random(history.number)

    async def begin(self, number: int, life: Life) -> None:
        """A session begins with its first request."""

    async def send(self, sending: Sending, piece: Piece) -> None:
        faults = piece.faults if sending.kind == "main" else piece.faults[:1]
        answer = await self._send_until_answered(
            self.encode(sending, piece), sending, faults, route=piece.route
        )
        self._record(sending, answer)

    async def drain(self) -> None:
        """Every piece is answered when it is sent."""

    async def copy(self, sending: Sending, piece: Piece, fault: TimedFault) -> None:
        route = self._rng.randrange(len(self._network.ports))
        await self._send(self.encode(sending, piece), sending, fault, route)

    async def last(self) -> Answer:
        """Of the session's resource in the store."""
        path = f"/sessions/{self.history.session}".replace(" ", "%20")
        request = wire.request("GET", path, {})
        return await self._send_until_answered(request, Sending(self.history.number, 0, 0, "look"))

    async def close(self) -> None:
        """Nothing is open."""

    def encode(self, sending: Sending, piece: Piece) -> Message:  # noqa: ARG002
        """The request of a piece, for the API that its history uses."""
        if self.history.api == "v2":
            return _encode_v2(self.history, piece)
        sequence = {"steps": piece.steps.tolist(), "session": self.history.session, "at": piece.at}
        return encode_predict(sequence | ({"end": True} if piece.is_end else {}), piece)

    async def _send_until_answered(
        self, request: Message, sending: Sending, faults: tuple[TimedFault, ...] = (), route: int = 0
    ) -> Answer:
        """Retry until there is a final answer."""
        wait_s = FIRST_WAIT_S
        for attempt in itertools.count():
            fault = faults[attempt] if attempt < len(faults) else TimedFault()
            reply = await self._send(request, sending, fault, route + attempt)
            if reply is not None and reply.status not in RETRIED:
                return from_http(reply)
            await asyncio.sleep(min(wait_s, float((reply and reply.header("Retry-After")) or wait_s)))
            wait_s = min(LONGEST_WAIT_S, 2 * wait_s)
        raise AssertionError

    async def _send(
        self, request: Message, sending: Sending, fault: TimedFault, route: int
    ) -> Message | None:
        self.num_sent += 1
        named = request.with_headers(
            {"X-Request-ID": str(sending.numbered(next(self._numbers))), "X-Fault": str(fault)}
        )
        return await wire.send(self._network.ports[route % len(self._network.ports)], named)


def encode_predict(sequence: dict[str, Any], piece: Piece, **fields: Any) -> Message:
    """A request of `/predict` with one sequence."""
    body = {"sequences": [sequence], "return": "all" if piece.keep_all else "last"} | fields
    return wire.request("POST", "/predict", JSON, orjson.dumps(body))


def _encode_v2(history: History, piece: Piece) -> Message:
    """Binary tensors in request and reply."""
    numbers = piece.steps.astype("<f4").tobytes()
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, *piece.steps.shape]}
    parameters: dict[str, Any] = {"sequence_id": history.sequence_id, "at": piece.at}
    parameters |= {"return": "all" if piece.keep_all else "last", "binary_data_output": True}
    parameters |= {"sequence_end": True} if piece.is_end else {}
    parameters |= {"sequence_start": True} if piece.start != "auto" else {}
    parameters |= {"restart": True} if piece.start == "restart" else {}
    head = orjson.dumps(
        {"inputs": [tensor | {"parameters": {"binary_data_size": len(numbers)}}], "parameters": parameters}
    )
    headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head))}
    return wire.request("POST", "/v2/models/vowels/infer", headers, head + numbers)
