"""At capacity, without quotas: a tenant within its fair share loses no session to another. On every store."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.sessions.store import Limits, Outcome, Store
from service.sessions.store.base import tenant_of
from service.sessions.store.lmdb import LmdbStore
from service.sessions.store.room import Usage, tenants_to_evict_from
from tests.redis_server import RedisServer, needs_redis
from tests.service.sessions.store.records import Create, held, open_raw, put, record, run
from tests.service.sessions.store.redis_stores import opened

LIMITS = Limits(max_sessions=12, max_bytes=1 << 20, min_idle_ms=0, max_tombstones=1000)


async def begin(store: Store, key: bytes, second: int, size: int = 100) -> Outcome:
    new = record(touched_ms=second * 1000, size=size)
    return await put(store, key, new, await store.get(key), now_ms=second * 1000)


async def live(store: Store) -> dict[bytes, list[bytes]]:
    """The names of each tenant's live sessions, in order."""
    found: dict[bytes, list[bytes]] = {}
    for key, stored in sorted((await held(store)).items()):
        if stored.is_live:
            found.setdefault(tenant_of(key), []).append(key.partition(b"\0")[2])
    return found


@pytest.mark.parametrize("quiet", [b"quiet", b""], ids=["a tenant", "sessions without one"])
def test_a_loud_tenant_evicts_its_own_sessions(create: Create, quiet: bytes) -> None:
    """It evicted all idle sessions of another tenant."""

    async def body(store: Store) -> None:
        for i in range(6):
            assert await begin(store, quiet + b"\0%d" % i, i) is Outcome.DONE
        for i in range(30):
            assert await begin(store, b"loud\0%02d" % i, 10 + i) is Outcome.DONE
        found = await live(store)
        assert found[quiet] == [b"%d" % i for i in range(6)]
        assert found[b"loud"] == [b"%02d" % i for i in range(24, 30)], "its longest idle ones left"

    run(create(LIMITS), body)


def test_a_newcomer_evicts_from_the_tenant_furthest_above_its_share(create: Create) -> None:
    async def body(store: Store) -> None:
        for tenant, number in ((b"a", 3), (b"b", 8), (b"", 1)):
            for i in range(number):
                assert await begin(store, tenant + b"\0%d" % i, i) is Outcome.DONE
        for i in range(5):
            assert await begin(store, b"new\0%d" % i, 20 + i) is Outcome.DONE
        found = await live(store)
        assert {tenant: len(names) for tenant, names in found.items()} == {
            b"a": 3,
            b"b": 4,
            b"": 1,
            b"new": 4,
        }
        assert found[b"b"] == [b"%d" % i for i in range(4, 8)]

    run(create(LIMITS), body)


def test_shares_of_bytes_hold_like_shares_of_sessions(create: Create) -> None:
    async def body(store: Store) -> None:
        for i in range(4):
            await begin(store, b"quiet\0%d" % i, i, size=899)
        for i in range(9):
            assert await begin(store, b"loud\0%d" % i, 10 + i, size=899) is Outcome.DONE
        found = await live(store)
        assert found == {b"quiet": [b"0", b"1", b"2", b"3"], b"loud": [b"5", b"6", b"7", b"8"]}
        assert await begin(store, b"loud\0huge", 30, size=5000) is Outcome.FULL, "beyond its share"
        assert (await live(store))[b"quiet"] == found[b"quiet"]

    run(create(Limits(max_sessions=99, max_bytes=8000, min_idle_ms=0)), body)


def test_busy_sessions_of_the_largest_tenant_are_passed_over_for_those_of_the_next(create: Create) -> None:
    async def body(store: Store) -> None:
        for i in range(5):
            await begin(store, b"idle\0%d" % i, i)
        for i in range(7):
            await begin(store, b"busy\0%d" % i, 100)
        assert await begin(store, b"new\0x", 101) is Outcome.DONE
        found = await live(store)
        assert (len(found[b"busy"]), found[b"idle"]) == (7, [b"1", b"2", b"3", b"4"])

    run(create(Limits(max_sessions=12, max_bytes=1 << 20, min_idle_ms=60_000)), body)


def test_a_directory_of_an_older_server_is_indexed_when_it_is_opened(tmp_path: Path) -> None:
    async def fill(store: Store) -> None:
        for i in range(12):
            await begin(store, b"old\0%02d" % i, i)

    async def body(store: Store) -> None:
        for i in range(6):
            assert await begin(store, b"new\0%d" % i, 20 + i) is Outcome.DONE
        assert (await live(store))[b"old"] == [b"%02d" % i for i in range(6, 12)]

    run(LmdbStore(tmp_path, LIMITS), fill)
    with open_raw(tmp_path) as env:
        queues = env.open_db(b"queues")
        with env.begin(write=True) as txn:
            txn.drop(queues, delete=False)
    run(LmdbStore(tmp_path, LIMITS), body)


@needs_redis
def test_sessions_of_an_older_server_are_found(server: RedisServer) -> None:
    """It writes no `queues`."""

    async def work() -> None:
        async with opened(server.url, LIMITS) as store:
            for i in range(12):
                await begin(store, b"old\0%02d" % i, i)
            server.call("DEL", "{cellgate:0}:queues")
            for i in range(6):
                assert await begin(store, b"new\0%d" % i, 20 + i) is Outcome.DONE
            assert (await live(store))[b"old"] == [b"%02d" % i for i in range(6, 12)]

    asyncio.run(work())


USAGES = st.dictionaries(
    st.sampled_from([b"", b"a", b"b", b"c"]), st.builds(Usage, st.integers(0, 9), st.integers(0, 900))
)


@given(USAGES, st.sampled_from([b"", b"a", b"d"]), st.integers(0, 100), st.integers(1, 300))
def test_only_tenants_above_their_share_and_the_writer_can_lose(
    usages: dict[bytes, Usage], writer: bytes, old_size: int, new_size: int
) -> None:
    limits = Limits(max_sessions=9, max_bytes=900)
    chosen = tenants_to_evict_from(limits, usages, writer, old_size=old_size, new_size=new_size)
    active = {tenant for tenant, usage in usages.items() if usage.records} | {writer}
    assert writer in chosen and set(chosen) <= active and len(set(chosen)) == len(chosen)
    for tenant in set(chosen) - {writer}:
        own, total = usages[tenant], new_size - old_size
        total += sum(usage.num_bytes for name, usage in usages.items() if usage.records or name == writer)
        assert own.records * len(active) > 9 or own.num_bytes * len(active) > min(900, total - 1)
