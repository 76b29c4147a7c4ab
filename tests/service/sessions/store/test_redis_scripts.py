"""The Lua scripts: tombstones, damaged records, a full server. Real servers."""

import asyncio
from dataclasses import replace

import pytest

from service.errors import CorruptRecord, StoreUnavailable
from service.sessions.store import Limits, Outcome, Status, Write
from service.sessions.store.base import tombstone
from service.sessions.store.history import Checkpoint, History
from tests.redis_server import RedisServer, needs_redis
from tests.service.sessions.store.records import counters, size_of
from tests.service.sessions.store.redis_stores import opened, put, record

pytestmark = needs_redis


def test_a_tombstone_written_by_lua_equals_that_of_python(server: RedisServer) -> None:
    async def work() -> None:
        async with opened(server.url, Limits(max_sessions=1, min_idle_ms=0)) as store:
            evicted, expired = record(7, touched_ms=11), record(2**40, touched_ms=12, ttl_ms=3)
            evicted.history = History(last=2, checkpoints=(Checkpoint(5, b"state"),))
            await put(store, b"\0evicted", evicted)
            await put(store, b"\0expired", expired)
            assert await store.get(b"\0evicted") == tombstone(evicted, Status.EVICTED, 12)
            assert await store.sweep(15, 10) == 0, "it may be idle for 3 ms, and was"
            assert await store.sweep(16, 10) == 1
            assert await store.get(b"\0expired") == tombstone(expired, Status.EXPIRED, 16)

    asyncio.run(work())


@pytest.mark.parametrize("damaged", ["nonsense", "CGR1" + "x" * 200], ids=["short", "long"])
def test_a_damaged_record_does_not_block_others(server: RedisServer, damaged: str) -> None:
    async def work() -> None:
        async with opened(server.url, Limits(max_sessions=3, min_idle_ms=0)) as store:
            for touched_ms, name in enumerate((b"t\0a", b"t\0b", b"t\0c")):
                await put(store, name, record(touched_ms=touched_ms))
            server.call("HSET", "{cellgate:0}:records", "t\0a", damaged)
            assert [key for key, _ in await store.scan(b"t\0", b"", 2)] == [b"t\0b", b"t\0c"], "a full page"
            assert await put(store, b"t\0d", record(touched_ms=3)) is Outcome.DONE
            evicted = await store.get(b"t\0a")
            assert evicted is not None and (evicted.status, evicted.step) == (Status.EVICTED, 0)
            server.call("HSET", "{cellgate:0}:records", "t\0b", damaged)
            assert await store.sweep(10_000, 10) == 3
            assert await store.sweep(10_000, 10) == 0
            server.call("HSET", "{cellgate:0}:records", "t\0c", damaged)
            with pytest.raises(CorruptRecord) as raised:
                await store.get(b"t\0c")
            delete = Write(b"t\0c", raised.value.revision, None)
            assert await store.commit([delete], 0) == [Outcome.DONE]
            assert await store.get(b"t\0c") is None

    asyncio.run(work())


def test_tombstones_of_an_older_server_are_bounded_in_number(server: RedisServer) -> None:
    """It counted no bytes of them, and had no `plots`: a new server must not subtract what was not added."""

    async def work() -> None:
        ended = [replace(record(touched_ms=i, state=b""), status=Status.ENDED) for i in range(8)]
        async with opened(server.url, Limits(max_tombstones=4)) as store:
            for i in range(4):
                await put(store, b"t\0%d" % i, ended[i])
            for name in ("plots", "grave_bytes"):
                server.call("DEL", "{cellgate:0}:" + name)
            server.call("HDEL", "{cellgate:0}:tenants", "t\0tombstones", "t\0tombstone_bytes")
            for i in range(4, 8):
                await put(store, b"t\0%d" % i, ended[i])
            stored = [await store.get(b"t\0%d" % i) is not None for i in range(8)]
            assert stored == [False, False, True, True, False, False, True, True], "half, beside the old ones"
            stats = await counters(store)
            assert (stats.tombstones, stats.tombstone_bytes) == (4, 2 * size_of(ended[0]))

    asyncio.run(work())


def test_a_full_server_refuses_growth_and_allows_deletes(own_server: RedisServer) -> None:
    """It stayed full for ever, because the sweep was refused as well."""

    async def work() -> None:
        async with opened(own_server.url) as store:
            names = [b"\0%d" % i for i in range(4)]
            held = {name: record(1) for name in names}
            for name in names:
                await put(store, name, held[name])
            own_server.call("CONFIG", "SET", "maxmemory", "1")
            steps = [Write(name, held[name].revision, record(2)) for name in names]
            deletes = [Write(name, held[name].revision, None) for name in names]
            with pytest.raises(StoreUnavailable):
                await store.commit(steps[:1], 0)
            with pytest.raises(StoreUnavailable):
                await store.check()
            assert await store.get(names[0]) == held[names[0]]
            assert await store.commit(deletes[:1], 0) == [Outcome.DONE]
            assert await store.commit([deletes[1], steps[2]], 0) == [Outcome.DONE, Outcome.FULL]
            assert await store.commit(deletes[:1], 0) == [Outcome.CONFLICT]
            assert await store.sweep(10_000, 10) == 2, "the other two have expired"
            own_server.call("CONFIG", "SET", "maxmemory", "0")
            await store.check()
            stats = await counters(store)
            assert (stats.sessions, stats.bytes, stats.tombstones) == (0, 0, 2)

    asyncio.run(work())
