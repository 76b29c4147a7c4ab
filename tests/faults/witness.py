"""Records every reply of the servers, whether or not it reaches a client, and which requests are running."""

import contextlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace

from tests.faults.answer import Answer


@dataclass(frozen=True, slots=True)
class Sending:
    """The X-Request-ID of a request: its history and piece, and why it was sent."""

    history: int
    life: int
    piece: int
    kind: str  # main, copy, early, again, stale, begin or look: see `client`
    number: int = 0  # distinguishes sendings of one kind

    def __str__(self) -> str:
        return f"{self.history}.{self.life}.{self.piece}.{self.kind}.{self.number}"

    def numbered(self, number: int) -> "Sending":
        """The same, as one of several."""
        return replace(self, number=number)

    def looking(self) -> "Sending":
        """A request beside it that moves no session."""
        return replace(self, kind="look")

    @classmethod
    def parse(cls, text: str) -> "Sending":
        history, life, piece, kind, number = text.split(".")
        return cls(int(history), int(life), int(piece), kind, int(number))


class Witness:
    """The record that all proxies of a cluster share."""

    def __init__(self) -> None:
        self.num_replies = 0
        self.statuses: Counter[int] = Counter()
        self.faults: Counter[str] = Counter()
        self._replies: defaultdict[int, list[tuple[Sending, Answer]]] = defaultdict(list)
        self._running: Counter[int] = Counter()

    @contextlib.contextmanager
    def watching(self, sending: Sending) -> Iterator[None]:
        """While a server may work on it."""
        self._running[sending.history] += 1
        try:
            yield
        finally:
            self._running[sending.history] -= 1

    def record(self, sending: Sending, answer: Answer) -> None:
        """Record the reply of a server."""
        self.num_replies += 1
        self.statuses[answer.status] += 1
        self._replies[sending.history].append((sending, answer))

    def is_quiet(self, history: int) -> bool:
        """Whether no server works on a request of the history."""
        return not self._running[history]

    def take(self, history: int) -> list[tuple[Sending, Answer]]:
        """Remove and return all replies of the history, in order."""
        del self._running[history]
        return self._replies.pop(history, [])
