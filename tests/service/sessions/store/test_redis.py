"""Sessions in Redis: group commits, shared reads, racing replicas, shards, a Cluster. Real servers.

The rules for every store are in test_stores.py.
"""

import asyncio
from pathlib import Path

import pytest

from service.errors import CorruptRecord, StoreUnavailable
from service.sessions.store import Outcome, Record, Write
from service.sessions.store.redis import RedisStore
from service.sessions.store.redis_commands import RedisCommands
from tests.ports import free_port
from tests.redis_server import RedisServer, needs_redis, redis_cluster
from tests.service.sessions.store.records import counters
from tests.service.sessions.store.redis_stores import calls, opened, put, record

pytestmark = needs_redis


def test_a_group_of_commits_is_one_command(server: RedisServer) -> None:
    async def work() -> None:
        async with opened(server.url) as store:
            await store.check()  # the script is known from here on
            before = calls(server, "evalsha")
            outcomes = await store.commit([Write(b"\0%d" % i, None, record()) for i in range(50)], 0)
            assert outcomes == [Outcome.DONE] * 50
            assert calls(server, "evalsha") == before + 1

    asyncio.run(work())


def test_requests_that_arrive_together_share_a_read(server: RedisServer) -> None:
    async def work() -> None:
        async with opened(server.url) as store:
            records = [record(i) for i in range(1, 51)]
            await store.commit([Write(b"\0%d" % i, None, new) for i, new in enumerate(records)], 0)
            assert await asyncio.gather(*(store.get(b"\0%d" % i) for i in range(50))) == records
            assert calls(server, "hmget") == 1

    asyncio.run(work())


def test_reads_that_fail_in_an_unforeseen_way_all_end(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They waited for ever, each with its session's turn: their task had died."""

    async def fail(*_command: object) -> object:
        raise ValueError("an error that nobody foresaw")

    async def work() -> None:
        async with opened(server.url) as store:
            with monkeypatch.context() as broken:
                broken.setattr(RedisCommands, "send", fail)
                reads = [asyncio.ensure_future(store.get(b"\0%d" % i)) for i in range(3)]
                ended, waiting = await asyncio.wait(reads, timeout=60)
                assert not waiting
                assert all(isinstance(read.exception(), ValueError) for read in ended)
            assert await store.get(b"\0one") is None

    asyncio.run(work())


def test_a_session_with_a_short_life_does_not_wait_for_one_with_a_long_life(server: RedisServer) -> None:
    async def work() -> None:
        async with opened(server.url) as store:
            await put(store, b"\0long", record(touched_ms=0, ttl_ms=1_000_000))
            await put(store, b"\0short", record(touched_ms=100, ttl_ms=1))
            assert await store.sweep(1000, 1) == 1
            assert [key for key, _ in await store.scan(b"\0", b"", 10)] == [b"\0long"]

    asyncio.run(work())


def test_a_damaged_record_is_refused(server: RedisServer) -> None:
    async def work() -> None:
        async with opened(server.url) as store:
            await put(store, b"\0good", record())
            server.call("HSET", "{cellgate:0}:records", "\0bad", "nonsense")
            found = await asyncio.gather(store.get(b"\0good"), store.get(b"\0bad"), return_exceptions=True)
            assert isinstance(found[0], Record)
            assert isinstance(found[1], CorruptRecord)

    asyncio.run(work())


def test_replicas_racing_for_one_session_apply_each_step_once(server: RedisServer) -> None:
    async def work() -> None:
        async def steps(store: RedisStore) -> int:
            won = 0
            while won < 25:
                old = await store.get(b"\0s")
                won += await put(store, b"\0s", record(old.step + 1 if old else 1), old) is Outcome.DONE
            return won

        async with opened(server.url) as one, opened(server.url) as two, opened(server.url) as three:
            assert await asyncio.gather(*map(steps, (one, two, three))) == [25, 25, 25]
            last = await one.get(b"\0s")
            assert last is not None and last.step == 75

    asyncio.run(work())


def test_a_read_only_replica_is_not_ready(own_server: RedisServer) -> None:
    async def work() -> None:
        async with opened(own_server.url) as store:
            own_server.call("REPLICAOF", "127.0.0.1", str(free_port()))
            with pytest.raises(StoreUnavailable):
                await store.check()

    asyncio.run(work())


async def check_shards(store: RedisStore) -> None:
    keys = [b"tenant\0%03d" % i for i in range(60)]
    records = [record(i + 1, touched_ms=i) for i in range(60)]
    outcomes = await store.commit([Write(k, None, new) for k, new in zip(keys, records, strict=True)], 60)
    assert outcomes == [Outcome.DONE] * 60
    mixed = [Write(keys[i], records[i].revision if i % 2 else None, record(99)) for i in range(10)]
    assert await store.commit(mixed, 60) == [Outcome.CONFLICT, Outcome.DONE] * 5
    assert [r.step if r else 0 for r in await asyncio.gather(*map(store.get, keys))] == [
        99 if i < 10 and i % 2 else i + 1 for i in range(60)
    ]
    page: list[bytes] = []
    while found := await store.scan(b"tenant\0", page[-1] if page else b"", 7):
        page += [key for key, _ in found]
    assert page == keys
    stats = await counters(store)
    assert (stats.sessions, stats.tombstones) == (60, 0)
    assert await store.sweep(5000, 25) == 25
    assert await store.sweep(5000, 100) == 35


def test_shards_are_one_store(server: RedisServer) -> None:
    async def work() -> None:
        async with opened(server.url, shards=7) as store:
            await check_shards(store)

    asyncio.run(work())


def test_a_cluster_spreads_the_shards_and_reports_those_that_are_down(tmp_path: Path) -> None:
    async def work(nodes: list[RedisServer]) -> None:
        url = nodes[0].url.replace("redis://", "redis+cluster://")
        async with opened(url, shards=12, timeout_s=3) as store:
            await check_shards(store)
            await store.check()
            sizes = [int(node.call("DBSIZE")[1:]) for node in nodes]
            assert all(sizes), f"keys per node: {sizes}"
            nodes[2].kill()
            with pytest.raises(StoreUnavailable):
                await store.check()
            nodes[2].start()
            async with asyncio.timeout(120):
                while True:
                    try:
                        await store.check()
                        break
                    except StoreUnavailable:
                        await asyncio.sleep(0.1)
            assert (await counters(store)).tombstones == 60

    with redis_cluster(tmp_path) as nodes:
        asyncio.run(work(nodes))
