"""One connection without a socket: what uvicorn's transport is to the protocol, and requests for it."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

import uvicorn
from uvicorn.server import ServerState

from service.http.asgi import AsgiAdapter
from service.http.fast_path import CellgateProtocol
from service.http.fastapi_bridge import Receive, Scope, Send
from service.http.gate import Gate
from tests.service.http.gates import Answer, echo, make_gate


class Wire(asyncio.Transport):
    """Remembers what reached it."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))

    def write_eof(self) -> None:
        self.writes.append(b"<eof>")

    def close(self) -> None:
        self.writes.append(b"<closed>")

    def is_closing(self) -> bool:
        return b"<closed>" in self.writes or b"<aborted>" in self.writes

    def abort(self) -> None:
        self.writes.append(b"<aborted>")

    def get_write_buffer_size(self) -> int:
        return 0

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """An upgrade: what follows is another protocol's."""

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


class App:
    """An application with a gate, which records what reaches it by ASGI."""

    def __init__(
        self,
        answer: Answer = echo,
        *,
        max_body_bytes: int = 100,
        access_log: Callable[[dict[str, Any]], None] | None = None,
        gate: Gate | None = None,
    ) -> None:
        self.by_asgi: list[str] = []
        self.log: list[dict[str, Any]] = []
        self.gate = gate or make_gate(
            answer,
            max_body_bytes=max_body_bytes,
            body_timeout_s=1,
            access_log=access_log or self.log.append,
        )
        self._asgi = AsgiAdapter(self.gate)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.by_asgi.append(scope["path"])
        await self._asgi(scope, receive, send)


def serve(
    app: Any,
    *requests: bytes,
    act: Callable[[CellgateProtocol], Any] = lambda _: None,
    turns: int = 5,
    pause_s: float = 0,
    others: int = 0,
    **config: Any,
) -> list[bytes]:
    """What a connection writes that gets `requests` one after the other; `act` comes before the first.

    After each there are `turns` of the event loop, each of `pause_s`. There are `others`
    connections before this one.
    """

    async def body() -> list[bytes]:
        settings = uvicorn.Config(
            cast(Any, app),
            log_config=None,
            lifespan="off",
            server_header=False,
            date_header=False,
            proxy_headers=False,
            **config,
        )
        protocol = CellgateProtocol(config=settings, server_state=ServerState(), app_state={})
        wire = Wire()
        protocol.connections.update(cast(Any, object()) for _ in range(others))
        protocol.connection_made(wire)
        act(protocol)
        for request in requests:
            if wire.is_closing():
                break  # "no more data will be received": asyncio's documentation of close()
            protocol.data_received(request)
            for _ in range(turns):
                await asyncio.sleep(pause_s)
        protocol.resume_writing()
        for _ in range(5):
            await asyncio.sleep(0)
        protocol.connection_lost(None)
        return (
            wire.writes[:-1]
            if wire.writes[-1:] == [b"<closed>"] and wire.writes[-2:-1] != [b"<closed>"]
            else wire.writes
        )

    return asyncio.run(body())


HEAD = b"POST %b HTTP/1.1\r\nHost: x\r\nX-Request-ID: r%d\r\n%b\r\n"
ECHO = (
    b"HTTP/1.1 200 OK\r\n"
    b"content-type: application/json\r\ncontent-length: %d\r\nx-request-id: r%d\r\n%b\r\n%b"
)


def post(body: bytes, number: int = 1, head: bytes = b"", path: bytes = b"/predict") -> bytes:
    return HEAD % (path, number, b"Content-Length: %d\r\n%b" % (len(body), head)) + body


def echoed(body: bytes, number: int = 1, head: bytes = b"") -> bytes:
    return ECHO % (len(body), number, head, body)
