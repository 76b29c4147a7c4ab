"""The connections of a client to one server, opened when they are needed; calls and streams run over them.

They know requests and sockets; they know no route and no model.
"""

import threading
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self, TypeVar

import httpx

from cellgate.core import Core
from cellgate.drivers import attempt, attempt_async, drive, drive_async
from cellgate.flow import Flow, Outcome, Send
from cellgate.stream import AsyncSocket, AsyncStreamTransport, Socket, StreamTransport
from cellgate.stream.sockets import connect, connect_async

T = TypeVar("T")


class Connections:
    """The connections of a client for threads."""

    def __init__(
        self,
        core: Core,
        *,
        transport: httpx.BaseTransport | None,
        sleep: Callable[[float], None],
    ) -> None:
        """`transport`: of httpx, or a fake server. `sleep`: between two attempts of a call."""
        self.core = core
        self.sleep = sleep
        self._transport = transport
        self._lock = threading.Lock()
        self._http: httpx.Client | None = None
        self._holders = 0

    def __enter__(self) -> Self:
        """Keep connections open until the end of the block."""
        self.hold()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections, unless another block uses them."""
        self.release()

    def __repr__(self) -> str:
        """The server; never the key."""
        return f"{type(self).__name__}({self.core.settings.url!r})"

    def close(self) -> None:
        """Close all connections. A later call opens new ones."""
        with self._lock:
            http, self._http = self._http, None
        if http is not None:
            http.close()

    def hold(self) -> None:
        """Begin a block that uses the connections."""
        with self._lock:
            self._holders += 1

    def release(self) -> None:
        """End such a block; the last one closes the connections."""
        with self._lock:
            self._holders -= 1
            is_last = self._holders == 0
        if is_last:
            self.close()

    def run(self, flow: Flow[T]) -> T:
        """Run a call."""
        return drive(flow, self._opened(), self.sleep)

    def attempt(self, send: Send, *, streams: bool = False) -> Outcome:
        """Send one request; `streams`: leave the body unread."""
        return attempt(send, self._opened(), streams=streams)

    def connect(self) -> Socket:
        """Open a socket for a stream. Raises ConnectionFailed, or a ResponseError that refuses it."""
        address = self.core.address()
        if isinstance(self._transport, StreamTransport):
            return self._transport.connect(address.url)
        return connect(address)

    def _opened(self) -> httpx.Client:
        with self._lock:
            if self._http is None:
                self._http = httpx.Client(transport=self._transport, **self.core.http_options())
            return self._http


class AsyncConnections:
    """The connections of a client for the tasks of one event loop."""

    def __init__(
        self,
        core: Core,
        *,
        transport: httpx.AsyncBaseTransport | None,
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        """`transport`: of httpx, or a fake server. `sleep`: between two attempts of a call."""
        self.core = core
        self.sleep = sleep
        self._transport = transport
        self._http: httpx.AsyncClient | None = None
        self._holders = 0

    async def __aenter__(self) -> Self:
        """Keep connections open until the end of the block."""
        self.hold()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections, unless another block uses them."""
        await self.release()

    def __repr__(self) -> str:
        """The server; never the key."""
        return f"{type(self).__name__}({self.core.settings.url!r})"

    async def close(self) -> None:
        """Close all connections. A later call opens new ones."""
        http, self._http = self._http, None
        if http is not None:
            await http.aclose()

    def hold(self) -> None:
        """Begin a block that uses the connections."""
        self._holders += 1

    async def release(self) -> None:
        """End such a block; the last one closes the connections."""
        self._holders -= 1
        if self._holders == 0:
            await self.close()

    async def run(self, flow: Flow[T]) -> T:
        """Run a call."""
        return await drive_async(flow, self._opened(), self.sleep)

    async def attempt(self, send: Send, *, streams: bool = False) -> Outcome:
        """Send one request; `streams`: leave the body unread."""
        return await attempt_async(send, self._opened(), streams=streams)

    async def connect(self) -> AsyncSocket:
        """Open a socket for a stream. Raises ConnectionFailed, or a ResponseError that refuses it."""
        address = self.core.address()
        if isinstance(self._transport, AsyncStreamTransport):
            return await self._transport.connect_async(address.url)
        return await connect_async(address)

    def _opened(self) -> httpx.AsyncClient:
        if self._http is None:
            self._http = httpx.AsyncClient(transport=self._transport, **self.core.http_options())
        return self._http
