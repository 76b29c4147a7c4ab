"""Cancels the work for clients that disconnect.

It knows ASGI's `receive` and tasks; it knows nothing of what is computed.
"""

import asyncio

from service.http.fastapi_bridge import Receive
from service.http.messages import DISCONNECT, ClientDisconnected

# A request that is answered faster is answered whether or not the client is still connected.
CHECK_S = 0.05


class Disconnects:
    """Watches the requests that are being answered.

    Waiting for a disconnect costs a task, and a timer a request would cost as much. So one timer looks at all
    requests, and starts to wait only for those that it sees a second time. Most have been answered by then.
    """

    def __init__(self) -> None:
        self._watches: set[Watch] = set()
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, receive: Receive, *, reads_body: bool) -> "Watch":
        """A block in which the task is cancelled, and ClientDisconnected raised, if the client disconnects.

        `reads_body`: whether the block reads the body first, with `Watch.read_part`.
        """
        watch = Watch(self._watches, receive, is_armed=not reads_body)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(CHECK_S, self._check)
        return watch

    def _check(self) -> None:
        self._timer = None
        for watch in self._watches:
            watch.check()
        if self._watches:
            self._timer = asyncio.get_running_loop().call_later(CHECK_S, self._check)


class Watch:
    """One request that is being answered."""

    __slots__ = ("_has_disconnected", "_is_armed", "_receive", "_task", "_waiter", "_was_seen", "_watches")

    def __init__(self, watches: "set[Watch]", receive: Receive, *, is_armed: bool) -> None:
        self._watches = watches
        self._receive = receive
        self._is_armed = is_armed  # not while the body is read: its reader notices a disconnect itself
        self._task = asyncio.current_task()
        self._was_seen = False
        self._has_disconnected = False
        self._waiter: asyncio.Task[None] | None = None

    def __enter__(self) -> "Watch":
        self._watches.add(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._watches.discard(self)
        if self._waiter is not None:
            self._waiter.cancel()
        if self._has_disconnected and self._task is not None:
            self._task.uncancel()
            raise ClientDisconnected from error

    async def read_part(self) -> tuple[bytes, bool]:
        """The next part of the body, and whether more follow. Raises ClientDisconnected."""
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnected
        has_more = bool(message.get("more_body"))
        self._is_armed = not has_more
        return message.get("body", b""), has_more

    def check(self) -> None:
        """Start to wait at the second check."""
        if self._was_seen and self._waiter is None:
            self._waiter = asyncio.get_running_loop().create_task(self._wait())
        self._was_seen = self._is_armed

    async def _wait(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if self._task is not None:
            self._has_disconnected = True
            self._task.cancel(DISCONNECT)
