"""The client of one history: it sends the pieces through a driver, with copies and repetitions.

main    a piece of the utterance, sent until it is answered
copy    the same at the same time, by another way
early   its successor, before the piece is answered
again   the last request repeated after its answer: must get the same answer
stale   an older request
begin   what a life needs before its first piece
look    a request that moves no session
"""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field

from tests.faults.answer import Answer
from tests.faults.drivers.base import FIRST_WAIT_S, Driver, Network
from tests.faults.drivers.kinds import create
from tests.faults.history import Fault, History, Life, TimedFault
from tests.faults.witness import Sending

# Longest time without an answer. A hang has no end; a whole history may take any time on a loaded machine.
SILENCE_S = 300.0


@dataclass(slots=True)
class Received:
    """The replies that the client of one history received."""

    answers: list[tuple[Sending, Answer]] = field(
        default_factory=list
    )  # to main and again, without those that were retried
    num_sent: int = 0
    last: Answer | None = None  # the session's step at the end


class Client:
    """Sends one history."""

    def __init__(self, history: History, network: Network) -> None:
        self.history = history
        self.received = Received()
        self._network = network
        self._driver: Driver = create(history, network, self._record)
        self._others: list[asyncio.Task[None]] = []  # copy, early, stale: their answers are ignored
        self._patience = asyncio.timeout(SILENCE_S)

    async def run(self) -> Received:
        """Send the whole history. Raises TimeoutError, WrongAnswerError or a CellgateError."""
        try:
            async with self._patience:
                for number, life in enumerate(self.history.lives):
                    await self._send_life(number, life)
                await self._wait_until_quiet()
                self._go_on()
                self.received.last = await self._driver.last()
        finally:
            for task in self._others:
                task.cancel()
            self.received.num_sent = self._driver.num_sent
            await self._driver.close()
        return self.received

    async def _send_life(self, number: int, life: Life) -> None:
        await self._driver.begin(number, life)
        for index in range(len(life.pieces)):
            await self._send_piece(number, life, index)
        await self._driver.drain()

    async def _send_piece(self, number: int, life: Life, index: int) -> None:
        piece, driver = life.pieces[index], self._driver
        if piece.waits:
            await self._wait_until_quiet()
        if piece.copies or piece.brings_next:  # they may overtake the piece, but nothing before it
            await driver.drain()
        for fault in piece.copies:
            self._start(driver.copy(self._sending(number, index, "copy"), piece, fault))
        if piece.brings_next:
            following = life.pieces[index + 1]
            self._start(driver.copy(self._sending(number, index + 1, "early"), following, piece.faults[0]))
        await driver.send(self._sending(number, index, "main"), piece)
        if piece.is_repeated or piece.brings_next or piece.stale is not None:
            await driver.drain()
        if piece.is_repeated:
            await driver.send(self._sending(number, index, "again"), piece)
            await driver.drain()
        if piece.stale is not None:
            older = life.pieces[piece.stale]
            self._start(
                driver.copy(self._sending(number, piece.stale, "stale"), older, TimedFault(Fault.NONE))
            )

    async def _wait_until_quiet(self) -> None:
        await self._driver.drain()
        await asyncio.gather(*self._others)
        self._others.clear()
        while not self._network.witness.is_quiet(self.history.number):
            await asyncio.sleep(FIRST_WAIT_S)
        if self.history.is_cut:
            await self._network.cutter.settled()

    def _go_on(self) -> None:
        """There is progress: the next answer has its time from now on."""
        if not self._patience.expired():
            self._patience.reschedule(asyncio.get_running_loop().time() + SILENCE_S)

    def _start(self, copy: Coroutine[None, None, None]) -> None:
        self._others.append(asyncio.create_task(copy))

    def _sending(self, number: int, index: int, kind: str) -> Sending:
        return Sending(self.history.number, number, index, kind)

    def _record(self, sending: Sending, answer: Answer) -> None:
        """A final answer. The proxies have recorded it, unless it came over a connection that they cut."""
        self._go_on()
        self.received.answers.append((sending, answer))
        if self.history.is_cut:
            self._network.witness.record(sending, answer)
