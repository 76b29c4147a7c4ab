"""A proxy of TCP: each connection goes to some server, and many are cut at a random byte, in one direction.

    client ══ connection ══▶ proxy ══▶ the next server that accepts
                                │ after so many bytes towards the server, or towards the client:
                 aborted ◀──────┴────▶ end of file; what the server still sends is read and dropped

It knows nothing of what it forwards. The server closes its side when it has taken in what it was sent, so the
proxy knows when a cut connection can have no further effect.
"""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Literal

from tests.faults.listening import close, listening

Direction = Literal["server", "client"]
CUT = 0.75  # share of connections
MOST_BYTES = 20_000  # before a cut; the logarithm of their number is uniform
CHUNK = 1 << 16


class Cutter:
    """Listens on a loopback port for `servers`."""

    def __init__(self, servers: Sequence[int], rng: random.Random) -> None:
        self._servers = servers  # ports
        self._rng = rng
        self._ending: set[asyncio.Event] = set()  # of connections that the client has lost, and a server has
        self.port = 0
        self.cuts: Counter[Direction] = Counter()

    async def settled(self) -> None:
        """Wait until no server works on what came over the connections that are lost by now."""
        for event in list(self._ending):
            await event.wait()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward a connection until it ends."""
        upstream = await self._connect()
        if upstream is None:
            writer.transport.abort()
            return
        from_server, to_server = upstream
        direction, most = self._draw()
        pumps: dict[Direction, asyncio.Task[bool]] = {
            "server": asyncio.create_task(_pump(reader, to_server, most if direction == "server" else None)),
            "client": asyncio.create_task(
                _pump(from_server, writer, most if direction == "client" else None)
            ),
        }
        ended = asyncio.Event()
        try:
            await asyncio.wait(pumps.values(), return_when=asyncio.FIRST_COMPLETED)
            self._ending.add(ended)
            is_cut = any(pump.done() and pump.result() for pump in pumps.values())
            await _cancel(pumps.values())
            if is_cut:
                self.cuts[direction] += 1
                writer.transport.abort()
            else:
                await close(writer)
            await _end(from_server, to_server)
        finally:
            self._ending.discard(ended)
            ended.set()
            for pump in pumps.values():
                pump.cancel()
            writer.transport.abort()
            to_server.transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """A connection to any server; None if none accepts."""
        for port in self._rng.sample(self._servers, len(self._servers)):
            with contextlib.suppress(OSError):
                return await asyncio.open_connection("127.0.0.1", port)
        return None

    def _draw(self) -> tuple[Direction, int | None]:
        """Where to cut a connection, and after how many bytes; None: never."""
        direction: Direction = self._rng.choice(("server", "client"))
        most = int(MOST_BYTES ** self._rng.random())
        return direction, most if self._rng.random() < CUT else None


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, most: int | None) -> bool:
    """Forward until the connection ends, or `most` bytes are forwarded; whether it was cut."""
    try:
        while chunk := await reader.read(CHUNK):
            if most is not None and len(chunk) >= most:
                writer.write(chunk[:most])
                await writer.drain()
                return True
            most = None if most is None else most - len(chunk)
            writer.write(chunk)
            await writer.drain()
    except ConnectionError:
        pass
    return False


async def _cancel(pumps: Iterable[asyncio.Task[bool]]) -> None:
    for pump in pumps:
        pump.cancel()
    await asyncio.gather(*pumps, return_exceptions=True)


async def _end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Tell the server that nothing follows, and wait until it closes the connection."""
    with contextlib.suppress(OSError):
        writer.write_eof()
        while await reader.read(CHUNK):
            pass


@contextlib.asynccontextmanager
async def cutting(servers: Sequence[int], rng: random.Random) -> AsyncIterator[Cutter]:
    """A proxy of the servers at those ports."""
    cutter = Cutter(servers, rng)
    async with listening(cutter.serve) as cutter.port:
        yield cutter
