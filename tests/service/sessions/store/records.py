"""What the tests of stores share: records, a store's lifetime, its counters, damage. No tests."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, TypeVar

import lmdb

from service.sessions.store import Limits, Outcome, Record, Status, Store, Write
from service.sessions.store.lmdb import LmdbStore
from service.sessions.store.lmdb_tables import NUM_TABLES
from service.sessions.store.memory import MemoryStore
from service.sessions.store.redis import RedisStore

T = TypeVar("T")
Create = Callable[[Limits], Store]
ROOMY = Limits(max_sessions=1000, max_bytes=1 << 24, min_idle_ms=0, max_tombstones=100)


def run(store: Store, body: Callable[[Store], Awaitable[T]]) -> T:
    """Run `body` on an open store, which is closed afterwards."""

    async def work() -> T:
        await store.open()
        try:
            return await body(store)
        finally:
            await store.close()

    return asyncio.run(work())


def record(step: int = 1, *, touched_ms: int = 0, ttl_ms: int = 10**9, size: int = 100) -> Record:
    """A live session's record of 101 + `size` bytes, with a random revision."""
    return Record(
        Status.LIVE, "vowels", "1", b"graph678", random.randbytes(8), step, 5, touched_ms, ttl_ms, bytes(size)
    )


def ended(step: int = 2, *, touched_ms: int = 0, reply: int = 0) -> Record:
    """An ended session's record of 101 + `reply` bytes."""
    return replace(record(step, touched_ms=touched_ms, size=0), status=Status.ENDED, reply=bytes(reply))


async def put(
    store: Store, key: bytes, new: Record | None, old: Record | None = None, now_ms: int = 0
) -> Outcome:
    """One write of `new` in place of `old`."""
    return (await store.commit([Write(key, old.revision if old else None, new)], now_ms))[0]


class Counters(NamedTuple):
    """How full a store believes it is, by its own totals."""

    sessions: int
    bytes: int
    tombstones: int
    tombstone_bytes: int


async def counters(store: Store) -> Counters:
    """Read the totals of a store, where it keeps them."""
    if isinstance(store, MemoryStore):
        return Counters(*store.live_usage(), *store.tombstone_usage())
    if isinstance(store, LmdbStore):
        with store._env.begin() as txn:
            return Counters(*store._tables.live_usage(txn), *store._tables.tombstone_usage(txn))
    assert isinstance(store, RedisStore)
    commands = (("ZCARD", "idle"), ("GET", "bytes"), ("ZCARD", "graves"), ("GET", "grave_bytes"))
    return Counters(
        *[
            sum([int(await store._commands.send(command, f"{tag}:{key}") or 0) for tag in store._tags])
            for command, key in commands
        ]
    )


def open_raw(directory: Path) -> lmdb.Environment:
    """The file without a store; to be closed before a store opens it."""
    return lmdb.open(str(directory), map_size=1 << 30, max_dbs=NUM_TABLES, writemap=True)


def damage(directory: Path, *keys: bytes, position: int = -1) -> None:
    """Flip a bit of records, as a bad disk would."""
    with open_raw(directory) as env:
        records = env.open_db(b"records")
        with env.begin(records, write=True) as txn:
            for key in keys:
                packed = bytearray(txn.get(key, b""))
                packed[position] ^= 1
                txn.put(key, bytes(packed))
