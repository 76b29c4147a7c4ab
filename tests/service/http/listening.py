"""A server of the connections under test on a real socket, in the test's own event loop."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, cast

import uvicorn
import uvloop
from uvicorn.server import ServerState

from service.http.fast_path import CellgateProtocol

PATIENCE_S = 30


class Listening:
    """The listening side of a test."""

    def __init__(self, address: tuple[str, int], state: ServerState) -> None:
        self.address = address
        self.state = state

    async def connect(self, receive_buffer: int | None = None) -> socket.socket:
        """A connected client, for the event loop's `sock_…` functions."""
        client = socket.socket()
        client.setblocking(False)
        if receive_buffer is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        await asyncio.get_running_loop().sock_connect(client, self.address)
        return client

    async def exchange(self, *parts: bytes) -> bytes:
        """Send the parts, close the sending side; everything that comes back until the server closes."""
        loop = asyncio.get_running_loop()
        with await self.connect() as client:
            for part in parts:
                await loop.sock_sendall(client, part)
                await asyncio.sleep(0.01)  # so that they are likely to be read apart
            client.shutdown(socket.SHUT_WR)
            return await read_all(client)

    @property
    def is_empty(self) -> bool:
        return not self.state.connections


async def read_all(client: socket.socket) -> bytes:
    received = b""
    while part := await asyncio.get_running_loop().sock_recv(client, 1 << 16):
        received += part
    return received


async def until(condition: Callable[[], Any]) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def listening(app: Any, **config: Any) -> AsyncIterator[Listening]:
    settings = uvicorn.Config(
        cast(Any, app), log_config=None, lifespan="off", server_header=False, date_header=False,
        proxy_headers=False, ws="none", **config,
    )  # fmt: skip
    state = ServerState()
    server = await asyncio.get_running_loop().create_server(
        lambda: CellgateProtocol(config=settings, server_state=state, app_state={}), "127.0.0.1", 0
    )
    async with server:
        try:
            yield Listening(server.sockets[0].getsockname()[:2], state)
        finally:
            for connection in list(state.connections):
                connection.transport.abort()
        await until(lambda: not (state.connections or state.tasks))


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a test on the event loop that serves in production."""

    async def bounded() -> None:
        async with asyncio.timeout(2 * PATIENCE_S):
            await test()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(bounded())
