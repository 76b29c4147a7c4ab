"""uvicorn's HTTP protocol, with one system call for a reply instead of two, and our kind of error.

uvicorn writes a reply's head and its body one after the other, and each write is a system call, a packet, and
a wake-up of the client: together a sixth of the CPU time of a small prediction. Here what is written within
one turn of the event loop leaves together at its end.
"""

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.errors import Overloaded
from service.front import PROBLEM, Receive, Scope, Send, retry_headers, write_problem


class GatheringTransport:
    """A transport that gathers what is written in one turn of the loop; everything else is passed on."""

    __slots__ = ("_loop", "_parts", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._parts: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Write, at the end of this turn."""
        if not self._parts:
            self._loop.call_soon(self._flush)
        self._parts.append(data)

    def close(self) -> None:
        """Write what is gathered, then close."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._parts:
            data = b"".join(self._parts)
            self._parts.clear()
            self._transport.write(data)


class GatheringProtocol(HttpToolsProtocol):
    """`uvicorn.Config(http=…)`. Connections beyond `limit_concurrency` are answered 503, and closed."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._most, self.limit_concurrency = (
            self.limit_concurrency,
            None,
        )  # uvicorn's own answer is plain text
        self._serving = self.app

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected."""
        super().connection_made(cast(asyncio.Transport, GatheringTransport(transport, self.loop)))

    def on_headers_complete(self) -> None:
        """A request's head has been read: its answer begins here."""
        is_full = self._most is not None and len(self.connections) > self._most
        self.app = cast(Any, _too_many) if is_full else self._serving
        super().on_headers_complete()


async def _too_many(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001
    error = Overloaded("this worker has as many open connections as it takes (max_connections)")
    status, body = write_problem(error)
    headers = [PROBLEM, (b"content-length", b"%d" % len(body)), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers + retry_headers(error)})
    await send({"type": "http.response.body", "body": body})
