"""The tables of an LMDB store agree with the records, whatever was replaced by whatever."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import lmdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.sessions.store import Limits, Record, Status
from service.sessions.store.base import tenant_of
from service.sessions.store.lmdb_tables import NUM_TABLES, Tables
from service.sessions.store.room import Usage
from tests.service.sessions.store.records import ended, record, size_of

KEYS = [b"\0a", b"\0b", b"acme\0a", b"acme\0b"]
LIMITS = Limits(max_bytes=1 << 20)
NEW = st.one_of(
    st.none(),
    st.builds(
        partial,
        st.just(record),
        touched_ms=st.integers(0, 5000),
        ttl_ms=st.integers(0, 5000),
        size=st.integers(0, 50),
    ),
    st.builds(partial, st.just(ended), touched_ms=st.integers(0, 5000), reply=st.integers(0, 50)),
)


def open_tables(directory: Path, limits: Limits = LIMITS) -> tuple[lmdb.Environment, Tables]:
    env = lmdb.open(str(directory), map_size=1 << 22, max_dbs=NUM_TABLES)
    return env, Tables(env, limits)


def replace(tables: Tables, txn: "lmdb.Transaction[bytes]", key: bytes, new: Record | None) -> None:
    packed = None if new is None else new.pack(key)
    head = None if packed is None else Record.head(packed)
    tables.replace(txn, key, tables.head(txn, key), head, packed)


@given(st.lists(st.tuples(st.sampled_from(KEYS), NEW), max_size=20))
def test_indexes_and_totals_follow_from_the_records(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[bytes, Callable[[], Record] | None]]
) -> None:
    env, tables = open_tables(tmp_path_factory.mktemp("tables"))
    records: dict[bytes, Record] = {}
    with env, env.begin(write=True) as txn:
        for key, create in changes:
            new = None if create is None else create()
            replace(tables, txn, key, new)
            records.pop(key, None)
            if new is not None:
                records[key] = new
        live = {key: found for key, found in records.items() if found.is_live}
        tombstones = {key: found for key, found in records.items() if not found.is_live}
        assert [key for key, _ in tables.live(txn, b"", b"")] == sorted(live)
        assert tables.live_usage(txn) == Usage(len(live), sum(size_of(r) for r in live.values()))
        assert tables.tombstone_usage(txn) == Usage(
            len(tombstones), sum(size_of(r) for r in tombstones.values())
        )
        acme = [size_of(r) for key, r in live.items() if tenant_of(key) == b"acme"]
        assert tables.tenant_usage(txn, b"acme") == Usage(len(acme), sum(acme))
        for tenant in (b"", b"acme"):
            longest = tables.longest_idle(txn, tenant, but=b"")
            idle_s = [r.touched_ms // 1000 for key, r in live.items() if tenant_of(key) == tenant]
            assert (longest[1] // 1000 if longest else None) == (min(idle_s) if idle_s else None)
            usage = tables.usages(txn).get(tenant, Usage(0, 0))
            sizes = [size_of(r) for key, r in live.items() if tenant_of(key) == tenant]
            assert usage == Usage(len(sizes), sum(sizes))
        expired = {key for key, r in live.items() if r.touched_ms + r.ttl_ms < 4000}
        assert set(tables.expired(txn, 4000, 99)) == expired
        assert len(tables.expired(txn, 4000, 1)) == min(1, len(expired))


def test_a_walk_removes_index_entries_without_a_record(tmp_path: Path) -> None:
    env, tables = open_tables(tmp_path)
    with env, env.begin(write=True) as txn:
        for number, key in enumerate(KEYS):
            replace(tables, txn, key, record(touched_ms=number * 1000))
        txn.delete(KEYS[0], db=tables.records)
        longest = tables.longest_idle(txn, b"", but=b"")
        assert longest == (KEYS[1], 1000)
        txn.delete(KEYS[2], db=tables.records)
        longest = tables.longest_idle(txn, b"acme", but=b"")
        assert longest == (KEYS[3], 3000)
        assert [key for key, _ in tables.live(txn, b"", b"")] == [KEYS[1], KEYS[3]]


def test_a_session_becomes_a_tombstone_with_its_step(tmp_path: Path) -> None:
    env, tables = open_tables(tmp_path)
    with env, env.begin(write=True) as txn:
        replace(tables, txn, KEYS[0], record(7))
        tables.end(txn, KEYS[0], Status.EVICTED, 99)
        tombstone = Record.unpack(txn.get(KEYS[0], b"", db=tables.records), KEYS[0])
        assert (tombstone.status, tombstone.step, tombstone.touched_ms) == (Status.EVICTED, 7, 99)
        assert tables.live_usage(txn) == Usage(0, 0)
