"""Locks and reserved space of the files."""

from pathlib import Path

import pytest

from service.errors import StoreUnavailable
from service.sessions.store import Store
from service.sessions.store.lmdb import LmdbStore
from service.sessions.store.lmdb_files import Files, Space, free_disk_bytes, keeps_reserved_space
from tests.service.sessions.store.records import ROOMY, put, record, run
from tests.small_disk import mounted_or_skipped

MB = 1 << 20


def opened(directory: Path, *, max_bytes: int = 4 * MB) -> Files:
    files = Files(
        directory,
        max_bytes,
        Space(min_step_bytes=MB),
        free_disk=free_disk_bytes,
        keeps_reserved=keeps_reserved_space,
    )
    files.open()
    return files


def test_one_of_two_may_write_and_a_closed_file_is_unlocked(tmp_path: Path) -> None:
    first, second = opened(tmp_path), opened(tmp_path)
    assert first.try_lock() and not second.try_lock()
    first.unlock()
    assert second.try_lock() and not first.try_lock()
    second.close()
    assert first.try_lock()
    first.close()


def test_a_map_grows_to_its_largest_size(tmp_path: Path) -> None:
    files = opened(tmp_path)
    sizes = [files.size()]
    while files.grow():
        sizes.append(files.size())
    assert [size // MB for size in sizes] == [0, 1, 2, 3, 4] and files.is_largest()
    assert (tmp_path / "data.mdb").stat().st_blocks * 512 >= 4 * MB
    files.close()


def test_on_a_full_disk_a_map_does_not_grow(tmp_path: Path) -> None:
    with mounted_or_skipped(tmp_path / "disk", 3) as disk:
        files = opened(disk / "sessions", max_bytes=100 * MB)
        while files.grow():
            pass
        status = (disk / "sessions" / "data.mdb").stat()
        assert MB <= status.st_size == files.size() <= status.st_blocks * 512
        assert not files.is_largest()
        files.close()


def test_where_space_is_kept(tmp_path: Path) -> None:
    assert not keeps_reserved_space(Path("/proc"))
    with mounted_or_skipped(tmp_path / "disk", 1) as disk:
        assert keeps_reserved_space(disk)


@pytest.mark.parametrize("name", ["data.mdb", "lock.mdb"])
def test_a_file_that_is_removed_is_noticed(tmp_path: Path, name: str) -> None:
    """LMDB's is opened again, with a new lock file; sessions that are in no file any more are not."""

    async def body(store: Store) -> None:
        await put(store, b"\0a", old := record())
        (tmp_path / name).unlink()
        if name == "data.mdb":
            with pytest.raises(StoreUnavailable, match=r"data\.mdb"):
                await store.check()
        else:
            await store.check()
            await put(store, b"\0a", record(2), old)
            assert (tmp_path / name).is_file()
            found = await store.get(b"\0a")
            assert found is not None and found.step == 2

    run(LmdbStore(tmp_path, ROOMY, space=Space(check_interval_s=0)), body)
