"""Sessions in an LMDB file: the embedded default. Shared by all workers of a host; survives kill -9.

LMDB (Symas) is a copy-on-write B+ tree in a memory map. A commit changes the map before it returns, so the
kernel holds it whatever becomes of our processes; only with `sync_to_disk` does it wait for the disk too.
What lies in the map: `lmdb_tables.py`.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import lmdb

from service.errors import StartupError, StoreUnavailable
from service.sessions.store.base import Limits, Outcome, Stats, Write, take_live, tenant_of
from service.sessions.store.lmdb_tables import NUM_TABLES, Tables, Txn
from service.sessions.store.record import Head, Record, Status

# Room beside the records: half-filled pages, the indexes, tombstones, pages that readers still hold.
MAP_FACTOR, MAP_EXTRA = 3, 512 << 20
# Even to delete, LMDB writes new pages before old ones are free: what grows must leave room for that.
MAP_RESERVE = 64 << 20
MAX_READERS = 1024  # processes, the command line's included
# A write to a memory map kills the process when the disk is full: room must be left for seconds of them.
DISK_RESERVE, SPACE_CHECK_S = 64 << 20, 0.2


class LmdbStore:
    """Implements `Store`. One write transaction per commit, however many sessions it moves."""

    def __init__(self, directory: Path, limits: Limits, *, sync_to_disk: bool = False) -> None:
        self.directory = directory
        self.limits = limits
        self.sync_to_disk = sync_to_disk
        self._file = directory / "data.mdb"
        self._space_checked = 0.0
        self._is_map_short = False

    async def open(self) -> None:
        """Create the directory if need be and map the file. Raises StartupError."""
        map_size = self.limits.max_bytes * MAP_FACTOR + MAP_EXTRA
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
            self._env.reader_check()  # slots of workers that were killed
            self._max_pages = (map_size - MAP_RESERVE) // self._env.stat()["psize"]
            self._opened = os.stat(self._file)
            self._tables = Tables(self._env, self.limits)
            with self._env.begin(write=True) as txn:
                self._tables.bring_up_to_date(txn)
        except (OSError, lmdb.Error) as error:
            raise StartupError(f"session store {self.directory}: {error}") from error

    async def close(self) -> None:
        """Flush and unmap."""
        self._env.sync(True)
        self._env.close()

    async def check(self) -> None:
        """Look at the disk, and try in vain what a commit would do."""
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
        except lmdb.Error as error:  # spelt out, not `_telling`: every step of a session comes here
            raise StoreUnavailable(f"LMDB: {error}") from error
        return None if packed is None else Record.unpack(packed)

    async def commit(self, writes: Sequence[Write], now_ms: int) -> list[Outcome]:
        """Apply writes in order, in one transaction."""
        if self.sync_to_disk:  # the wait for the disk must not hold up the event loop
            return await asyncio.to_thread(self._commit, writes, now_ms)
        return self._commit(writes, now_ms)

    async def scan(self, prefix: bytes, after: bytes, limit: int) -> list[tuple[bytes, Record]]:
        """Live records in order of key."""
        with self._telling(), self._env.begin() as txn:
            return take_live(self._tables.live(txn, prefix, after), limit)

    async def sweep(self, now_ms: int, limit: int) -> int:
        """Bury the expired, first to expire first."""
        with self._telling(), self._env.begin(write=True) as txn:
            expired = self._tables.expired(txn, now_ms, limit)
            for key in expired:
                self._tables.bury(txn, key, Status.EXPIRED, now_ms)
        return len(expired)

    async def stats(self) -> Stats:
        """How full the store is, all workers together."""
        tables = self._tables
        with self._telling(), self._env.begin() as txn:
            return Stats(
                tables.num_live(txn), tables.live_bytes(txn), tables.num_graves(txn), tables.grave_bytes(txn)
            )

    def _check_space(self) -> None:
        """Look at disk and map now and then. Raises StoreUnavailable when the disk is about to be full."""
        now = time.monotonic()
        if now < self._space_checked + SPACE_CHECK_S:
            return
        try:
            disk, file = os.statvfs(self.directory), os.stat(self._file)
        except OSError as error:
            raise StoreUnavailable(f"the sessions' file {self._file}: {error.strerror}") from error
        if not os.path.samestat(file, self._opened):
            raise StoreUnavailable(f"{self._file} is another file than the one that was opened: start anew")
        if disk.f_bavail * disk.f_frsize < DISK_RESERVE:
            raise StoreUnavailable(
                f"fewer than {DISK_RESERVE >> 20} MB are left on the disk of {self.directory}"
            )
        with self._telling(), self._env.begin() as txn:
            self._is_map_short = self._is_short(txn)
        self._space_checked = now

    def _is_short(self, txn: Txn) -> bool:
        return self._tables.num_pages(txn) > self._max_pages

    def _try(self) -> None:
        with self._telling():
            txn = self._env.begin(write=True)
            try:
                self._tables.try_all(txn)
            finally:
                txn.abort()

    @staticmethod
    @contextlib.contextmanager
    def _telling() -> Iterator[None]:
        """LMDB's errors as ours."""
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
        packed = None if record is None else record.pack()
        new = None if record is None or packed is None else record.head_of(len(packed))
        if new and new.is_live and self._is_over_quota(txn, write, old, new.size):
            return Outcome.OVER_QUOTA
        if new and not self._has_room(txn, write.key, old, new, now_ms):
            return Outcome.FULL
        self._tables.replace(txn, write.key, old, new, packed)
        return Outcome.DONE

    def _is_over_quota(self, txn: Txn, write: Write, old: Head | None, size: int) -> bool:
        if write.quota is None:
            return False
        sessions, total = self._tables.of_tenant(txn, tenant_of(write.key))
        replaced = old.size if old and old.is_live else 0
        if not replaced and sessions >= write.quota.max_sessions:
            return True
        return size > replaced and total - replaced + size > write.quota.max_bytes

    def _has_room(self, txn: Txn, key: bytes, old: Head | None, new: Head, now_ms: int) -> bool:
        """Whether the new record fits in the place of the old one, once others have been evicted for it."""
        if not new.is_live:
            is_grown = new.size > (old.size if old else 0)
            return new.size <= self.limits.tombstone_bounds(tenant_of(key))[1] and not (
                is_grown and self._is_map_short and self._is_short(txn)
            )
        tables, limits = self._tables, self.limits
        replaced = old.size if old and old.is_live else 0
        while new.size > replaced and (
            tables.live_bytes(txn) - replaced + new.size > limits.max_bytes
            or (not replaced and tables.num_live(txn) >= limits.max_sessions)
            or (self._is_map_short and self._is_short(txn))
        ):
            oldest = tables.longest_idle(txn, but=key)
            if oldest is None or now_ms - oldest[1] < limits.min_idle_ms:
                return False
            tables.bury(txn, oldest[0], Status.EVICTED, now_ms)
        return True
