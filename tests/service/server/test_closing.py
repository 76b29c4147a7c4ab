"""A stop of a server resets no connection that has been established."""

import asyncio
import contextlib
import socket
from typing import Any

import pytest
import uvicorn

from service.server.closing import ClosingServer, refuse_new

GET = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


async def application(scope: dict[str, Any], _receive: Any, send: Any) -> None:
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"connection", b"close")]})
    await send({"type": "http.response.body", "body": b"ok"})


def test_established_connections_are_accepted_and_no_others_are_established() -> None:
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        address = listening.getsockname()
        first = stack.enter_context(socket.create_connection(address, timeout=30))
        refuse_new([listening])
        with pytest.raises(TimeoutError):
            socket.create_connection(address, timeout=0.3)
        accepted = stack.enter_context(listening.accept()[0])
        first.sendall(b"request")
        assert accepted.recv(100) == b"request"
        accepted.sendall(b"reply")
        assert first.recv(100) == b"reply"


def test_requests_that_are_on_their_way_when_the_server_stops_are_answered() -> None:
    """They were reset, or their idle connection closed, and a balancer answered 502."""

    async def work() -> list[bytes]:
        server = ClosingServer(uvicorn.Config(application, lifespan="off", log_config=None))
        listening = socket.create_server(("127.0.0.1", 0))
        serving = asyncio.create_task(server.serve([listening]))
        while not server.started:
            await asyncio.sleep(0.01)
        address = listening.getsockname()
        idle = await asyncio.open_connection(*address[:2])
        while not server.server_state.connections:
            await asyncio.sleep(0.01)
        server.should_exit = True
        # Established while the loop is busy: nothing has accepted them when the stop begins.
        waiting = [socket.create_connection(address, timeout=30) for _ in range(5)]
        for connection in waiting:
            connection.sendall(GET)
        while listening.fileno() >= 0 and server.servers and server.servers[0].is_serving():
            await asyncio.sleep(0.001)
        idle[1].write(GET)
        replies = [await idle[0].read()]
        replies += [await asyncio.to_thread(_read_all, connection) for connection in waiting]
        await serving
        idle[1].close()
        return replies

    replies = asyncio.run(work())
    assert len(replies) == 6 and all(b"\r\nok\r\n" in reply for reply in replies), replies


def _read_all(connection: socket.socket) -> bytes:
    content = b""
    with connection:
        while part := connection.recv(1000):
            content += part
    return content
