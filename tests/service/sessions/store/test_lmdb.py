"""LMDB: racing processes, a full map or disk, damage, files of an older version, a removed directory.

The rules for every store are in test_stores.py.
"""

import asyncio
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from service.errors import CorruptRecord, StartupError, StoreUnavailable
from service.sessions.store import Limits, Outcome, Quota, Record, Status, Store, Write
from service.sessions.store.lmdb import LmdbStore
from service.sessions.store.lmdb_files import Space, free_disk_bytes
from tests.service.sessions.store.records import (
    ROOMY,
    Counters,
    counters,
    damage,
    ended,
    open_raw,
    put,
    record,
    run,
)

RACER = """
import asyncio, random, sys
from pathlib import Path
from dataclasses import replace
from service.sessions.store import Limits, Outcome, Write
from service.sessions.store.lmdb import LmdbStore

async def main():
    store = LmdbStore(Path(sys.argv[1]), Limits())
    await store.open()
    for _ in range(int(sys.argv[2])):
        while True:
            old = await store.get(b"\\0k")
            new = replace(old, step=old.step + 1, revision=random.randbytes(8))
            if (await store.commit([Write(b"\\0k", old.revision, new)], 0))[0] is Outcome.DONE:
                break
    await store.close()

asyncio.run(main())
"""


def test_racing_processes_lose_no_update(tmp_path: Path) -> None:
    async def start(store: Store) -> None:
        await put(store, b"\0k", record(0))

    async def read(store: Store) -> int:
        found = await store.get(b"\0k")
        assert found is not None
        return found.step

    run(LmdbStore(tmp_path, ROOMY), start)
    racers = [subprocess.Popen([sys.executable, "-c", RACER, str(tmp_path), "300"]) for _ in range(3)]
    assert [racer.wait(60) for racer in racers] == [0, 0, 0]
    assert run(LmdbStore(tmp_path, ROOMY), read) == 900


def test_a_directory_that_cannot_be_created_ends_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StartupError, match="file"):
        asyncio.run(LmdbStore(tmp_path / "file" / "below", ROOMY).open())


@pytest.mark.parametrize("sync_to_disk", [False, True])
def test_a_nearly_full_disk_is_reported_before_a_write_kills_the_process(
    tmp_path: Path, sync_to_disk: bool
) -> None:
    free_bytes = [0]

    async def body(store: Store) -> Outcome:
        with pytest.raises(StoreUnavailable, match="left on the disk"):
            await put(store, b"\0a", record())
        with pytest.raises(StoreUnavailable, match="left on the disk"):
            await store.check()
        free_bytes[0] = free_disk_bytes(tmp_path)
        await store.check()
        return await put(store, b"\0a", record())

    store = LmdbStore(
        tmp_path,
        ROOMY,
        sync_to_disk=sync_to_disk,
        free_disk=lambda _: free_bytes[0],
        keeps_reserved=lambda _: False,
    )
    assert run(store, body) is Outcome.DONE


# Where a record is damaged: in its state, or in its head, from which the indexes are computed.
POSITIONS = pytest.mark.parametrize("position", [-1, 22, 50, 59], ids=["state", "step", "touched", "ttl"])


@POSITIONS
def test_a_damaged_record_is_refused_and_no_other_record_is(
    tmp_path: Path, position: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def begin(store: Store) -> None:
        for name in b"abc":
            await put(store, b"t\0%c" % name, record(touched_ms=name * 1000))

    async def body(store: Store) -> None:
        with pytest.raises(CorruptRecord):
            await store.get(b"t\0a")
        assert [key for key, _ in await store.scan(b"t\0", b"", 2)] == [b"t\0b", b"t\0c"], "a full page"
        assert [found.levelname for found in caplog.records] == ["WARNING"], "one warning"
        assert await put(store, b"t\0d", record(touched_ms=200_000), now_ms=200_000) is Outcome.DONE
        evicted = await store.get(b"t\0a")
        assert evicted is not None and evicted.status is Status.EVICTED
        assert [key for key, _ in await store.scan(b"t\0", b"", 9)] == [b"t\0b", b"t\0c", b"t\0d"]
        assert (await counters(store)).sessions == 3

    limits = Limits(max_sessions=3, min_idle_ms=1000)
    run(LmdbStore(tmp_path, limits), begin)
    damage(tmp_path, b"t\0a", position=position)
    run(LmdbStore(tmp_path, limits), body)


@POSITIONS
def test_damaged_records_expire_like_all_others(tmp_path: Path, position: int) -> None:
    async def begin(store: Store) -> None:
        for key in (b"\0a", b"\0b", b"\0c"):
            await put(store, key, record(7, ttl_ms=5_000))

    async def body(store: Store) -> None:
        assert await store.sweep(10_000, 10) == 3
        tombstones = [await store.get(key) for key in (b"\0a", b"\0b", b"\0c")]
        assert [found.status if found else None for found in tombstones] == [Status.EXPIRED] * 3
        assert [found.step if found else None for found in tombstones] == [7, 0, 7], (
            "a damaged step is not reported"
        )
        assert await store.sweep(10_000, 10) == 0
        assert ((await counters(store)).sessions, (await counters(store)).bytes) == (0, 0)

    run(LmdbStore(tmp_path, ROOMY), begin)
    damage(tmp_path, b"\0b", position=position)
    run(LmdbStore(tmp_path, ROOMY), body)


@POSITIONS
def test_a_damaged_record_can_be_replaced_and_deleted_by_its_revision(tmp_path: Path, position: int) -> None:
    async def begin(store: Store) -> None:
        await put(store, b"\0a", record())
        await put(store, b"\0b", record())

    async def body(store: Store) -> None:
        for key, new in ((b"\0a", record(9)), (b"\0b", None)):
            with pytest.raises(CorruptRecord) as raised:
                await store.get(key)
            write = Write(key, raised.value.revision, new)
            assert await store.commit([write, write], 0) == [Outcome.DONE, Outcome.CONFLICT]
            assert await store.get(key) == new
        assert [key for key, _ in await store.scan(b"\0", b"", 9)] == [b"\0a"]
        assert await store.sweep(10**12, 10) == 1
        assert await counters(store) == Counters(0, 0, 1, 101)

    run(LmdbStore(tmp_path, ROOMY), begin)
    damage(tmp_path, b"\0a", b"\0b", position=position)
    run(LmdbStore(tmp_path, ROOMY), body)


def test_a_list_does_not_read_tombstones(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """50,000 of them blocked the event loop for 200 ms. Here, a read of one would warn that it is damaged."""
    keys = [b"\0a%03d" % i for i in range(50)]

    async def begin(store: Store) -> None:
        for key in keys:
            await put(store, key, ended())
        await put(store, b"\0b", record())

    async def body(store: Store) -> None:
        assert [key for key, _ in await store.scan(b"\0", b"", 1)] == [b"\0b"]
        assert not caplog.records

    run(LmdbStore(tmp_path, ROOMY), begin)
    damage(tmp_path, *keys)
    run(LmdbStore(tmp_path, ROOMY), body)


def test_a_store_of_an_older_version_opens_with_all_its_sessions(tmp_path: Path) -> None:
    """It has no tables `names` and `plots`, counted no tombstones, and has more of them than are allowed."""

    async def begin(store: Store) -> None:
        for i in range(5):
            await put(store, b"t\0live%d" % i, record(touched_ms=i))
            await put(store, b"t\0dead%d" % i, ended(touched_ms=i, reply=399))

    async def body(store: Store) -> None:
        assert [key for key, _ in await store.scan(b"t\0", b"", 9)] == [b"t\0live%d" % i for i in range(5)]
        tombstones = [await store.get(b"t\0dead%d" % i) is not None for i in range(5)]
        assert tombstones == [False, False, False, True, True]
        assert await counters(store) == Counters(5, 5 * 201, 2, 1000)
        two = Quota(max_sessions=5, max_bytes=10_000)
        over = await store.commit([Write(b"t\0new", None, record(), two)], 0)
        assert over == [Outcome.OVER_QUOTA], "the tenants' totals are right"

    run(LmdbStore(tmp_path, ROOMY), begin)
    with open_raw(tmp_path) as env:
        tables = [env.open_db(name) for name in (b"names", b"plots", b"totals")]
        with env.begin(write=True) as txn:
            txn.drop(tables[0], delete=True)
            txn.drop(tables[1], delete=True)
            txn.delete(b"graves", db=tables[2])
            txn.delete(b"t\0graves", db=tables[2])
    run(LmdbStore(tmp_path, Limits(max_bytes=8000, min_idle_ms=0)), body)


# Bounds that a map of 2 MB with a reserve of half of it cannot hold.
SMALL_MAP = Limits(max_bytes=1 << 30, min_idle_ms=10_000, max_tombstones=10_000)
TWO_MB = Space(map_factor=0, map_extra_bytes=2 << 20, map_reserve_bytes=1 << 20, check_interval_s=0.0)


def test_a_full_map_refuses_growth_and_allows_deletes(tmp_path: Path) -> None:
    """Ended sessions had filled it: nothing could be deleted any more, yet the server was ready."""

    async def body(store: Store) -> None:
        held: list[tuple[bytes, Record]] = []
        while True:
            new = record(size=3000, ttl_ms=20_000)
            outcome = await put(store, b"\0%05d" % len(held), new)
            if outcome is not Outcome.DONE:
                break
            held.append((b"\0%05d" % len(held), new))
        assert outcome is Outcome.FULL and len(held) > 100
        assert await put(store, b"\0e", ended(reply=3000)) is Outcome.FULL
        await store.check()
        key, old = held.pop()
        step = record(2, size=3000, ttl_ms=20_000)
        assert await put(store, key, step, old) is Outcome.DONE, "existing sessions continue"
        assert await put(store, key, None, step) is Outcome.DONE
        later = record(size=3000, touched_ms=15_000)
        assert await put(store, b"\0late", later, now_ms=15_000) is Outcome.DONE, (
            "the longest idle is evicted"
        )
        assert await store.sweep(30_000, 10_000) >= len(held) - 2
        assert await put(store, b"\0new", record(size=3000)) is Outcome.DONE

    run(LmdbStore(tmp_path, SMALL_MAP, space=TWO_MB), body)


def test_a_map_without_a_free_page_is_unavailable(tmp_path: Path) -> None:
    async def body(store: Store) -> None:
        number = 0
        for size in (100_000, 3000, 0):  # smaller and smaller ones, until even the smallest does not fit
            while await put(store, b"\0%05d" % number, record(size=size)) is Outcome.DONE:
                number += 1
        with pytest.raises(StoreUnavailable, match="MAP_FULL"):
            await store.check()

    run(LmdbStore(tmp_path, SMALL_MAP, space=replace(TWO_MB, map_reserve_bytes=0)), body)


def test_a_write_that_does_not_fit_fails_alone(tmp_path: Path) -> None:
    async def body(store: Store) -> list[Outcome]:
        old = record()
        await put(store, b"\0old", old)
        writes = [Write(b"\0huge", None, record(size=3 << 20)), Write(b"\0old", old.revision, None)]
        return await store.commit([*writes, Write(b"\0new", None, record())], 0)

    assert run(LmdbStore(tmp_path, SMALL_MAP, space=TWO_MB), body) == [
        Outcome.FULL,
        Outcome.DONE,
        Outcome.DONE,
    ]


@pytest.mark.parametrize("is_recreated", [False, True])
def test_a_directory_that_was_removed_is_unavailable(tmp_path: Path, is_recreated: bool) -> None:
    directory = tmp_path / "sessions"

    async def body(store: Store) -> None:
        shutil.rmtree(directory)
        if is_recreated:
            await LmdbStore(directory, ROOMY).open()
        with pytest.raises(StoreUnavailable, match=r"sessions/data\.mdb"):
            await put(store, b"\0a", record())
        with pytest.raises(StoreUnavailable, match=r"sessions/data\.mdb"):
            await store.check()

    run(LmdbStore(directory, ROOMY), body)
