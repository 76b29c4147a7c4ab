"""Turns: at most one request of this process works on a session at a time, in order of arrival."""

import asyncio
from collections import deque

from service.errors import DeadlineExceeded, Overloaded

MAX_WAITING = 256  # requests of a process that wait for one session, each with its body


class Turns:
    """A queue per session, while a request has its turn.

    free ── take ──→ taken ── take ──→ waits ── release, by the one before ──→ taken ── release ──→ free
    """

    def __init__(self, *, max_waiting: int = MAX_WAITING) -> None:
        self._max_waiting = max_waiting
        self._queues: dict[bytes, deque[asyncio.Future[None]]] = {}

    def take_free(self, key: bytes) -> bool:
        """Take the turn if no other request of this process works on the session; whether that was so."""
        if key in self._queues:
            return False
        self._queues[key] = deque()
        return True

    async def take(self, key: bytes, deadline: float | None = None) -> None:
        """Wait until no other request of this process works on the session; first come, first served.

        Raises Overloaded when too many wait already, DeadlineExceeded after the deadline, which is a time of
        the event loop's clock.
        """
        if self.take_free(key):
            return
        queue = self._queues[key]
        if len(queue) >= self._max_waiting:
            raise Overloaded(f"{self._max_waiting} requests wait for this session already")
        turn = asyncio.get_running_loop().create_future()
        queue.append(turn)
        try:
            async with asyncio.timeout_at(deadline):
                await turn
        except (asyncio.CancelledError, TimeoutError) as error:
            if turn.done() and not turn.cancelled():  # the turn came as we left: pass it on
                self.release(key)
            if isinstance(error, TimeoutError):
                raise DeadlineExceeded("other requests of the session ran until the deadline") from error
            raise

    def release(self, key: bytes) -> None:
        """End the turn that `take` began."""
        queue = self._queues[key]
        while queue:
            turn = queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        del self._queues[key]
