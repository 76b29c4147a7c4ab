"""Rewinds: each further life begins with a return to an earlier step, and every request says `rewinds`."""

import orjson

from tests.faults import wire
from tests.faults.answer import OK, Answer
from tests.faults.drivers.base import WrongAnswerError
from tests.faults.drivers.http import JSON, HttpDriver, encode_predict
from tests.faults.history import Life, Piece
from tests.faults.wire import Message
from tests.faults.witness import Sending

MAX_CHECKPOINTS = 64


class RewindDriver(HttpDriver):
    """Creates a session that keeps its earlier states, and rewinds it before each further life."""

    async def begin(self, number: int, life: Life) -> None:
        first = life.pieces[0]
        if number == 0:
            kept = {"last": MAX_CHECKPOINTS}
            request = self._request("PUT", "", {"model": "vowels", "history": kept})
            expected = {201, OK, 409}  # 409: a reply was lost
        else:
            before = self.history.lives[number - 1].pieces[-1].end
            rewind = {"step": first.at, "at": before, "rewinds": number - 1}
            request = self._request("POST", "/rewind", rewind)
            expected = {OK}
        sending = Sending(self.history.number, number, 0, "begin")
        answer = await self._send_until_answered(request, sending, first.faults, first.route)
        if answer.status not in expected or (number and answer.step != first.at):
            raise WrongAnswerError(f"{request.head[:80]!r} for life {number} is answered with {answer}")

    def encode(self, sending: Sending, piece: Piece) -> Message:
        sequence = {"steps": piece.steps.tolist(), "session": self.history.session, "at": piece.at}
        return encode_predict(sequence | {"rewinds": sending.life}, piece)

    async def last(self) -> Answer:
        """Of the session's resource, which counts its rewinds."""
        answer = await super().last()
        rewinds = orjson.loads(answer.raw).get("rewinds", 0)
        if answer.status == OK and rewinds != len(self.history.lives) - 1:
            raise WrongAnswerError(f"rewound {rewinds} times, not {len(self.history.lives) - 1}")
        return answer

    def _request(self, method: str, action: str, body: object) -> Message:
        return wire.request(method, f"/sessions/{self.history.session}{action}", JSON, orjson.dumps(body))
