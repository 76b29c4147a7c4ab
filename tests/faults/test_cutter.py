"""The proxy cuts connections in both directions, and knows when a server has taken in all of a connection."""

import asyncio
import random

from tests.faults.cutter import cutting
from tests.faults.listening import listening

SENT = b"x" * 100


async def _use(port: int) -> bytes:
    """What comes back over one connection to an echo, until it is cut."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    received = b""
    try:
        for _ in range(100):
            writer.write(SENT)
            await writer.drain()
            chunk = await reader.read(1 << 16)
            received += chunk
            if not chunk:
                break
    except ConnectionError:
        pass
    finally:
        writer.transport.abort()
    return received


def test_connections_are_cut_in_both_directions_and_others_live() -> None:
    taken: list[int] = []  # bytes that the server received over each connection

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = len(taken)
        taken.append(0)
        while chunk := await reader.read(1 << 16):
            taken[number] += len(chunk)
            writer.write(chunk)
        writer.close()

    async def body() -> None:
        async with listening(echo) as server, cutting([server], random.Random(1)) as cutter:
            received = [await _use(cutter.port) for _ in range(40)]
            await cutter.settled()
            assert cutter.cuts["server"] and cutter.cuts["client"]
            whole = len(SENT) * 100
            assert any(len(each) == whole for each in received), "all were cut"
            assert any(count % len(SENT) > 0 for count in taken), "each was cut between two pieces"
            assert any(count > len(each) for count, each in zip(taken, received, strict=True))

    asyncio.run(asyncio.wait_for(body(), 60))


def test_a_connection_that_no_server_accepts_is_closed() -> None:
    async def body() -> None:
        async with listening(_refuse) as port:
            pass
        async with cutting([port], random.Random(1)) as cutter:
            assert await _use(cutter.port) == b""
            await cutter.settled()

    asyncio.run(asyncio.wait_for(body(), 60))


async def _refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
