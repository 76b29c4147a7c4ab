"""The turn of a session, and its record, for the next frame of a channel that has none at hand.

    ready ─ turn ─ record ─→ started
              └──────┴─────→ refused: an error in the frame's place

It knows sessions and their turns; it knows nothing of models, the worker or sockets.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine
from typing import Any

from service.codec.frames import Frame
from service.errors import CellgateError, InternalError
from service.predict.channel import Channel
from service.sessions import Record, Sessions

logger = logging.getLogger(__name__)


class FrameTurns:
    """Waits for turns and reads records, in tasks of its own."""

    def __init__(
        self,
        sessions: Sessions,
        *,
        clock: Callable[[], float],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        start: Callable[[Channel, Record | None], None],
        refuse: Callable[[Channel, CellgateError], None],
        end: Callable[[], None],
    ) -> None:
        """`start`: called with the turn taken; `refuse`: without it; `end`: after the channels of a task.

        `clock`: the event loop's.
        """
        self._sessions = sessions
        self._turns = sessions.turns
        self._clock = clock
        self._spawn = spawn
        self._start = start
        self._refuse = refuse
        self._end = end

    def take_free(self, channel: Channel) -> bool:
        """Take the turn if no other request of this process works on the session; whether that was so."""
        return self._turns.take_free(channel.key)

    def release(self, channel: Channel) -> None:
        """End the turn."""
        self._turns.release(channel.key)

    def wait(self, channel: Channel) -> None:
        """Start a channel after the other requests of its session."""
        self._spawn(self._take(channel))

    def read(self, channels: Collection[Channel]) -> None:
        """Read the records of channels whose turn is taken, and start them."""
        self._spawn(self._read_all(channels))

    async def _take(self, channel: Channel) -> None:
        first = channel.waiting[0] if channel.waiting else None
        deadline = first.deadline if isinstance(first, Frame) else self._clock()
        try:
            await self._turns.take(channel.key, deadline)
        except CellgateError as error:
            self._refuse(channel, error)
            self._end()
            return
        await self._read_all([channel])

    async def _read_all(self, channels: Collection[Channel]) -> None:
        reads = [self._sessions.find(channel.key) for channel in channels]
        found = await asyncio.gather(*reads, return_exceptions=True)  # of Redis: in one command
        for channel, record in zip(channels, found, strict=True):
            if isinstance(record, BaseException):
                self.release(channel)
                self._refuse(channel, _error_of(record, channel))
            else:
                self._start(channel, record)
        self._end()


def _error_of(error: BaseException, channel: Channel) -> CellgateError:
    """The answer to a frame whose record was not read: the error, or one that says nothing of a bug."""
    if isinstance(error, CellgateError):
        return error
    logger.error("session %r was not read", channel.session, exc_info=error)
    return InternalError()
