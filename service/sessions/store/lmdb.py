"""Sessions in an LMDB file: the embedded default. Shared by all workers of a host; survives kill -9.

LMDB (Symas) is a copy-on-write B+ tree in a memory map. A commit changes the map before it returns, so the
kernel holds it even if the process is killed; only with `sync_to_disk` does it also wait for the disk.
The tables in the map: `lmdb_tables.py`.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import lmdb

from service.errors import StartupError, StoreUnavailable
from service.sessions.store import room
from service.sessions.store.base import Outcome, Write, tenant_of, unpack_live
from service.sessions.store.lmdb_tables import NUM_TABLES, Tables, Txn
from service.sessions.store.record import Head, Record, Status
from service.sessions.store.room import Limits

MAX_READERS = 1024  # processes, those of the command line included


@dataclass(frozen=True)
class Space:
    """Sizes of the memory map, and the free space that a commit needs."""

    # Room for more than the live records: half-filled pages, indexes, tombstones, pages that readers hold.
    map_factor: int = 3  # times the bytes of live records
    map_extra_bytes: int = 512 << 20
    # LMDB writes new pages before old ones are free, even to delete: what grows must leave room for that.
    map_reserve_bytes: int = 64 << 20
    # A write to a memory map kills the process when the disk is full. The reserve must last until the next
    # check.
    disk_reserve_bytes: int = 64 << 20
    check_interval_s: float = 0.2


def free_disk_bytes(directory: Path) -> int:
    """Bytes left on the disk that holds the directory. Raises OSError."""
    disk = os.statvfs(directory)
    return disk.f_bavail * disk.f_frsize


class LmdbStore:
    """Implements `Store`. One write transaction per commit, however many sessions it changes."""

    def __init__(
        self,
        directory: Path,
        limits: Limits,
        *,
        sync_to_disk: bool = False,
        space: Space = Space(),
        free_disk: Callable[[Path], int] = free_disk_bytes,
    ) -> None:
        self.directory = directory
        self.limits = limits
        self.sync_to_disk = sync_to_disk
        self._space = space
        self._free_disk = free_disk
        self._file = directory / "data.mdb"
        self._space_checked = 0.0
        self._is_map_short = False

    async def open(self) -> None:
        """Create the directory if it is missing and map the file. Raises StartupError."""
        map_size = self.limits.max_bytes * self._space.map_factor + self._space.map_extra_bytes
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._env = lmdb.open(
                str(self.directory),
                map_size=map_size,
                max_dbs=NUM_TABLES,
                writemap=True,
                map_async=not self.sync_to_disk,
                sync=self.sync_to_disk,
                metasync=self.sync_to_disk,
                max_readers=MAX_READERS,
            )
            self._env.reader_check()  # free the slots of workers that were killed
            self._max_pages = (map_size - self._space.map_reserve_bytes) // self._env.stat()["psize"]
            self._opened = os.stat(self._file)
            self._tables = Tables(self._env, self.limits)
            with self._env.begin(write=True) as txn:
                self._tables.upgrade(txn)
        except (OSError, lmdb.Error) as error:
            raise StartupError(f"session store {self.directory}: {error}") from error

    async def close(self) -> None:
        """Flush and unmap."""
        self._env.sync(True)
        self._env.close()

    async def check(self) -> None:
        """Check the disk, and run a commit that is then aborted."""
        self._check_space()
        if self.sync_to_disk:
            await asyncio.to_thread(self._try)
        else:
            self._try()

    async def get(self, key: bytes) -> Record | None:
        """The record as last committed by any worker."""
        try:
            with self._env.begin(self._tables.records) as txn:
                packed = txn.get(key)
        except lmdb.Error as error:  # not `_translate_errors`, for speed: every step of a session comes here
            raise StoreUnavailable(f"LMDB: {error}") from error
        return None if packed is None else Record.unpack(packed, key)

    async def commit(self, writes: Sequence[Write], now_ms: int) -> list[Outcome]:
        """Apply writes in order, in one transaction."""
        if self.sync_to_disk:  # the wait for the disk must not block the event loop
            return await asyncio.to_thread(self._commit, writes, now_ms)
        return self._commit(writes, now_ms)

    async def scan(self, prefix: bytes, after: bytes, limit: int) -> list[tuple[bytes, Record]]:
        """Live records in order of key."""
        with self._translate_errors(), self._env.begin() as txn:
            return unpack_live(self._tables.live(txn, prefix, after), limit)

    async def sweep(self, now_ms: int, limit: int) -> int:
        """Replace expired sessions with tombstones, first to expire first."""
        with self._translate_errors(), self._env.begin(write=True) as txn:
            expired = self._tables.expired(txn, now_ms, limit)
            for key in expired:
                self._tables.end(txn, key, Status.EXPIRED, now_ms)
        return len(expired)

    def _check_space(self) -> None:
        """Check disk and map at intervals. Raises StoreUnavailable when the disk is about to be full."""
        now = time.monotonic()
        if now < self._space_checked + self._space.check_interval_s:
            return
        try:
            free_bytes, file = self._free_disk(self.directory), os.stat(self._file)
        except OSError as error:
            raise StoreUnavailable(f"the sessions' file {self._file}: {error.strerror}") from error
        if not os.path.samestat(file, self._opened):
            raise StoreUnavailable(f"{self._file} has been replaced since it was opened: restart the server")
        if free_bytes < self._space.disk_reserve_bytes:
            raise StoreUnavailable(
                f"less than {self._space.disk_reserve_bytes >> 20} MB left on the disk of {self.directory}"
            )
        with self._translate_errors(), self._env.begin() as txn:
            self._is_map_short = self._is_short(txn)
        self._space_checked = now

    def _is_short(self, txn: Txn) -> bool:
        return self._tables.num_pages(txn) > self._max_pages

    def _try(self) -> None:
        with self._translate_errors():
            txn = self._env.begin(write=True)
            try:
                self._tables.write_to_each(txn)
            finally:
                txn.abort()

    @staticmethod
    @contextlib.contextmanager
    def _translate_errors() -> Iterator[None]:
        try:
            yield
        except lmdb.Error as error:
            raise StoreUnavailable(f"LMDB: {error}") from error

    def _commit(self, writes: Sequence[Write], now_ms: int) -> list[Outcome]:
        self._check_space()
        try:
            with self._env.begin(write=True) as txn:
                return [self._write(txn, write, now_ms) for write in writes]
        except lmdb.MapFullError:  # the transaction was undone
            if len(writes) == 1:
                return [Outcome.FULL]
            return [outcome for write in writes for outcome in self._commit([write], now_ms)]
        except lmdb.Error as error:
            raise StoreUnavailable(f"LMDB: {error}") from error

    def _write(self, txn: Txn, write: Write, now_ms: int) -> Outcome:
        old = self._tables.head(txn, write.key)
        if (old.revision if old else None) != write.expected:
            return Outcome.CONFLICT
        record = write.record
        if old is None and record is not None and self._tables.end_lost(txn, write.key, now_ms):
            return Outcome.CONFLICT
        packed = None if record is None else record.pack(write.key)
        new = None if record is None or packed is None else record.head_of(len(packed))
        if new and new.is_live and self._is_over_quota(txn, write, old, new.size):
            return Outcome.OVER_QUOTA
        if new and not self._make_room(txn, write.key, old, new, now_ms):
            return Outcome.FULL
        if old and not old.is_live:  # an eviction may have dropped this tombstone, the oldest
            old = self._tables.head(txn, write.key)
        self._tables.replace(txn, write.key, old, new, packed)
        return Outcome.DONE

    def _is_over_quota(self, txn: Txn, write: Write, old: Head | None, size: int) -> bool:
        if write.quota is None:
            return False
        usage = self._tables.tenant_usage(txn, tenant_of(write.key))
        old_size = old.size if old and old.is_live else 0
        return room.is_over_quota(write.quota, usage, old_size=old_size, new_size=size)

    def _make_room(self, txn: Txn, key: bytes, old: Head | None, new: Head, now_ms: int) -> bool:
        """Evict others until the new record fits in place of the old one; whether it does."""
        tables, limits = self._tables, self.limits
        if not new.is_live:
            grows = new.size > (old.size if old else 0)
            return room.has_room_for_tombstone(limits, tenant_of(key), new.size) and not (
                grows and self._is_map_short and self._is_short(txn)
            )
        old_size = old.size if old and old.is_live else 0
        while new.size > old_size and (
            not room.has_room(limits, tables.live_usage(txn), old_size=old_size, new_size=new.size)
            or (self._is_map_short and self._is_short(txn))
        ):
            oldest = tables.longest_idle(txn, but=key)
            if oldest is None or not room.can_evict(limits, oldest[1], now_ms):
                return False
            tables.end(txn, oldest[0], Status.EVICTED, now_ms)
        return True
