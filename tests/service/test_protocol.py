"""A whole reply in one write, whatever HTTP asks for around it; and the ordinary way where that cannot be."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
import uvicorn
from uvicorn.server import ServerState

from service.front import WHOLE_REPLY, Receive, Scope, Send
from service.protocol import CellgateProtocol

ASK = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n%b\r\nok"
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Wire(asyncio.Transport):
    """Remembers what reached it."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))

    def close(self) -> None:
        self.writes.append(b"<closed>")

    def is_closing(self) -> bool:
        return b"<closed>" in self.writes

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


async def whole(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the body it got, at once if it can."""
    body = (await receive())["body"]
    headers = [(b"content-length", b"%d" % len(body))]
    if not scope["extensions"][WHOLE_REPLY](200, headers, body):
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def serve(
    app: App, *requests: bytes, act: Callable[[CellgateProtocol], Any] = lambda _: None, **config: Any
) -> list[bytes]:
    """What a connection writes that gets `requests` one after the other; `act` comes before the first."""

    async def body() -> list[bytes]:
        settings = uvicorn.Config(
            cast(Any, app), log_config=None, lifespan="off", server_header=False, date_header=False, **config
        )
        protocol = CellgateProtocol(config=settings, server_state=ServerState(), app_state={})
        wire = Wire()
        protocol.connection_made(wire)
        act(protocol)
        for request in requests:
            protocol.data_received(request)
            for _ in range(5):
                await asyncio.sleep(0)
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


REPLY = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n%b\r\nok"


def test_a_whole_reply_is_one_write_and_the_connection_stays() -> None:
    assert serve(whole, ASK % b"", ASK % b"") == [REPLY % b"", REPLY % b""]


def test_pipelined_requests_are_answered_in_order() -> None:
    assert serve(whole, (ASK % b"") * 3) == [REPLY % b""] * 3


@pytest.mark.parametrize(
    "ask", [ASK % b"Connection: close\r\n", (ASK % b"").replace(b"HTTP/1.1", b"HTTP/1.0")]
)
def test_a_client_that_wants_it_closed_is_told_so(ask: bytes) -> None:
    assert serve(whole, ask)[:2] == [REPLY % b"connection: close\r\n", b"<closed>"]


def test_a_client_that_waits_to_be_asked_is_asked() -> None:
    head, body = (ASK % b"Expect: 100-continue\r\n")[:-2], b"ok"
    assert serve(whole, head, body) == [b"HTTP/1.1 100 Continue\r\n\r\n", REPLY % b""]
