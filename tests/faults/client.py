"""What a real client does: the same request again, with the same `at`, until there is an answer.

main    a piece of the utterance, sent until it is answered
copy    the same at the same time, by another way
early   its successor, before its own turn
again   the last request once more, after its answer: must get that very answer
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
from tests.faults.history import Blow, Fault, History, Life, Piece
from tests.faults.wire import Message
from tests.faults.witness import Sending, Witness

PATIENCE_S = 90.0
FIRST_WAIT_S, LONGEST_WAIT_S = 0.02, 1.0
TRY_AGAIN = {502, 503, 504}


class GaveUp(Exception):
    """A request that found no answer."""


@dataclass(slots=True)
class Heard:
    """What the client of one history was told."""

    answers: list[tuple[Sending, Message]] = field(default_factory=list)  # to main and again, final
    num_sent: int = 0
    last: Message | None = None  # of GET /sessions/{name}, when all was over


class Client:
    """Lives one history, through the proxies on `ports`."""

    def __init__(self, history: History, ports: Sequence[int], witness: Witness) -> None:
        self.history = history
        self.heard = Heard()
        self._ports = ports
        self._witness = witness
        self._others: list[asyncio.Task[None]] = []  # sent besides; nobody waits for their answers
        self._numbers = itertools.count()
        self._rng = random.Random(history.number)

    async def live(self) -> Heard:
        """All of it. Raises GaveUp."""
        async with asyncio.timeout(PATIENCE_S):
            for number, life in enumerate(self.history.lives):
                for index in range(len(life.pieces)):
                    await self._send_piece(number, life, index)
            await self._wait_until_quiet()
        self.heard.last = await self._look()
        return self.heard

    async def _send_piece(self, number: int, life: Life, index: int) -> None:
        piece = life.pieces[index]
        if piece.waits:
            await self._wait_until_quiet()
        for blow in piece.copies:
            self._send_besides(Sending(self.history.number, number, index, "copy"), piece, blow)
        if piece.brings_next:
            next_one = Sending(self.history.number, number, index + 1, "early")
            self._send_besides(next_one, life.pieces[index + 1], piece.blows[0])
        await self._insist(Sending(self.history.number, number, index, "main"), piece, piece.blows)
        if piece.is_asked_again:
            await self._insist(Sending(self.history.number, number, index, "again"), piece, piece.blows[:1])
        if piece.stale is not None:
            older = Sending(self.history.number, number, piece.stale, "stale")
            self._send_besides(older, life.pieces[piece.stale], Blow(Fault.NONE))

    async def _wait_until_quiet(self) -> None:
        await asyncio.gather(*self._others)
        self._others.clear()
        while not self._witness.is_quiet(self.history.number):
            await asyncio.sleep(FIRST_WAIT_S)

    def _send_besides(self, sending: Sending, piece: Piece, blow: Blow) -> None:
        async def send() -> None:
            await self._send(sending, piece, blow, self._rng.randrange(len(self._ports)))

        self._others.append(asyncio.create_task(send()))

    async def _insist(self, sending: Sending, piece: Piece, blows: Sequence[Blow]) -> None:
        """Send until there is an answer that sending it again would not change."""
        wait_s = FIRST_WAIT_S
        for attempt in itertools.count():
            blow = blows[attempt] if attempt < len(blows) else Blow()
            answer = await self._send(sending, piece, blow, piece.route + attempt)
            if answer is not None and answer.status not in TRY_AGAIN:
                self.heard.answers.append((sending, answer))
                return
            await asyncio.sleep(min(wait_s, float((answer and answer.header("Retry-After")) or wait_s)))
            wait_s = min(LONGEST_WAIT_S, 2 * wait_s)

    async def _send(self, sending: Sending, piece: Piece, blow: Blow, route: int) -> Message | None:
        self.heard.num_sent += 1
        named = Sending(sending.history, sending.life, sending.piece, sending.kind, next(self._numbers))
        path, headers, body = encode(self.history, piece)
        headers |= {"X-Request-ID": str(named), "X-Fault": str(blow)}
        return await wire.ask(
            self._ports[route % len(self._ports)], wire.request("POST", path, headers, body)
        )

    async def _look(self) -> Message:
        """Where the store says that the session is."""
        path = f"/sessions/{self.history.session}".replace(" ", "%20")
        for attempt in itertools.count():
            named = Sending(self.history.number, 0, 0, "look", attempt)
            message = wire.request("GET", path, {"X-Request-ID": str(named)})
            answer = await wire.ask(self._ports[attempt % len(self._ports)], message)
            if answer is not None and answer.status not in TRY_AGAIN:
                return answer
            await asyncio.sleep(LONGEST_WAIT_S)
        raise AssertionError


def encode(history: History, piece: Piece) -> tuple[str, dict[str, str], bytes]:
    """Path, headers and body of a piece, in its history's face."""
    if history.face == "v2":
        return _encode_v2(history, piece)
    sequence = {"steps": piece.steps.tolist(), "session": history.session, "at": piece.at}
    if piece.is_end:
        sequence["end"] = True
    body = orjson.dumps({"sequences": [sequence], "return": "all" if piece.keep_all else "last"})
    return "/predict", {"Content-Type": "application/json"}, body


def _encode_v2(history: History, piece: Piece) -> tuple[str, dict[str, str], bytes]:
    """Tensors as bytes, there and back."""
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
    if history.face == "predict":
        prediction = orjson.loads(answer.body)["predictions"][0]
        output = np.array(prediction["output"], "<f4")
        return prediction["step"], [row.tobytes() for row in np.atleast_2d(output)]
    length = int(answer.header("Inference-Header-Content-Length") or 0)
    head = orjson.loads(answer.body[:length])
    shape = head["outputs"][0]["shape"]  # [1, time, classes]
    output = np.frombuffer(answer.body[length:], "<f4").reshape(shape)[0]
    return head["parameters"]["step"], [row.tobytes() for row in output]
