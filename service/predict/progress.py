"""How far the events of one reply have come: which the client has, which it still gets.

    steps   ──────────────┬───────────────────→
            computed, not │ computed, and sent
            sent again    └ Last-Event-ID: here the checksums are compared

It knows ids and checksums; it knows nothing of models, sessions or HTTP.
"""

import asyncio
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import NamedTuple

from service.codec.events import END, EventId, checksum
from service.codec.request import Item
from service.errors import DeadlineExceeded, EventMismatch, SessionConflict
from service.sessions import Opened
from service.stages import Stages


class Event(NamedTuple):
    """One event; `data` is JSON in one line."""

    name: str
    id: str
    data: bytes

    @property
    def is_last(self) -> bool:
        """Whether the reply is complete with it."""
        return self.id == END


Emit = Callable[[Event], Awaitable[None]]  # returns once the client reads fast enough for another


class Progress:
    """The events of one request, for a client that has those up to `resumed`."""

    def __init__(self, emit: Emit, name: str, resumed: EventId | None, stages: Stages) -> None:
        """`name`: of the events. `stages`: which do not include the time that the client takes to read."""
        self.at: int | None = None  # the session's step before the request
        self.done = 0  # steps, or tokens
        self._emit = emit
        self._name = name
        self._resumed = resumed
        self._stages = stages
        self._session = ""
        self._rewinds = 0  # of the session before the request
        self._seed: int | None = None
        self._check = 0
        self._num_sent = 0

    def place(self, item: Item) -> Item:
        """The same sequence at the step where the client's events began. Raises EventMismatch."""
        if self._resumed is not None:
            at, rewinds = self._resumed.at, None if self._resumed.at is None else self._resumed.rewinds
            is_same = item.at in (None, at) and item.rewinds in (None, rewinds)
            if (item.session is None) != (at is None) or not is_same:
                raise EventMismatch('Last-Event-ID belongs to a request with another "session" or "at"')
            item.at, item.rewinds = at, rewinds
        self.at, self._session = item.at, item.session or ""
        return item

    def open(self, opened: Opened) -> None:
        """The session before the request, or with its reply.

        Raises SessionConflict if events from another step have been sent.
        """
        if opened.reply is not None:
            self._rewinds = 0 if opened.existing is None else opened.existing.rewinds
            return
        if self._num_sent:
            raise SessionConflict(
                f"another request moved the session to step {opened.step} while this one was computed",
                members={"step": opened.step},
            )
        self.at, self._rewinds = opened.step, 0 if opened.resumed is None else opened.resumed.rewinds

    def begin(self, digest: bytes, *, most: int, seed: int | None = None) -> None:
        """Compute, or read a stored reply, from the start; what has been sent is not sent again.

        `digest`: of the request; `most`: the steps that it can have. Raises EventMismatch.
        """
        if self._num_sent:
            self._resumed = self._id()
        self.done, self._seed = 0, seed
        place = f"{self._session}.{self.at}.{self._rewinds}.{seed}"
        self._check = checksum(digest + place.encode())
        if self._resumed is not None and self._resumed.done > most:
            raise _mismatch()

    def cut(self, stop: int) -> int:
        """Where a piece that would end at `stop` ends: at the client's last event, if that is inside it."""
        resumed = self._resumed
        return resumed.done if resumed is not None and self.done < resumed.done < stop else stop

    async def add(self, steps: int, content: bytes, encode: Callable[[int], bytes], deadline: float) -> None:
        """The next steps have been computed; send them, unless the client has them.

        `content`: for the checksum; `encode`: makes the data from the index of the first step; `deadline`: by
        the event loop's clock. Raises EventMismatch, or DeadlineExceeded if the client does not read.
        """
        start = self.done
        self.done += steps
        self._check = checksum(content, self._check)
        resumed = self._resumed
        if resumed is not None and self.done <= resumed.done:
            if self.done == resumed.done and self._check != resumed.check:
                raise _mismatch()
            return
        event = Event(self._name, str(self._id()), encode(start))
        self._num_sent += 1
        started = perf_counter()
        try:
            async with asyncio.timeout_at(deadline):
                await self._emit(event)
        except TimeoutError as error:
            raise DeadlineExceeded("the client did not read the events before the deadline") from error
        self._stages.exclude(perf_counter() - started)

    def _id(self) -> EventId:
        return EventId(self.at, self.done, self._seed, self._check, self._rewinds)

    def end(self) -> None:
        """All has been computed. Raises EventMismatch if the client claims to have more."""
        if self._resumed is not None and self._resumed.done > self.done:
            raise _mismatch()


def _mismatch() -> EventMismatch:
    return EventMismatch(
        "Last-Event-ID belongs to another request, or this server computes other outputs than the one that "
        "sent it; without it, all events are sent from the start"
    )
