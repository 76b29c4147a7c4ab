"""What the tests of stores share: records, a store's lifetime, its counters, damage. No tests."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Collection
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
        Status.LIVE, "m1", "1", b"graph678", random.randbytes(8), step, 5, touched_ms, ttl_ms, bytes(size)
    )


def ended(step: int = 2, *, touched_ms: int = 0, reply: int = 0) -> Record:
    """An ended session's record of 101 + `reply` bytes."""
    return replace(record(step, touched_ms=touched_ms, size=0), status=Status.ENDED, reply=bytes(reply))


def size_of(record: Record) -> int:
    """The bytes of a stored record; they do not depend on its key."""
    return len(record.pack(b""))


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
        tables = store._map.tables
        with store._map.env.begin() as txn:
            return Counters(*tables.live_usage(txn), *tables.tombstone_usage(txn))
    assert isinstance(store, RedisStore)
    commands = (("ZCARD", "idle"), ("GET", "bytes"), ("ZCARD", "graves"), ("GET", "grave_bytes"))
    return Counters(
        *[
            sum([int(await store._commands.send(command, f"{tag}:{key}") or 0) for tag in store._tags])
            for command, key in commands
        ]
    )


async def held(store: Store) -> dict[bytes, Record]:
    """Every record in a store, live or tombstone, by its key."""
    if isinstance(store, MemoryStore):
        return {key: record for key, (record, _) in (store._live | store._tombstones._records).items()}
    if isinstance(store, LmdbStore):
        with store._map.env.begin() as txn:
            return {key: Record.unpack(v, key) for key, v in txn.cursor(store._map.tables.records)}
    assert isinstance(store, RedisStore)
    replies = [await store._commands.send("HGETALL", f"{tag}:records") for tag in store._tags]
    return {key: Record.unpack(v, key) for reply in replies for key, v in dict(reply).items()}


async def counters_of(store: Store, tenant: bytes) -> Counters:
    """The totals that a store keeps of one tenant, where it keeps them."""
    if isinstance(store, MemoryStore):
        stones = store._tombstones
        return Counters(
            store._tenant_sessions[tenant], store._tenant_bytes[tenant],
            len(stones._of_tenant[tenant]), stones._tenant_bytes[tenant],
        )  # fmt: skip
    if isinstance(store, LmdbStore):
        with store._map.env.begin() as txn:
            tombstones = store._map.tables._usage(txn, tenant + b"\0graves")
            return Counters(*store._map.tables.tenant_usage(txn, tenant), *tombstones)
    assert isinstance(store, RedisStore)
    totals = Counter[str]()
    for tag in store._tags:
        for name in ("sessions", "bytes", "tombstones", "tombstone_bytes"):
            field = tenant + b"\0" + name.encode()
            totals[name] += int(await store._commands.send("HGET", f"{tag}:tenants", field) or 0)
    return Counters(*[totals[name] for name in ("sessions", "bytes", "tombstones", "tombstone_bytes")])


def count(records: Collection[Record]) -> Counters:
    """What a store of these records should count."""
    sizes = [size_of(record) for record in records]
    live = [size for record, size in zip(records, sizes, strict=True) if record.is_live]
    return Counters(len(live), sum(live), len(sizes) - len(live), sum(sizes) - sum(live))


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
