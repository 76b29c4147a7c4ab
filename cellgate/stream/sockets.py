"""WebSockets of the two clients, behind one small protocol each; fakes implement the same."""

import asyncio
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import httpx
from websockets.asyncio import client as asyncio_client
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage, InvalidStatus
from websockets.sync import client as sync_client

from cellgate.errors import BadReply, CellgateError, ConnectionFailed, ReplyTimeout
from cellgate.replies import error_of
from cellgate.settings import Settings
from cellgate.stream.frames import Message

MAX_MESSAGE_BYTES = 64 << 20  # of a reply; the server's own limit on replies
BROKEN = (ConnectionClosed, OSError, EOFError, TimeoutError)


class Socket(Protocol):
    """A connected WebSocket. Its methods raise ConnectionFailed once it is broken."""

    def send(self, message: Message) -> None:
        """Send a text or bytes."""

    def receive(self, timeout_s: float | None) -> Message:
        """Wait for a message. Raises ReplyTimeout; with None or 0, at once."""

    def close(self) -> None:
        """Close it; never raises."""


class AsyncSocket(Protocol):
    """The same, of asyncio."""

    async def send(self, message: Message) -> None:
        """Send a text or bytes."""

    async def receive(self, timeout_s: float) -> Message:
        """Wait for a message. Raises ReplyTimeout."""

    async def close(self) -> None:
        """Close it; never raises."""


@runtime_checkable
class StreamTransport(Protocol):
    """A transport of httpx that opens sockets too, as a fake server does."""

    def connect(self, url: str) -> Socket:
        """Open a socket."""


@runtime_checkable
class AsyncStreamTransport(Protocol):
    """The same, of asyncio."""

    async def connect_async(self, url: str) -> AsyncSocket:
        """Open a socket."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where streams are, and how to connect."""

    url: str
    headers: Mapping[str, str]
    timeout_s: float

    def options(self) -> dict[str, Any]:
        """Arguments of `connect` of both kinds. No compression: numbers do not get smaller."""
        return {
            "additional_headers": dict(self.headers),
            "compression": None,
            "max_size": MAX_MESSAGE_BYTES,
            "open_timeout": self.timeout_s,
            "close_timeout": self.timeout_s,
        }


def address_of(settings: Settings, headers: Mapping[str, str]) -> Address:
    """The address of a server's streams: its URL with ws for http, and the same key."""
    sent = {name: value for name, value in headers.items() if name in ("authorization", "user-agent")}
    url = settings.url.rstrip("/").replace("http", "ws", 1) + "/stream"
    return Address(url, sent, settings.timeout_s)


def connect(address: Address) -> Socket:
    """Open a socket. Raises ConnectionFailed, or a ResponseError that refuses it."""
    try:
        opened = ExitStack()  # the library wants a `with` block
        return _SyncSocket(
            opened.enter_context(sync_client.connect(address.url, **address.options())), opened
        )
    except (InvalidHandshake, *BROKEN) as error:
        raise _refusal(error) from error


async def connect_async(address: Address) -> AsyncSocket:
    """The same, of asyncio."""
    try:
        return _AsyncioSocket(await asyncio_client.connect(address.url, **address.options()))
    except (InvalidHandshake, *BROKEN) as error:
        raise _refusal(error) from error


class _SyncSocket:
    def __init__(self, connection: sync_client.ClientConnection, opened: ExitStack) -> None:
        self._connection = connection
        self._opened = opened

    def send(self, message: Message) -> None:
        try:
            self._connection.send(message)
        except BROKEN as error:
            raise _lost(error) from error

    def receive(self, timeout_s: float | None) -> Message:
        try:
            return self._connection.recv(timeout_s)
        except BROKEN as error:
            raise _lost(error) from error

    def close(self) -> None:
        self._opened.close()


class _AsyncioSocket:
    def __init__(self, connection: asyncio_client.ClientConnection) -> None:
        self._connection = connection

    async def send(self, message: Message) -> None:
        try:
            await self._connection.send(message)
        except BROKEN as error:
            raise _lost(error) from error

    async def receive(self, timeout_s: float) -> Message:
        try:
            return await asyncio.wait_for(self._connection.recv(), timeout_s)
        except BROKEN as error:
            raise _lost(error) from error

    async def close(self) -> None:
        await self._connection.close()


def _lost(error: BaseException) -> ConnectionFailed:
    text = f"{type(error).__name__}: {error}"
    return ReplyTimeout(text) if isinstance(error, TimeoutError) else ConnectionFailed(text)


def _refusal(error: BaseException) -> CellgateError:
    """What a handshake that failed means."""
    if isinstance(error, InvalidStatus):
        answer = error.response
        request = httpx.Request("GET", "http://server/stream")
        body = bytes(answer.body or b"")
        response = httpx.Response(answer.status_code, content=body, request=request)
        refused = error_of(response)
        return refused or BadReply(f"GET /stream: unexpected status {answer.status_code}")
    if isinstance(error, InvalidMessage) and isinstance(error.__cause__, BROKEN):
        return _lost(error.__cause__)  # cut off within the response
    if isinstance(error, InvalidHandshake):
        return BadReply(f"GET /stream: {error}")
    return _lost(error)
