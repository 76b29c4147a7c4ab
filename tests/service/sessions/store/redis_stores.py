"""What the tests of Redis share: servers, stores on them, a proxy that loses replies. No tests."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from service.sessions.store import Limits, Outcome, Record, Status, Write
from service.sessions.store.redis import RedisStore
from tests.ports import free_port
from tests.redis_server import RedisServer

LIMITS = Limits(max_sessions=1000, max_bytes=1 << 24, min_idle_ms=0, max_tombstones=1000)


def record(step: int = 1, *, touched_ms: int = 0, ttl_ms: int = 1000, state: bytes = b"s" * 100) -> Record:
    return Record(
        Status.LIVE, "vowels", "1", b"graph\0\xff8", random.randbytes(8), step, 5, touched_ms, ttl_ms,
        state, step - 1, b"d" * 16, b'{"label": "3"}',
    )  # fmt: skip


@asynccontextmanager
async def opened(
    url: str, limits: Limits = LIMITS, *, timeout_s: float = 5.0, shards: int = 1
) -> AsyncIterator[RedisStore]:
    store = RedisStore(url, limits, timeout_s=timeout_s, shards=shards)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def put(store: RedisStore, key: bytes, new: Record, old: Record | None = None) -> Outcome:
    return (await store.commit([Write(key, old.revision if old else None, new)], new.touched_ms))[0]


def calls(server: RedisServer, command: str) -> int:
    """How often the server has run a command since the test began."""
    found = server.call("INFO", "commandstats").partition(f"cmdstat_{command}:calls=")[2]
    return int(found.partition(",")[0] or 0)


class Cutter:
    """A proxy before Redis that can lose the reply to a commit: Redis has run it, the store gets no reply."""

    def __init__(self, server: RedisServer) -> None:
        self.server = server
        self.port = free_port()
        self.num_to_cut = 0
        self.meanwhile: Callable[[], Awaitable[object]] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Cutter"]:
        async with await asyncio.start_server(self._serve, "127.0.0.1", self.port):
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream = await asyncio.open_connection("127.0.0.1", self.server.port)
        try:
            while request := await reader.read(1 << 20):
                upstream.write(request)
                reply = await upstream_reader.read(1 << 20)
                if b"EVALSHA" in request and self.num_to_cut:
                    self.num_to_cut -= 1
                    if self.meanwhile is not None:
                        await self.meanwhile()
                    return
                writer.write(reply)
        finally:
            writer.close()
            upstream.close()
