"""One flipped bit of a stored entry, in its key or its record, never hands out another session or state."""

import asyncio
import contextlib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from service.errors import CorruptRecord
from service.sessions.store import Limits, Outcome, Record, Status, Store, Write
from service.sessions.store.lmdb import LmdbStore
from service.sessions.store.redis import RedisStore
from tests.redis_server import RedisServer, needs_redis

KEY, OTHER = b"acme\0call-42", b"acmd\0call-42"  # the tenants differ by one bit
LIMITS = Limits(max_sessions=9, max_bytes=1 << 20, min_idle_ms=0)


def record(step: int) -> Record:
    return Record(
        Status.LIVE, "vowels", "1", b"graph678", bytes([step]) * 8, step, 5, 10, 1000, bytes([step]) * 16,
        step - 1, bytes(16), b'{"step":%d}' % step,
    )  # fmt: skip


OURS, THEIRS = record(7), record(9)
NUM_BITS = 8 * (len(KEY) + len(OURS.pack(KEY)))


def flipped(bit: int) -> tuple[bytes, bytes]:
    """The entry of KEY with that bit flipped."""
    entry = bytearray(KEY + OURS.pack(KEY))
    entry[bit // 8] ^= 1 << bit % 8
    return bytes(entry[: len(KEY)]), bytes(entry[len(KEY) :])


@pytest.mark.promise(10)
def test_a_record_under_another_key_or_with_another_bit_is_refused() -> None:
    for bit in range(NUM_BITS):
        key, packed = flipped(bit)
        with pytest.raises(CorruptRecord):
            Record.unpack(packed, key)


async def check(store: Store, key: bytes) -> None:
    """What any session reads, before and after it expires, is its own or an error."""
    ours = OURS if key == KEY else record(1)  # see `begin_anew`
    truths = {key: None, KEY: ours} if key == OTHER else {key: None, KEY: ours, OTHER: THEIRS}
    for now_ms in (20, 5000, 5000):
        for name, truth in truths.items():
            with contextlib.suppress(CorruptRecord):
                found = await store.get(name)
                if found is not None and found.is_live:
                    assert found == truth
                elif found is not None:
                    assert found.state == found.reply == b"" and found.step in (0, truth.step if truth else 0)
        for name, found in await store.scan(b"", b"", 9):
            assert found == replace({KEY: ours, OTHER: THEIRS}[name], reply=b"")
        await store.sweep(now_ms, 9)


async def prepare(store: Store) -> None:
    await store.commit([Write(KEY, None, OURS), Write(OTHER, None, THEIRS)], 10)


BITS = st.integers(0, NUM_BITS - 1) | st.integers(0, 8 * len(KEY) - 1) | st.just(24)  # 24: KEY to OTHER


async def begin_anew(store: Store) -> None:
    """A session whose record lies under another key does not begin anew without a word."""
    assert await store.get(KEY) is None
    begun = [Write(KEY, None, record(1))]
    assert await store.commit(begun, 20) == [Outcome.CONFLICT]
    found = await store.get(KEY)
    assert found is not None and found.status is Status.EVICTED
    assert await store.commit([Write(KEY, found.revision, record(1))], 20) == [Outcome.DONE]


@settings(max_examples=100, deadline=None)
@given(bit=BITS)
def test_in_lmdb(tmp_path_factory: pytest.TempPathFactory, bit: int) -> None:
    async def work(directory: Path) -> None:
        store = LmdbStore(directory, LIMITS)
        await store.open()
        try:
            await prepare(store)
            key, value = flipped(bit)
            with store._map.env.begin(store._map.tables.records, write=True) as txn:
                txn.delete(KEY)
                txn.put(key, value)
            if key != KEY:
                await begin_anew(store)
            await check(store, key)
        finally:
            await store.close()

    asyncio.run(work(tmp_path_factory.mktemp("sessions")))


@needs_redis
@settings(max_examples=100, deadline=None)
@given(bit=BITS)
@example(bit=871)  # in the model's name and in its version: the tombstone keeps them, with a new checksum
@example(bit=903)
def test_in_redis(shared_server: RedisServer, bit: int) -> None:
    async def work() -> None:
        store = RedisStore(shared_server.url, LIMITS)
        await store.open()
        try:
            await store._commands.send("FLUSHALL")
            await prepare(store)
            key, value = flipped(bit)
            await store._commands.send("HDEL", "{cellgate:0}:records", KEY)
            await store._commands.send("HSET", "{cellgate:0}:records", key, value)
            if key != KEY:
                await begin_anew(store)
            await check(store, key)
        finally:
            await store.close()

    asyncio.run(work())
