"""Clients that hang up while their requests are being answered.

It knows ASGI's `receive` and tasks; it knows nothing of what is being computed.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

CHECK_S = 0.05  # a request by ASGI that is shorter is answered whether or not the client is still there


class ClientGone(Exception):
    """The client hung up; there is nobody to answer."""


class HangUps:
    """Listens for clients that hang up while their requests are being answered.

    Listening costs a task, and a timer a request would cost as much: so one clock looks at all requests, and
    listens to those that it finds a second time. Most have been answered by then.
    """

    def __init__(self) -> None:
        self._watches: set[Watch] = set()
        self._clock: asyncio.TimerHandle | None = None

    def watch(self, receive: Receive) -> "Watch":
        """A block in which the task is cancelled, and ClientGone raised, once the client has hung up."""
        watch = Watch(self._watches, receive)
        if self._clock is None:
            self._clock = asyncio.get_running_loop().call_later(CHECK_S, self._look)
        return watch

    def _look(self) -> None:
        self._clock = None
        for watch in self._watches:
            watch.look()
        if self._watches:
            self._clock = asyncio.get_running_loop().call_later(CHECK_S, self._look)


class Watch:
    """One request that is being answered."""

    __slots__ = ("_is_gone", "_receive", "_task", "_was_seen", "_watcher", "_watches")

    def __init__(self, watches: "set[Watch]", receive: Receive) -> None:
        self._watches = watches
        self._receive = receive
        self._task = asyncio.current_task()
        self._was_seen = False
        self._is_gone = False
        self._watcher: asyncio.Task[None] | None = None

    def __enter__(self) -> None:
        self._watches.add(self)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._watches.discard(self)
        if self._watcher is not None:
            self._watcher.cancel()
        if self._is_gone and self._task is not None:
            self._task.uncancel()
            raise ClientGone from error

    def look(self) -> None:
        """Listen from the second look on."""
        if self._was_seen and self._watcher is None:
            self._watcher = asyncio.get_running_loop().create_task(self._listen())
        self._was_seen = True

    async def _listen(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if self._task is not None:
            self._is_gone = True
            self._task.cancel()
