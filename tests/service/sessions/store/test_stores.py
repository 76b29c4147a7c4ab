"""The suite that every store passes: compare-and-set, order, expiry, bounds. It specifies `Store`."""

import random
from dataclasses import replace

import pytest

from service.sessions.store import Limits, Outcome, Quota, Record, Status, Store, Write
from service.sessions.store.base import tombstone
from service.sessions.store.history import Checkpoint, History
from tests.service.sessions.store.records import (
    ROOMY,
    Counters,
    Create,
    count,
    counters,
    counters_of,
    ended,
    held,
    put,
    record,
    run,
    size_of,
)


def test_a_committed_record_is_read_whole(create: Create) -> None:
    async def body(store: Store) -> None:
        new = Record(
            Status.LIVE,
            "größe",
            "12",
            b"\0\xff" * 4,
            b"\xff" * 8,
            7,
            1,
            2,
            3,
            b"\0s" * 9,
            5,
            b"d" * 16,
            b"{}",
        )
        assert await store.get(b"\0k") is None
        assert await put(store, b"\0k", new) is Outcome.DONE
        assert await store.get(b"\0k") == new

    run(create(ROOMY), body)


def test_the_past_of_a_session_is_stored_counted_and_dropped_with_it(create: Create) -> None:
    """An expired one leaves a tombstone without it, and a deleted one nothing."""

    async def body(store: Store) -> None:
        history = History(2, 10, 1, (Checkpoint(0, b"a" * 300), Checkpoint(10, b"b" * 300)))
        first, second = (replace(record(12, ttl_ms=5), history=history) for _ in range(2))
        for key, new in ((b"\0a", first), (b"\0b", second)):
            assert await put(store, key, new) is Outcome.DONE
            assert await store.get(key) == new
        assert dict(await store.scan(b"", b"", 9)) == {
            b"\0a": replace(first, reply=b""), b"\0b": replace(second, reply=b""),
        }  # fmt: skip
        assert size_of(first) > 700 and (await counters(store)).bytes == 2 * size_of(first)
        shorter = replace(record(13, ttl_ms=5), history=replace(history, checkpoints=history.checkpoints[1:]))
        assert await put(store, b"\0a", shorter, first) is Outcome.DONE
        assert (await counters(store)).bytes == size_of(first) + size_of(shorter)
        assert await put(store, b"\0b", None, second) is Outcome.DONE
        assert await store.sweep(6, 9) == 1
        assert await store.get(b"\0a") == tombstone(shorter, Status.EXPIRED, 6)
        assert (await counters(store)).bytes == 0

    run(create(ROOMY), body)


def test_a_checkpoint_counts_against_the_quota_of_its_tenant(create: Create) -> None:
    async def body(store: Store) -> None:
        quota = Quota(9, 1000)
        small = record(1)
        large = replace(record(2), history=History(1, 0, 0, (Checkpoint(1, bytes(900)),)))
        assert await store.commit([Write(b"acme\0a", None, small, quota)], 0) == [Outcome.DONE]
        write = Write(b"acme\0a", small.revision, large, quota)
        assert await store.commit([write], 0) == [Outcome.OVER_QUOTA]
        assert await store.get(b"acme\0a") == small

    run(create(ROOMY), body)


def test_a_write_needs_the_last_revision(create: Create) -> None:
    async def body(store: Store) -> None:
        first, second, third = record(1), record(2), record(3)
        assert await put(store, b"\0k", first, second) is Outcome.CONFLICT, "there was nothing to replace"
        assert await put(store, b"\0k", first) is Outcome.DONE
        assert await put(store, b"\0k", second) is Outcome.CONFLICT, "there is something now"
        assert await put(store, b"\0k", second, first) is Outcome.DONE
        assert await put(store, b"\0k", third, first) is Outcome.CONFLICT
        assert await put(store, b"\0k", None, first) is Outcome.CONFLICT
        assert await store.get(b"\0k") == second
        assert await put(store, b"\0k", None, second) is Outcome.DONE
        assert await store.get(b"\0k") is None

    run(create(ROOMY), body)


def test_writes_of_one_commit_succeed_or_fail_one_by_one(create: Create) -> None:
    async def body(store: Store) -> None:
        known, new, stale = record(1), record(2), record(3)
        await put(store, b"\0a", known)
        writes = [
            Write(b"\0a", b"12345678", stale),
            Write(b"\0b", None, new),
            Write(b"\0a", known.revision, stale),
        ]
        assert await store.commit(writes, 0) == [Outcome.CONFLICT, Outcome.DONE, Outcome.DONE]
        assert (await store.get(b"\0a"), await store.get(b"\0b")) == (stale, new)

    run(create(ROOMY), body)


def test_pages_hold_every_live_session_of_a_tenant_once_in_order(create: Create) -> None:
    async def body(store: Store) -> None:
        keys = [b"acme\0%03d" % i for i in range(25)]
        for key in random.Random(0).sample(keys, len(keys)):
            await put(store, key, record())
        await put(store, b"acm\0x", record())
        await put(store, b"acmf\0x", record())
        seen: list[bytes] = []
        while page := await store.scan(b"acme\0", seen[-1] if seen else b"", 10):
            assert len(page) <= 10
            seen += [key for key, _ in page]
        assert seen == keys

    run(create(ROOMY), body)


def test_a_page_has_no_replies(create: Create) -> None:
    """It had them all in memory: thousands of sessions, each with a reply of megabytes."""

    async def body(store: Store) -> None:
        kept = {b"\0s%d" % number: record(number) for number in range(10, 80)}
        for key, each in kept.items():
            await put(store, key, replace(each, reply=b"a large reply"))
        assert dict(await store.scan(b"", b"", 99)) == kept
        found = await store.get(b"\0s42")
        assert found is not None and found.reply == b"a large reply"

    run(create(ROOMY), body)


def test_a_page_without_a_prefix_is_of_all_tenants(create: Create) -> None:
    async def body(store: Store) -> None:
        keys = [b"\0call", b"acme\0call", b"acme\0more", b"beta\0call"]
        for key in keys:
            await put(store, key, record())
        for after, rest in ((b"", keys), (b"\0\xff", keys[1:]), (b"acme\0\xff", keys[3:]), (keys[3], [])):
            assert [key for key, _ in await store.scan(b"", after, 10)] == rest
            assert [key for key, _ in await store.scan(b"", after, 1)] == rest[:1]

    run(create(ROOMY), body)


def test_the_expired_become_tombstones_and_nobody_else(create: Create) -> None:
    async def body(store: Store) -> None:
        await put(store, b"\0old", record(4, touched_ms=1_000, ttl_ms=5_000), now_ms=1_000)
        await put(store, b"\0new", record(9, touched_ms=5_000, ttl_ms=5_000), now_ms=5_000)
        assert await store.sweep(6_000, 100) == 0
        assert await store.sweep(6_001, 100) == 1
        tombstone = await store.get(b"\0old")
        assert tombstone is not None
        assert (tombstone.status, tombstone.step, tombstone.state) == (Status.EXPIRED, 4, b"")
        assert [key for key, _ in await store.scan(b"\0", b"", 9)] == [b"\0new"]
        assert ((await counters(store)).sessions, (await counters(store)).tombstones) == (1, 1)

    run(create(ROOMY), body)


def test_a_session_with_a_short_life_does_not_wait_for_one_with_a_long_life(create: Create) -> None:
    async def body(store: Store) -> None:
        await put(store, b"\0long", record(touched_ms=0, ttl_ms=100_000), now_ms=0)
        await put(store, b"\0short", record(touched_ms=1_000, ttl_ms=1_000), now_ms=1_000)
        assert await store.sweep(3_000, 10) == 1
        assert [key for key, _ in await store.scan(b"\0", b"", 9)] == [b"\0long"]

    run(create(ROOMY), body)


@pytest.mark.promise(8)
def test_at_capacity_the_longest_idle_session_is_evicted_if_idle_long_enough(create: Create) -> None:
    async def body(store: Store) -> None:
        for second, key in enumerate((b"\0a", b"\0b", b"\0c")):
            await put(store, key, record(touched_ms=second * 1000), now_ms=second * 1000)
        held = await store.get(b"\0a")
        assert await put(store, b"\0a", record(2, touched_ms=9_000), held, now_ms=9_000) is Outcome.DONE
        assert await put(store, b"\0d", record(touched_ms=10_999), now_ms=10_999) is Outcome.FULL
        assert await store.get(b"\0d") is None, "nothing was applied"
        assert store.num_evicted == 0
        assert await put(store, b"\0d", record(touched_ms=11_000), now_ms=11_000) is Outcome.DONE
        evicted = await store.get(b"\0b")
        assert evicted is not None and evicted.status is Status.EVICTED
        assert [key for key, _ in await store.scan(b"\0", b"", 9)] == [b"\0a", b"\0c", b"\0d"]
        assert store.num_evicted == 1
        sizes = [size_of(each) for _, each in await store.scan(b"\0", b"", 9)]
        assert await store.usage() == (3, sum(sizes)), "live sessions, without the tombstone"

    run(create(Limits(max_sessions=3, max_bytes=1 << 20, min_idle_ms=10_000, max_tombstones=9)), body)


@pytest.mark.promise(8)
def test_bytes_are_bounded_for_new_and_for_growing_sessions(create: Create) -> None:
    async def body(store: Store) -> None:
        for second, key in enumerate((b"\0a", b"\0b")):
            await put(store, key, record(touched_ms=second * 1000, size=1000), now_ms=second * 1000)
        held = await store.get(b"\0b")
        grown = record(2, touched_ms=5_000, size=2000)
        assert await put(store, b"\0b", grown, held, now_ms=5_000) is Outcome.DONE
        evicted = await store.get(b"\0a")
        assert evicted is not None and evicted.status is Status.EVICTED
        too_big = record(3, touched_ms=6_000, size=4000)
        assert await put(store, b"\0b", too_big, grown, now_ms=6_000) is Outcome.FULL
        assert await store.get(b"\0b") == grown

    run(create(Limits(max_sessions=9, max_bytes=3000, min_idle_ms=0, max_tombstones=9)), body)


@pytest.mark.promise(8)
def test_a_tenant_cannot_exceed_its_quota(create: Create) -> None:
    async def body(store: Store) -> None:
        async def begin(key: bytes, size: int, quota: Quota | None) -> Outcome:
            write = Write(key, None, record(size=size), quota)
            return (await store.commit([write], 0))[0]

        two = Quota(max_sessions=2, max_bytes=10_000)
        first, second, third = (b"acme\0" + name for name in (b"one", b"two", b"three"))
        assert await begin(first, 100, two) is Outcome.DONE
        assert await begin(second, 100, two) is Outcome.DONE
        assert await begin(third, 100, two) is Outcome.OVER_QUOTA
        assert await begin(b"beta\0x", 100, None) is Outcome.DONE, "another tenant's are not counted"
        assert await begin(b"\0x", 100, None) is Outcome.DONE
        known = [await store.get(key) for key in (first, second, third)]
        assert known[0] is not None and known[1] is not None and known[2] is None
        step, leave = Write(first, known[0].revision, record(2), two), Write(second, known[1].revision, None)
        assert await store.commit([step, leave], 0) == [Outcome.DONE, Outcome.DONE], (
            "existing sessions continue"
        )
        assert await begin(third, 20_000, two) is Outcome.OVER_QUOTA, "too many bytes"
        assert await begin(third, 100, two) is Outcome.DONE, "room again"

    run(create(ROOMY), body)


@pytest.mark.promise(7)
def test_tombstones_are_bounded_and_the_oldest_is_dropped_first(create: Create) -> None:
    async def body(store: Store) -> None:
        for second in range(6):
            await put(store, b"\0%d" % second, record(touched_ms=second * 1000), now_ms=second * 1000)
        tombstones = [await store.get(b"\0%d" % second) for second in range(6)]
        assert (await counters(store)).tombstones == 3
        assert [t is not None for t in tombstones] == [False, False, True, True, True, True]

    run(create(Limits(max_sessions=1, max_bytes=1 << 20, min_idle_ms=0, max_tombstones=3)), body)


def test_a_tombstone_pushed_out_by_the_session_that_takes_its_name_is_uncounted_once(create: Create) -> None:
    """LMDB uncounted it twice: of 59 tombstones it counted 43, and its bound of 50 did not hold."""

    async def body(store: Store) -> None:
        for second, key in enumerate((b"a\0x", b"b\0y")):
            await put(store, key, ended(touched_ms=second * 1000), now_ms=second * 1000)
        for second, key in enumerate((b"a\0one", b"b\0two"), 2):
            await put(store, key, record(touched_ms=second * 1000), now_ms=second * 1000)
        first = await store.get(b"a\0x")
        assert await put(store, b"a\0x", record(touched_ms=9_000), first, now_ms=9_000) is Outcome.DONE
        records = await held(store)
        assert await counters(store) == count(list(records.values()))
        for tenant in (b"a", b"b"):
            own = [record for key, record in records.items() if key.startswith(tenant)]
            assert await counters_of(store, tenant) == count(own)

    run(create(Limits(max_sessions=2, max_bytes=1 << 20, min_idle_ms=0, max_tombstones=2)), body)


async def stored(store: Store, keys: list[bytes]) -> list[bool]:
    return [await store.get(key) is not None for key in keys]


def test_tombstones_are_bounded_in_bytes_and_all_are_counted(create: Create) -> None:
    """An ended session keeps its last reply: a few long replies filled the whole store, uncounted."""

    async def body(store: Store) -> None:
        keys = [b"\0%d" % i for i in range(20)]
        for i, key in enumerate(keys):
            assert await put(store, key, ended(touched_ms=i, reply=299)) is Outcome.DONE
        assert await stored(store, keys) == [False] * 15 + [True] * 5
        assert await counters(store) == Counters(sessions=0, bytes=0, tombstones=5, tombstone_bytes=2000)
        last = await store.get(keys[-1])
        assert await put(store, keys[-1], record(touched_ms=20), last) is Outcome.DONE, (
            "the name is used again"
        )
        assert (await counters(store)).tombstone_bytes == 1600
        assert await put(store, keys[-2], None, await store.get(keys[-2])) is Outcome.DONE
        assert (await counters(store)).tombstone_bytes == 1200

    run(create(Limits(max_bytes=8000, min_idle_ms=0, max_tombstones=100)), body)


def test_tombstones_never_evict_live_sessions(create: Create) -> None:
    async def body(store: Store) -> None:
        live = [b"quiet\0%d" % i for i in range(5)]
        for key in live:
            await put(store, key, record(size=1400))
        for i in range(20):
            assert await put(store, b"loud\0%d" % i, ended(touched_ms=i, reply=800)) is Outcome.DONE
        assert all(await stored(store, live))
        assert (await counters(store)).sessions == 5

    run(create(Limits(max_bytes=8000, min_idle_ms=0)), body)


@pytest.mark.parametrize(("number", "reply"), [(8, 0), (100, 399)], ids=["number", "bytes"])
def test_no_tenant_can_push_out_another_tenants_tombstones(create: Create, number: int, reply: int) -> None:
    async def body(store: Store) -> None:
        quiet, loud = ([b"%s\0%02d" % (tenant, i) for i in range(40)] for tenant in (b"quiet", b"loud"))
        for key in quiet[:4]:
            await put(store, key, ended(touched_ms=1, reply=reply))
        for i, key in enumerate(loud):
            assert await put(store, key, ended(touched_ms=2 + i, reply=reply)) is Outcome.DONE
        assert await stored(store, quiet[:4]) == [True] * 4
        assert await stored(store, loud) == [False] * 36 + [True] * 4, (
            "half of the bound, its most recent ones"
        )

    run(create(Limits(max_bytes=16_000, min_idle_ms=0, max_tombstones=number)), body)


def test_tombstones_of_many_tenants_are_bounded_together(create: Create) -> None:
    async def body(store: Store) -> None:
        keys = [tenant + b"\0%d" % i for tenant in (b"a", b"b", b"c") for i in range(4)]
        for i, key in enumerate(keys):
            await put(store, key, ended(touched_ms=i, reply=399))
        assert await stored(store, keys) == [False] * 4 + [True] * 8
        assert (await counters(store)).tombstone_bytes == 8 * 500

    run(create(Limits(max_bytes=16_000, min_idle_ms=0)), body)


def test_an_end_whose_reply_is_too_large_to_store_is_refused_and_changes_nothing(create: Create) -> None:
    async def body(store: Store) -> None:
        live = record()
        await put(store, b"a\0s", live)
        assert await put(store, b"a\0s", ended(reply=900), live) is Outcome.FULL
        assert await store.get(b"a\0s") == live
        assert await put(store, b"a\0s", ended(reply=899), live) is Outcome.DONE

    run(create(Limits(max_bytes=8000, min_idle_ms=0)), body)
