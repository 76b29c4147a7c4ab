"""State tokens: a sequence that continues over all servers, without a session and without a store."""

import orjson

from tests.faults.answer import OK, Answer
from tests.faults.drivers.base import Network, Record
from tests.faults.drivers.http import HttpDriver, encode_predict
from tests.faults.history import History, Piece
from tests.faults.wire import Message
from tests.faults.witness import Sending


class TokenDriver(HttpDriver):
    """Each request has the token of the reply before."""

    def __init__(self, history: History, network: Network, record: Record) -> None:
        super().__init__(history, network, self._keep)
        self._pass_on = record
        self._tokens: dict[int, str] = {}  # by step
        self._last = Answer(0)

    def encode(self, sending: Sending, piece: Piece) -> Message:  # noqa: ARG002
        sequence = {"steps": piece.steps.tolist(), "state": self._tokens.get(piece.at)}
        return encode_predict(sequence, piece, model="vowels", return_state=True)

    async def last(self) -> Answer:
        """Of the last token: no server knows the sequence."""
        return self._last

    def _keep(self, sending: Sending, answer: Answer) -> None:
        if answer.status == OK:
            self._tokens[answer.step] = orjson.loads(answer.raw)["predictions"][0]["state"]
            self._last = answer
        self._pass_on(sending, answer)
