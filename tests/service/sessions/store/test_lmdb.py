"""What only LMDB can get wrong: processes that race, a full map or disk, damage, files of an older version.

The laws that every store keeps are in test_stores.py.
"""

import asyncio
import shutil
import subprocess
import sys
from pathlib import Path

import lmdb
import pytest

from service.errors import CorruptRecord, StartupError, StoreUnavailable
from service.sessions.store import Limits, Outcome, Quota, Record, Status, Store, Write
from service.sessions.store.base import Stats
from service.sessions.store.lmdb import LmdbStore
from service.sessions.store.lmdb_tables import NUM_TABLES
from tests.service.sessions.store.test_stores import ROOMY, ended, put, record, run

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


def test_processes_that_race_lose_no_update(tmp_path: Path) -> None:
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


def test_a_directory_that_cannot_be_is_said_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StartupError, match="file"):
        asyncio.run(LmdbStore(tmp_path / "file" / "below", ROOMY).open())


def test_a_disk_that_is_nearly_full_is_told_before_it_kills(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body(store: Store) -> Outcome:
        monkeypatch.setattr("service.sessions.store.lmdb.DISK_RESERVE", 1 << 62)
        with pytest.raises(StoreUnavailable, match="left on the disk"):
            await put(store, b"\0a", record())
        with pytest.raises(StoreUnavailable, match="left on the disk"):
            await store.check()
        monkeypatch.undo()
        return await put(store, b"\0a", record())

    assert run(LmdbStore(tmp_path, ROOMY), body) is Outcome.DONE


def open_raw(directory: Path) -> lmdb.Environment:
    """The file, past the store; to be closed before the store opens it."""
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


# Where a record is damaged: in its state, or in its head, which says where it stands in the indexes.
POSITIONS = pytest.mark.parametrize("position", [-1, 22, 50, 59], ids=["state", "step", "touched", "ttl"])


@POSITIONS
def test_a_damaged_record_is_refused_and_nobody_else_is(
    tmp_path: Path, position: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def begin(store: Store) -> None:
        for name in b"abc":
            await put(store, b"t\0%c" % name, record(touched_ms=name * 1000))

    async def body(store: Store) -> None:
        with pytest.raises(CorruptRecord):
            await store.get(b"t\0a")
        assert [key for key, _ in await store.scan(b"t\0", b"", 2)] == [b"t\0b", b"t\0c"], "a full page"
        assert [found.levelname for found in caplog.records] == ["WARNING"], "told once"
        assert await put(store, b"t\0d", record(touched_ms=200_000), now_ms=200_000) is Outcome.DONE
        evicted = await store.get(b"t\0a")
        assert evicted is not None and evicted.status is Status.EVICTED
        assert [key for key, _ in await store.scan(b"t\0", b"", 9)] == [b"t\0b", b"t\0c", b"t\0d"]
        assert (await store.stats()).sessions == 3

    limits = Limits(max_sessions=3, min_idle_ms=1000)
    run(LmdbStore(tmp_path, limits), begin)
    damage(tmp_path, b"t\0a", position=position)
    run(LmdbStore(tmp_path, limits), body)


@POSITIONS
def test_the_damaged_expire_like_all_others(tmp_path: Path, position: int) -> None:
    async def begin(store: Store) -> None:
        for key in (b"\0a", b"\0b", b"\0c"):
            await put(store, key, record(7, ttl_ms=5_000))

    async def body(store: Store) -> None:
        assert await store.sweep(10_000, 10) == 3
        graves = [await store.get(key) for key in (b"\0a", b"\0b", b"\0c")]
        assert [grave.status if grave else None for grave in graves] == [Status.EXPIRED] * 3
        assert [grave.step if grave else None for grave in graves] == [7, 0, 7], (
            "what is not sure is not told"
        )
        assert await store.sweep(10_000, 10) == 0
        assert ((await store.stats()).sessions, (await store.stats()).bytes) == (0, 0)

    run(LmdbStore(tmp_path, ROOMY), begin)
    damage(tmp_path, b"\0b", position=position)
    run(LmdbStore(tmp_path, ROOMY), body)


@POSITIONS
def test_a_damaged_record_can_be_replaced_and_deleted_by_who_saw_it(tmp_path: Path, position: int) -> None:
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
        assert await store.stats() == Stats(0, 0, 1, 101)

    run(LmdbStore(tmp_path, ROOMY), begin)
    damage(tmp_path, b"\0a", b"\0b", position=position)
    run(LmdbStore(tmp_path, ROOMY), body)


def test_a_list_does_not_look_at_tombstones(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """50,000 of them held up the event loop for 200 ms. Here, whoever looks at one finds it damaged."""
    graves = [b"\0a%03d" % i for i in range(50)]

    async def begin(store: Store) -> None:
        for key in graves:
            await put(store, key, ended())
        await put(store, b"\0b", record())

    async def body(store: Store) -> None:
        assert [key for key, _ in await store.scan(b"\0", b"", 1)] == [b"\0b"]
        assert not caplog.records

    run(LmdbStore(tmp_path, ROOMY), begin)
    damage(tmp_path, *graves)
    run(LmdbStore(tmp_path, ROOMY), body)


def test_a_store_of_an_older_version_opens_with_all_that_it_holds(tmp_path: Path) -> None:
    """It has no tables `names` and `plots`, and has counted no tombstones: of which there are too many."""

    async def begin(store: Store) -> None:
        for i in range(5):
            await put(store, b"t\0live%d" % i, record(touched_ms=i))
            await put(store, b"t\0dead%d" % i, ended(touched_ms=i, reply=399))

    async def body(store: Store) -> None:
        assert [key for key, _ in await store.scan(b"t\0", b"", 9)] == [b"t\0live%d" % i for i in range(5)]
        graves = [await store.get(b"t\0dead%d" % i) is not None for i in range(5)]
        assert graves == [False, False, False, True, True]
        assert await store.stats() == Stats(5, 5 * 201, 2, 1000)
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


@pytest.fixture
def small_map(monkeypatch: pytest.MonkeyPatch) -> Limits:
    """Bounds that a map of 2 MB with a reserve of half of it cannot keep."""
    monkeypatch.setattr("service.sessions.store.lmdb.MAP_FACTOR", 0)
    monkeypatch.setattr("service.sessions.store.lmdb.MAP_EXTRA", 2 << 20)
    monkeypatch.setattr("service.sessions.store.lmdb.MAP_RESERVE", 1 << 20)
    monkeypatch.setattr("service.sessions.store.lmdb.SPACE_CHECK_S", 0.0)
    return Limits(max_bytes=1 << 30, min_idle_ms=10_000, max_tombstones=10_000)


def test_a_full_map_refuses_what_grows_and_lets_go(tmp_path: Path, small_map: Limits) -> None:
    """Ended sessions had filled it: nothing could be deleted any more, and the server was ready."""

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
        assert await put(store, key, step, old) is Outcome.DONE, "those who are in go on"
        assert await put(store, key, None, step) is Outcome.DONE
        later = record(size=3000, touched_ms=15_000)
        assert await put(store, b"\0late", later, now_ms=15_000) is Outcome.DONE, "the longest idle gives way"
        assert await store.sweep(30_000, 10_000) >= len(held) - 2
        assert await put(store, b"\0new", record(size=3000)) is Outcome.DONE

    run(LmdbStore(tmp_path, small_map), body)


def test_a_map_without_a_free_page_is_said_to_be_unavailable(
    tmp_path: Path, small_map: Limits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.sessions.store.lmdb.MAP_RESERVE", 0)

    async def body(store: Store) -> None:
        number = 0
        for size in (100_000, 3000, 0):  # ever smaller ones, until not even the smallest fits
            while await put(store, b"\0%05d" % number, record(size=size)) is Outcome.DONE:
                number += 1
        with pytest.raises(StoreUnavailable, match="MAP_FULL"):
            await store.check()

    run(LmdbStore(tmp_path, small_map), body)


def test_one_write_that_does_not_fit_takes_no_other_with_it(tmp_path: Path, small_map: Limits) -> None:
    async def body(store: Store) -> list[Outcome]:
        old = record()
        await put(store, b"\0old", old)
        writes = [Write(b"\0huge", None, record(size=3 << 20)), Write(b"\0old", old.revision, None)]
        return await store.commit([*writes, Write(b"\0new", None, record())], 0)

    assert run(LmdbStore(tmp_path, small_map), body) == [Outcome.FULL, Outcome.DONE, Outcome.DONE]


@pytest.mark.parametrize("is_made_anew", [False, True])
def test_a_directory_that_was_removed_is_unavailable(tmp_path: Path, is_made_anew: bool) -> None:
    directory = tmp_path / "sessions"

    async def body(store: Store) -> None:
        shutil.rmtree(directory)
        if is_made_anew:
            await LmdbStore(directory, ROOMY).open()
        with pytest.raises(StoreUnavailable, match=r"sessions/data\.mdb"):
            await put(store, b"\0a", record())
        with pytest.raises(StoreUnavailable, match=r"sessions/data\.mdb"):
            await store.check()

    run(LmdbStore(directory, ROOMY), body)
