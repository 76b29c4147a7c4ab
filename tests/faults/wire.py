"""HTTP/1.1 messages as bytes, to send, forward or truncate them. It does not know sessions."""

import asyncio
import re
from dataclasses import dataclass

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Message:
    """A request or a reply, as bytes."""

    head: bytes  # with the empty line that ends it
    body: bytes = b""

    @property
    def raw(self) -> bytes:
        return self.head + self.body

    @property
    def status(self) -> int:
        """Status of a reply."""
        return int(self.head[9:12])

    def with_headers(self, headers: dict[str, str]) -> "Message":
        """The same with further headers."""
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return Message(self.head[:-2] + lines.encode() + b"\r\n", self.body)

    def header(self, name: str) -> str | None:
        match = re.search(rb"\r\n%b: *([^\r]*)\r\n" % re.escape(name.encode()), self.head, re.IGNORECASE)
        return None if match is None else match[1].decode()


def request(method: str, path: str, headers: dict[str, str], body: bytes = b"") -> Message:
    """A request for a connection of its own, so that the kernel chooses a worker for each."""
    every = {"Host": "cellgate", "Connection": "close", "Content-Length": str(len(body))} | headers
    lines = "".join(f"{name}: {value}\r\n" for name, value in every.items())
    return Message(f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode(), body)


def reply(status: str, headers: dict[str, str], body: bytes = b"") -> Message:
    """A reply. `status` includes the reason: "502 Bad Gateway"."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return Message(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{lines}\r\n".encode(), body)


async def read(reader: asyncio.StreamReader) -> Message | None:
    """The next message; None if the connection closes before it is complete."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(head)
        return Message(head, await reader.readexactly(int(length[1])) if length else b"")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


async def send(port: int, message: Message) -> Message | None:
    """The reply from a loopback port; None if it is cut off. Raises OSError if nothing listens."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(message.raw)
        return await read(reader)
    finally:
        writer.transport.abort()
