"""Sessions stored by an older server are read as they are, and an older server reads those stored now.

`fixtures/0d7e622.json` holds what the code of commit 0d7e622 wrote after the history in `stored.py`, and
`fixtures/bonded.json` what is written now.
"""

import asyncio
import json
import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio

from service.manifest import StateSpec
from service.sessions import exported
from service.sessions.store import Limits, Outcome, Quota, Record, Status, Store, Write
from service.sessions.store.history import Checkpoint, History
from service.sessions.store.lmdb import LmdbStore
from service.sessions.store.memory import MemoryStore
from service.sessions.store.redis import RedisStore
from service.state import StateLayout
from tests.redis_server import RedisServer, needs_redis
from tests.service.sessions.store import stored
from tests.service.sessions.store.records import Counters, counters, put, run, size_of

OLD: dict[str, Any] = json.loads(stored.FIXTURE.read_text())
NOW: dict[str, Any] = json.loads(stored.CURRENT_FIXTURE.read_text())
LIMITS = Limits(**stored.LIMITS)
KEY = b"acme\0call-42"
RECORD = Record(
    Status.LIVE, "größe", "12", b"\0\xff" * 4, b"\xff" * 8, 7, 1, 2, 3, b"\0s" * 9, 5, b"d" * 16, b"{}"
)
RECORD_WITH_A_PAST = replace(
    RECORD, history=History(2, 10, 3, (Checkpoint(5, b"state5"), Checkpoint(2**40, b"")))
)
PARTS = (
    "3e000000 48495354 36000000"  # their size; HIST, its size
    "0300000000000000 0a00000000000000 02000000 02000000"  # rewinds, every, last, number
    "0500000000000000 06000000 0000000000010000 00000000"  # step and size of each
    "737461746535"
)
EXPORTED = Record(
    Status.LIVE, "vowels", "1", b"graph678", bytes(8), 7, 1, 0, 3_600_000, bytes(range(28)), 5, b"d" * 16,
    b'{"label": "3"}',
)  # fmt: skip
LAYOUT = StateLayout(
    [
        StateSpec(input="h", output="h_out", shape=(1, "batch", 2)),
        StateSpec(input="c", output="c_out", shape=("batch", 5)),
    ]
)


async def play(store: Store) -> list[str]:
    def record(status: int, *fields: Any) -> Record:
        return Record(Status(status), *fields)

    return await stored.play(store, record, Write, Quota(**stored.QUOTA))


def records_of(rows: stored.Rows, title: str) -> dict[bytes, Record]:
    return {
        key: Record.unpack(bytes.fromhex(value), key)
        for key, value in ((bytes.fromhex(key), value) for key, value in rows[title])
    }


async def check_contents(store: Store, records: dict[bytes, Record]) -> None:
    """The store holds these records, by every way of reading them, and can be written to."""
    live = {key: record for key, record in records.items() if record.is_live}
    tombstones = {key: record for key, record in records.items() if not record.is_live}
    assert len(live) >= 4 and {record.status for record in tombstones.values()} >= {
        Status.ENDED,
        Status.EVICTED,
    }
    for key, record in records.items():
        assert await store.get(key) == record
    assert dict(await store.scan(b"", b"", 99)) == {
        key: replace(record, reply=b"") for key, record in live.items()
    }
    sizes = [sum(map(size_of, group.values())) - 4 * len(group) for group in (live, tombstones)]
    assert await counters(store) == Counters(len(live), sizes[0], len(tombstones), sizes[1])
    key, old = next(iter(live.items()))
    new = replace(old, revision=b"newrevis", step=old.step + 1)
    assert await put(store, key, new, old, now_ms=50_000) is Outcome.DONE
    assert await store.get(key) == new
    assert await store.sweep(10**9, 99) == len(live)


def read_by_an_older_server(packed: bytes) -> Record:
    """As commit 0d7e622 reads a record: it knows no bond, and no key."""
    header = struct.Struct("<HHHIIQQQQQ8s8s16s")
    magic, checksum = struct.unpack_from("<4sI", packed)
    assert magic == b"CGR1" and zlib.crc32(packed[8:]) == checksum
    status, model, version, state, reply, step, at, created, touched, ttl, *rest = header.unpack_from(
        packed, 8
    )
    revision, graph, digest = rest
    parts, start = [], 94
    for size in (model, version, state, reply):
        parts.append(packed[start : start + size])
        start += size
    return Record(
        Status(status), parts[0].decode(), parts[1].decode(), graph, revision, step, created, touched, ttl,
        parts[2], at, digest, parts[3],
    )  # fmt: skip


def test_a_record_has_the_same_bytes() -> None:
    assert RECORD.pack(KEY).hex() == NOW["record"]
    assert Record.unpack(bytes.fromhex(NOW["record"]), KEY) == RECORD


def test_a_record_with_a_past_has_the_same_bytes_and_an_older_server_leaves_it_alone() -> None:
    """It reads the record as damaged: else its next step would drop the past, and the count of rewinds."""
    parts = RECORD_WITH_A_PAST.pack(KEY)[len(RECORD.pack(KEY)) - 4 : -4]
    assert parts.hex() == PARTS.replace(" ", "")
    assert Record.unpack(RECORD_WITH_A_PAST.pack(KEY), KEY) == RECORD_WITH_A_PAST


def test_a_record_of_an_older_server_is_read_under_any_key_and_ours_by_an_older_server() -> None:
    """So that old and new replicas share a store during an upgrade, and a rollback loses nothing."""
    assert Record.unpack(bytes.fromhex(OLD["record"]), b"") == RECORD
    assert read_by_an_older_server(bytes.fromhex(OLD["record"])) == RECORD
    assert read_by_an_older_server(RECORD.pack(KEY)) == RECORD


@pytest.mark.promise(10)
def test_an_exported_file_has_the_same_bytes() -> None:
    assert exported.write("call-42", EXPORTED, LAYOUT.tensors).hex() == OLD["export"]
    header, record = exported.read(bytes.fromhex(OLD["export"]))
    assert (header.session, header.tensors, record) == ("call-42", LAYOUT.tensors, EXPORTED)


def test_every_write_has_the_same_outcome() -> None:
    assert run(MemoryStore(LIMITS), play) == OLD["outcomes"]


def test_an_lmdb_directory_is_opened_as_it_is(tmp_path: Path) -> None:
    stored.write_lmdb_rows(tmp_path / "sessions", OLD["lmdb"])

    async def body(store: Store) -> None:
        await check_contents(store, records_of(OLD["lmdb"], "records"))

    async def nothing(_: Store) -> None:
        pass

    run(LmdbStore(tmp_path / "sessions", LIMITS), nothing)
    assert stored.lmdb_rows(tmp_path / "sessions") == OLD["lmdb"] | {"queues": []}, "nothing else changes"
    run(LmdbStore(tmp_path / "sessions", LIMITS), body)


def test_an_lmdb_directory_is_written_with_the_same_bytes(tmp_path: Path) -> None:
    assert run(LmdbStore(tmp_path / "sessions", LIMITS), play) == OLD["outcomes"]
    assert stored.lmdb_rows(tmp_path / "sessions") == NOW["lmdb"]


@needs_redis
def test_a_redis_database_is_opened_as_it_is(server: RedisServer) -> None:
    async def body() -> None:
        async with redis.asyncio.Redis.from_url(server.url) as client:
            await stored.write_redis_rows(client, OLD["redis"])
            assert await stored.redis_rows(client) == OLD["redis"]

    async def check(store: Store) -> None:
        await check_contents(store, records_of(OLD["redis"], "hash {cellgate:0}:records"))

    asyncio.run(body())
    run(RedisStore(server.url, LIMITS), check)


@needs_redis
def test_a_redis_database_is_written_with_the_same_bytes(server: RedisServer) -> None:
    async def read() -> stored.Rows:
        async with redis.asyncio.Redis.from_url(server.url) as client:
            return await stored.redis_rows(client)

    assert run(RedisStore(server.url, LIMITS), play) == OLD["outcomes"]
    assert asyncio.run(read()) == NOW["redis"]
