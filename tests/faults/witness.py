"""Sees every reply that a server gives, whether or not a client hears it, and what is still under way."""

import asyncio
import contextlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from tests.faults.wire import Message


@dataclass(frozen=True, slots=True)
class Sending:
    """What a request says of itself in X-Request-ID: whose it is, and why it was sent."""

    history: int
    life: int
    piece: int
    kind: str  # main, copy, early, stale or again: see `client`
    number: int = 0  # tells sendings of one kind apart

    def __str__(self) -> str:
        return f"{self.history}.{self.life}.{self.piece}.{self.kind}.{self.number}"

    @classmethod
    def parse(cls, text: str) -> "Sending":
        history, life, piece, kind, number = text.split(".")
        return cls(int(history), int(life), int(piece), kind, int(number))


class Witness:
    """What the proxies of a cluster write down together."""

    def __init__(self) -> None:
        self.num_replies = 0
        self.statuses: Counter[int] = Counter()
        self.faults: Counter[str] = Counter()
        self._replies: defaultdict[int, list[tuple[Sending, Message]]] = defaultdict(list)
        self._under_way: Counter[int] = Counter()
        self._ended = asyncio.Condition()

    @contextlib.contextmanager
    def watching(self, sending: Sending) -> Iterator[None]:
        """While a server may be at work on it."""
        self._under_way[sending.history] += 1
        try:
            yield
        finally:
            self._under_way[sending.history] -= 1

    def hear(self, sending: Sending, reply: Message) -> None:
        """A server has answered."""
        self.num_replies += 1
        self.statuses[reply.status] += 1
        self._replies[sending.history].append((sending, reply))

    def is_quiet(self, history: int) -> bool:
        """Whether no server is at work on any request of it."""
        return not self._under_way[history]

    def take(self, history: int) -> list[tuple[Sending, Message]]:
        """All replies to it, in order; they are forgotten here."""
        del self._under_way[history]
        return self._replies.pop(history, [])
