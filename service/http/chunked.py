"""A response written part by part on a connection of uvicorn's, in HTTP/1.1's chunked coding (RFC 9112, 7.1).

A client of HTTP/1.0, which does not know that coding, reads until the connection is closed. It knows
connections; it knows nothing of what is in a part.
"""

from collections.abc import Callable

from service.http.messages import CLOSE, ClientDisconnected, Response
from service.http.timed import Cycle, TimedProtocol

CHUNKED = (b"transfer-encoding", b"chunked")
LAST_CHUNK = b"0\r\n\r\n"


class ChunkedOutlet:
    """Implements `Outlet`."""

    def __init__(
        self,
        connection: TimedProtocol,
        cycle: Cycle,
        http_version: str,
        write: Callable[[Response], None],
        complete: Callable[[Cycle], None],
    ) -> None:
        """`write`: of the connection, of a head and what follows it; `complete`: of the connection."""
        self._connection = connection
        self._cycle = cycle
        self._is_chunked = http_version != "1.0"
        self._write = write
        self._complete = complete

    async def start(self, head: Response, part: bytes) -> None:
        """Write the head and the first part. Raises ClientDisconnected."""
        self._check()
        if self._is_chunked:
            head.headers.append(CHUNKED)
        if CLOSE in head.headers:
            self._cycle.keep_alive = False
        elif not self._cycle.keep_alive:
            head.headers.append(CLOSE)
        head.body = self._framed(part)
        self._cycle.response_started = self._connection.is_in_parts = True
        self._write(head)
        await self._connection.flow.drain()

    async def write(self, part: bytes) -> None:
        """Write a part. Raises ClientDisconnected."""
        self._check()
        self._connection.transport.write(self._framed(part))
        await self._connection.flow.drain()

    async def end(self, part: bytes, *, closes: bool = False) -> None:
        """Write the last part, at once."""
        if not self._connection.transport.is_closing():
            self._connection.transport.write(self._framed(part) + (LAST_CHUNK if self._is_chunked else b""))
        self._connection.is_in_parts = False
        if closes:
            self._cycle.keep_alive = False
        self._complete(self._cycle)

    def _check(self) -> None:
        if self._connection.transport.is_closing():
            self._cycle.disconnected = True  # uvicorn sets it late, and would log an error
            raise ClientDisconnected

    def _framed(self, part: bytes) -> bytes:
        is_framed = self._is_chunked and part  # a chunk of no bytes would be the last
        return b"%x\r\n%b\r\n" % (len(part), part) if is_framed else part
