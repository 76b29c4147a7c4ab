"""One write for a reply, in order, and nothing lost at the end."""

import asyncio

from service.protocol import GatheringTransport


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


def test_what_is_written_in_one_turn_leaves_together() -> None:
    async def body() -> list[bytes]:
        wire = Wire()
        transport = GatheringTransport(wire, asyncio.get_running_loop())
        transport.write(b"head")
        transport.write(b"body")
        assert wire.writes == []
        await asyncio.sleep(0)
        transport.write(b"next")
        await asyncio.sleep(0)
        return wire.writes

    assert asyncio.run(body()) == [b"headbody", b"next"]


def test_closing_writes_first_and_the_rest_is_the_transports_own() -> None:
    async def body() -> list[bytes]:
        wire = Wire()
        transport = GatheringTransport(wire, asyncio.get_running_loop())
        transport.write(b"last")
        assert not transport.is_closing()
        transport.close()
        assert transport.is_closing()
        await asyncio.sleep(0)
        return wire.writes

    assert asyncio.run(body()) == [b"last", b"<closed>"]
