"""A client of one history: it repeats each request, with the same `at`, until there is an answer.

main    a piece of the utterance, sent until it is answered
copy    the same at the same time, through another proxy
early   its successor, before the piece is answered
again   the last request repeated after its answer: must get the same answer
stale   an older request
"""

import asyncio
import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson

from tests.faults import wire
from tests.faults.history import Fault, History, Life, Piece, TimedFault
from tests.faults.wire import Message
from tests.faults.witness import Sending, Witness

HISTORY_LIMIT_S = 300.0  # generous: a hang has no end
FIRST_WAIT_S, LONGEST_WAIT_S = 0.02, 1.0
RETRIED = {502, 503, 504}


@dataclass(slots=True)
class Received:
    """The replies that the client of one history received."""

    answers: list[tuple[Sending, Message]] = field(
        default_factory=list
    )  # to main and again, without those that were retried
    num_sent: int = 0
    last: Message | None = None  # of GET /sessions/{name} at the end


class Client:
    """Sends one history through the proxies on `ports`."""

    def __init__(self, history: History, ports: Sequence[int], witness: Witness) -> None:
        self.history = history
        self.received = Received()
        self._ports = ports
        self._witness = witness
        self._others: list[asyncio.Task[None]] = []  # copy, early, stale: their answers are ignored
        self._numbers = itertools.count()
        self._rng = random.Random(history.number)

    async def run(self) -> Received:
        """Send the whole history. Raises TimeoutError."""
        async with asyncio.timeout(HISTORY_LIMIT_S):
            for number, life in enumerate(self.history.lives):
                for index in range(len(life.pieces)):
                    await self._send_piece(number, life, index)
            await self._wait_until_quiet()
        self.received.last = await self._show()
        return self.received

    async def _send_piece(self, number: int, life: Life, index: int) -> None:
        piece = life.pieces[index]
        if piece.waits:
            await self._wait_until_quiet()
        for fault in piece.copies:
            self._send_unanswered(Sending(self.history.number, number, index, "copy"), piece, fault)
        if piece.brings_next:
            next_one = Sending(self.history.number, number, index + 1, "early")
            self._send_unanswered(next_one, life.pieces[index + 1], piece.faults[0])
        await self._send_until_answered(
            Sending(self.history.number, number, index, "main"), piece, piece.faults
        )
        if piece.is_repeated:
            await self._send_until_answered(
                Sending(self.history.number, number, index, "again"), piece, piece.faults[:1]
            )
        if piece.stale is not None:
            older = Sending(self.history.number, number, piece.stale, "stale")
            self._send_unanswered(older, life.pieces[piece.stale], TimedFault(Fault.NONE))

    async def _wait_until_quiet(self) -> None:
        await asyncio.gather(*self._others)
        self._others.clear()
        while not self._witness.is_quiet(self.history.number):
            await asyncio.sleep(FIRST_WAIT_S)

    def _send_unanswered(self, sending: Sending, piece: Piece, fault: TimedFault) -> None:
        async def send() -> None:
            await self._send(sending, piece, fault, self._rng.randrange(len(self._ports)))

        self._others.append(asyncio.create_task(send()))

    async def _send_until_answered(
        self, sending: Sending, piece: Piece, faults: Sequence[TimedFault]
    ) -> None:
        """Retry until there is a final answer."""
        wait_s = FIRST_WAIT_S
        for attempt in itertools.count():
            fault = faults[attempt] if attempt < len(faults) else TimedFault()
            answer = await self._send(sending, piece, fault, piece.route + attempt)
            if answer is not None and answer.status not in RETRIED:
                self.received.answers.append((sending, answer))
                return
            await asyncio.sleep(min(wait_s, float((answer and answer.header("Retry-After")) or wait_s)))
            wait_s = min(LONGEST_WAIT_S, 2 * wait_s)

    async def _send(self, sending: Sending, piece: Piece, fault: TimedFault, route: int) -> Message | None:
        self.received.num_sent += 1
        named = Sending(sending.history, sending.life, sending.piece, sending.kind, next(self._numbers))
        path, headers, body = encode(self.history, piece)
        headers |= {"X-Request-ID": str(named), "X-Fault": str(fault)}
        return await wire.send(
            self._ports[route % len(self._ports)], wire.request("POST", path, headers, body)
        )

    async def _show(self) -> Message:
        """The session's resource in the store."""
        path = f"/sessions/{self.history.session}".replace(" ", "%20")
        for attempt in itertools.count():
            named = Sending(self.history.number, 0, 0, "look", attempt)
            message = wire.request("GET", path, {"X-Request-ID": str(named)})
            answer = await wire.send(self._ports[attempt % len(self._ports)], message)
            if answer is not None and answer.status not in RETRIED:
                return answer
            await asyncio.sleep(LONGEST_WAIT_S)
        raise AssertionError


def encode(history: History, piece: Piece) -> tuple[str, dict[str, str], bytes]:
    """Path, headers and body of a piece, for the API that its history uses."""
    if history.api == "v2":
        return _encode_v2(history, piece)
    sequence = {"steps": piece.steps.tolist(), "session": history.session, "at": piece.at}
    if piece.is_end:
        sequence["end"] = True
    body = orjson.dumps({"sequences": [sequence], "return": "all" if piece.keep_all else "last"})
    return "/predict", {"Content-Type": "application/json"}, body


def _encode_v2(history: History, piece: Piece) -> tuple[str, dict[str, str], bytes]:
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
    return "/v2/models/vowels/infer", headers, head + numbers


def decode(history: History, answer: Message) -> tuple[int, list[bytes]]:
    """The step, and each output [classes] float32 as bytes, of a 200."""
    if history.api == "predict":
        prediction = orjson.loads(answer.body)["predictions"][0]
        output = np.array(prediction["output"], "<f4")
        return prediction["step"], [row.tobytes() for row in np.atleast_2d(output)]
    length = int(answer.header("Inference-Header-Content-Length") or 0)
    head = orjson.loads(answer.body[:length])
    first = head["outputs"][0]  # [1, time, classes]; further outputs follow it
    size = first["parameters"]["binary_data_size"]
    output = np.frombuffer(answer.body[length : length + size], "<f4").reshape(first["shape"])[0]
    return head["parameters"]["step"], [row.tobytes() for row in output]
