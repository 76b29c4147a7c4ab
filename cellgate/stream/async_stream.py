"""A stream of the asynchronous client."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import closing
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from cellgate.errors import CellgateError, ConnectionFailed
from cellgate.flow import Outcome, Pause, Send
from cellgate.inputs import Steps
from cellgate.predictions import Prediction
from cellgate.stream.cursor import Connect, Effect, Post, StreamCursor, StreamFlow, StreamOutcome
from cellgate.stream.sockets import AsyncSocket

T = TypeVar("T")


class AsyncConnector(Protocol):
    """What a stream needs of its client."""

    sleep: Callable[[float], Awaitable[None]]

    async def attempt(self, send: Send) -> Outcome:
        """Send one HTTP request."""

    async def connect(self) -> AsyncSocket:
        """Open a socket."""

    def hold(self) -> None:
        """Begin to use the client's connections."""

    async def release(self) -> None:
        """End it."""


class AsyncStream:
    """A session driven frame by frame over a WebSocket. Made by `AsyncClient.stream`.

    A socket that breaks is replaced by another, to any replica: frames without a reply are sent again, and
    each is applied once. For one task at a time.
    """

    def __init__(self, client: AsyncConnector, cursor: StreamCursor) -> None:
        self._client = client
        self._cursor = cursor
        self._socket: AsyncSocket | None = None

    @property
    def session(self) -> str:
        """The session's name."""
        return self._cursor.session

    @property
    def at(self) -> int | None:
        """Steps consumed, in frames that are answered; None: not connected yet."""
        return self._cursor.at

    @property
    def in_flight(self) -> int:
        """Frames without a reply."""
        return self._cursor.in_flight

    async def __aenter__(self) -> Self:
        """Connect, and learn where the session is. Raises a CellgateError."""
        self._client.hold()
        try:
            await self._run(self._cursor.open())
        except BaseException:
            await self._client.release()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the socket. The session stays."""
        await self.close()
        await self._client.release()

    def __repr__(self) -> str:
        """Session and step."""
        return f"AsyncStream({self.session!r}, at={self.at})"

    async def step(self, steps: Steps, *, end: bool = False) -> Prediction:
        """Send one frame, one step or several, and wait for its reply."""
        await self.send(steps, end=end)
        return await self.receive()

    async def run(self, frames: Iterable[Steps] | AsyncIterable[Steps]) -> AsyncIterator[Prediction]:
        """Send the frames, and yield the reply to each, in order, as soon as it is there.

        The next frame is taken while fewer than `in_flight` have no reply.
        """
        source = _iterate(frames)
        taking: asyncio.Task[Steps] | None = None
        receiving: asyncio.Task[Prediction] | None = None
        has_more = True
        try:
            while True:
                if has_more and taking is None and self._cursor.has_room:
                    taking = asyncio.create_task(_next(source))
                if receiving is None and self.in_flight:
                    receiving = asyncio.create_task(self.receive())
                waiting: list[asyncio.Task[Any]] = [task for task in (taking, receiving) if task is not None]
                if not waiting:
                    return
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                if taking is not None and taking.done():
                    task, taking = taking, None
                    steps = task.result()
                    has_more = steps is not _OVER
                    if has_more:
                        await self.send(steps)
                if receiving is not None and receiving.done():
                    received, receiving = receiving, None
                    yield received.result()
        finally:
            await _cancel(taking)
            await _cancel(receiving)

    async def send(self, steps: Steps, *, end: bool = False) -> None:
        """Send one frame without waiting for its reply. Raises RuntimeError if too many have none."""
        await self._run(self._cursor.send(steps, end=end))

    async def receive(self) -> Prediction:
        """The reply to the oldest frame without one. Raises its error; the frames behind it are dropped."""
        return await self._run(self._cursor.receive())

    async def locate(self) -> int:
        """Ask the server where the session is, and continue there; frames without a reply are dropped."""
        return await self._run(self._cursor.locate())

    async def close(self) -> None:
        """Close the socket. The session stays, and the next frame connects again."""
        self._cursor.close()
        socket, self._socket = self._socket, None
        if socket is not None:
            await socket.close()

    async def _run(self, flow: StreamFlow[T]) -> T:
        outcome: StreamOutcome = None
        with closing(flow):
            while True:
                try:
                    effect = flow.send(outcome)
                except StopIteration as end:
                    result: T = end.value
                    return result
                try:
                    outcome = await self._perform(effect)
                except CellgateError as error:
                    outcome = error

    async def _perform(self, effect: Effect) -> StreamOutcome:
        if isinstance(effect, Pause):
            await self._client.sleep(effect.seconds)
            return None
        if isinstance(effect, Send):
            return await self._client.attempt(effect)
        if isinstance(effect, Connect):
            socket, self._socket = self._socket, None
            if socket is not None:
                await socket.close()
            self._socket = await self._client.connect()
            return None
        if self._socket is None:
            raise ConnectionFailed("the stream was closed")
        if isinstance(effect, Post):
            await self._socket.send(effect.message)
            return None
        return await self._socket.receive(self._cursor.timeout_s)


class _Over:
    """In place of a frame: there is none."""


_OVER: Any = _Over()


async def _next(source: AsyncIterator[Steps]) -> Steps:
    async for steps in source:
        return steps
    over: Steps = _OVER
    return over


async def _iterate(frames: Iterable[Steps] | AsyncIterable[Steps]) -> AsyncIterator[Steps]:
    if isinstance(frames, AsyncIterable):
        async for steps in frames:
            yield steps
    else:
        for steps in frames:
            yield steps


async def _cancel(task: asyncio.Task[Any] | None) -> None:
    """Cancel, and take the result, whatever it is: the stream's user has an error already, or left."""
    if task is not None:
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()
