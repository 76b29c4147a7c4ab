"""What a history needs of a driver, and what a driver needs of the campaign."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import httpx

from tests.faults.answer import Answer
from tests.faults.cutter import Cutter
from tests.faults.history import Life, Piece, TimedFault
from tests.faults.witness import Sending, Witness

FIRST_WAIT_S, LONGEST_WAIT_S = 0.02, 1.0
RETRY_S = 250.0  # shorter than the longest time without an answer

Record = Callable[[Sending, Answer], None]


class WrongAnswerError(Exception):
    """A driver has seen what no server may answer."""


@dataclass(frozen=True, slots=True)
class Network:
    """The ways to the servers, which all histories share."""

    ports: Sequence[int]  # of the proxies that apply the faults in a request's header, one for each server
    cutter: Cutter
    witness: Witness
    transport: httpx.AsyncHTTPTransport


class Driver(Protocol):
    """Sends the pieces of one history until they are answered."""

    @property
    def num_sent(self) -> int:
        """Requests or frames."""
        ...

    async def begin(self, number: int, life: Life) -> None:
        """Do what a life needs before its first piece."""
        ...

    async def send(self, sending: Sending, piece: Piece) -> None:
        """Send a piece. It may be answered later, but before those sent after it."""
        ...

    async def drain(self) -> None:
        """Wait until all pieces are answered."""
        ...

    async def copy(self, sending: Sending, piece: Piece, fault: TimedFault) -> None:
        """Send a piece once, whatever becomes of it."""
        ...

    async def last(self) -> Answer:
        """The step at the end, as the servers say."""
        ...

    async def close(self) -> None:
        """Close what it has opened."""
        ...
