"""Sessions in an LMDB file: the embedded default. Shared by all workers of a host; survives kill -9.

LMDB (Symas) is a copy-on-write B+ tree in a memory map. A commit changes the map before it returns, so the
kernel holds it whatever becomes of our processes; only with `sync_to_disk` does it wait for the disk too.

    records   key → record, live sessions and tombstones alike
    idle      second last touched, key → nothing     live sessions, longest idle first
    expiry    second of expiry, key → nothing        live sessions, first to expire first
    graves    millisecond of death, key → nothing    tombstones, oldest first
    totals    "bytes" → sum of the sizes of all live records
              tenant, NUL → how many live sessions it has, and the sum of their sizes
"""

import asyncio
import contextlib
import os
import struct
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import lmdb

from service.errors import StartupError, StoreUnavailable
from service.store.base import Limits, Outcome, Stats, Write, is_expired, tenant_of, tombstone
from service.store.record import Head, Record, Status

_TIME = struct.Struct(">Q")
_BYTES = b"bytes"
_TENANT = struct.Struct(">QQ")  # sessions, bytes
# Room beside the records: half-filled pages, the indexes, tombstones, pages that readers still hold.
_MAP_FACTOR, _MAP_EXTRA = 3, 256 << 20
MAX_READERS = 1024  # processes, the command line's included
# A write to a memory map kills the process when the disk is full: room must be left for seconds of them.
DISK_RESERVE, DISK_CHECK_S = 64 << 20, 0.2


class LmdbStore:
    """Implements `Store`. One write transaction per commit, however many sessions it moves."""

    def __init__(self, directory: Path, limits: Limits, *, sync_to_disk: bool = False) -> None:
        self.directory = directory
        self.limits = limits
        self.sync_to_disk = sync_to_disk
        self._disk_checked = 0.0

    async def open(self) -> None:
        """Create the directory if need be and map the file. Raises StartupError."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._env = lmdb.open(
                str(self.directory),
                map_size=self.limits.max_bytes * _MAP_FACTOR + _MAP_EXTRA,
                max_dbs=5,
                writemap=True,
                map_async=not self.sync_to_disk,
                sync=self.sync_to_disk,
                metasync=self.sync_to_disk,
                max_readers=MAX_READERS,
            )
            self._env.reader_check()  # slots of workers that were killed
            self._records, self._idle, self._expiry, self._graves, self._totals = (
                self._env.open_db(name) for name in (b"records", b"idle", b"expiry", b"graves", b"totals")
            )
        except (OSError, lmdb.Error) as error:
            raise StartupError(f"session store {self.directory}: {error}") from error

    async def close(self) -> None:
        """Flush and unmap."""
        self._env.sync(True)
        self._env.close()

    async def check(self) -> None:
        """The map is there as long as the process is; the disk under it may be full."""
        self._check_disk()

    async def get(self, key: bytes) -> Record | None:
        """The record as last committed by any worker."""
        try:
            with self._env.begin(self._records) as txn:
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
        found: list[tuple[bytes, Record]] = []
        with self._telling(), self._env.begin(self._records) as txn, txn.cursor() as cursor:
            more = cursor.set_range(max(prefix, after))
            while more and len(found) < limit and cursor.key().startswith(prefix):
                record = Record.unpack(cursor.value())
                if cursor.key() > after and record.is_live:
                    found.append((cursor.key(), record))
                more = cursor.next()
        return found

    async def sweep(self, now_ms: int, limit: int) -> int:
        """Bury the expired, first to expire first."""
        with self._telling(), self._env.begin(write=True) as txn:
            expired = self._expired(txn, now_ms, limit)
            for key, record in expired:
                self._bury(txn, key, record, Status.EXPIRED, now_ms)
        return len(expired)

    async def stats(self) -> Stats:
        """How full the store is, all workers together."""
        with self._telling(), self._env.begin() as txn:
            return Stats(
                txn.stat(self._idle)["entries"], self._total_bytes(txn), txn.stat(self._graves)["entries"]
            )

    def _check_disk(self) -> None:
        """Raises StoreUnavailable when the file system is about to be full."""
        now = time.monotonic()
        if now < self._disk_checked + DISK_CHECK_S:
            return
        disk = os.statvfs(self.directory)
        if disk.f_bavail * disk.f_frsize < DISK_RESERVE:
            raise StoreUnavailable(
                f"fewer than {DISK_RESERVE >> 20} MB are left on the disk of {self.directory}"
            )
        self._disk_checked = now

    @staticmethod
    @contextlib.contextmanager
    def _telling() -> Iterator[None]:
        """LMDB's errors as ours."""
        try:
            yield
        except lmdb.Error as error:
            raise StoreUnavailable(f"LMDB: {error}") from error

    def _commit(self, writes: Sequence[Write], now_ms: int) -> list[Outcome]:
        self._check_disk()
        try:
            with self._env.begin(write=True) as txn:
                return [self._write(txn, write, now_ms) for write in writes]
        except lmdb.MapFullError:
            return [Outcome.FULL] * len(writes)  # the transaction was undone
        except lmdb.Error as error:
            raise StoreUnavailable(f"LMDB: {error}") from error

    def _write(self, txn: lmdb.Transaction, write: Write, now_ms: int) -> Outcome:
        old = self._head(txn, write.key)
        if (old.revision if old else None) != write.expected:
            return Outcome.CONFLICT
        packed = None if write.record is None else write.record.pack()
        new = None if packed is None else Record.head(packed)
        if new and new.is_live and self._is_over_quota(txn, write, old, new.size):
            return Outcome.OVER_QUOTA
        if new and new.is_live and not self._make_room(txn, write.key, old, new.size, now_ms):
            return Outcome.FULL
        self._replace(txn, write.key, old, new, packed)
        return Outcome.DONE

    def _is_over_quota(self, txn: lmdb.Transaction, write: Write, old: Head | None, size: int) -> bool:
        if write.quota is None:
            return False
        sessions, total = self._tenant_totals(txn, tenant_of(write.key))
        replaced = _live_size(old)
        if not replaced and sessions >= write.quota.max_sessions:
            return True
        return size > replaced and total - replaced + size > write.quota.max_bytes

    def _make_room(self, txn: lmdb.Transaction, key: bytes, old: Head | None, size: int, now_ms: int) -> bool:
        """Evict until a live record of `size` bytes fits in the place of the old one."""
        limits = self.limits
        replaced = _live_size(old)
        while size > replaced and (
            self._total_bytes(txn) - replaced + size > limits.max_bytes
            or (not replaced and txn.stat(self._idle)["entries"] >= limits.max_sessions)
        ):
            oldest = self._oldest(txn, but=key)
            if oldest is None or now_ms - oldest[1].touched_ms < limits.min_idle_ms:
                return False
            self._bury(txn, *oldest, Status.EVICTED, now_ms)
        return True

    def _bury(self, txn: lmdb.Transaction, key: bytes, record: Record, status: Status, now_ms: int) -> None:
        packed = tombstone(record, status, now_ms).pack()
        self._replace(txn, key, self._head(txn, key), Record.head(packed), packed)

    def _drop_oldest_grave(self, txn: lmdb.Transaction) -> None:
        with txn.cursor(self._graves) as cursor:
            if cursor.first():
                key = cursor.key()[_TIME.size :]
                cursor.delete()
                txn.delete(key, db=self._records)

    def _replace(
        self, txn: lmdb.Transaction, key: bytes, old: Head | None, new: Head | None, packed: bytes | None
    ) -> None:
        """Put one record in the place of another, and keep indexes and totals in step with them."""
        before, after = self._indexes_of(key, old), self._indexes_of(key, new)
        if before != after:
            for index, entry in before:
                txn.delete(entry, db=index)
            for index, entry in after:
                txn.put(entry, b"", db=index)
        grown = _live_size(new) - _live_size(old)
        if grown:
            txn.put(_BYTES, _TIME.pack(self._total_bytes(txn) + grown), db=self._totals)
            if tenant := tenant_of(key):
                sessions, total = self._tenant_totals(txn, tenant)
                sessions += bool(_live_size(new)) - bool(_live_size(old))
                txn.put(tenant + b"\0", _TENANT.pack(sessions, total + grown), db=self._totals)
        if packed is None:
            txn.delete(key, db=self._records)
        else:
            txn.put(key, packed, db=self._records)
        if new and not new.is_live and txn.stat(self._graves)["entries"] > self.limits.max_tombstones:
            self._drop_oldest_grave(txn)

    def _indexes_of(self, key: bytes, record: Head | None) -> list[tuple[lmdb._Database, bytes]]:
        if record is None:
            return []
        if not record.is_live:
            return [(self._graves, _TIME.pack(record.touched_ms) + key)]
        # By the second, so that a busy session seldom moves in an index.
        expires_ms = record.touched_ms + record.ttl_ms
        return [
            (self._idle, _TIME.pack(record.touched_ms // 1000) + key),
            (self._expiry, _TIME.pack(expires_ms // 1000) + key),
        ]

    def _expired(self, txn: lmdb.Transaction, now_ms: int, limit: int) -> list[tuple[bytes, Record]]:
        expired: list[tuple[bytes, Record]] = []
        with txn.cursor(self._expiry) as cursor:
            for entry in cursor.iternext(keys=True, values=False):
                if len(expired) == limit or _TIME.unpack_from(entry)[0] > now_ms // 1000:
                    break
                key = bytes(entry[_TIME.size :])
                packed = txn.get(key, db=self._records)
                if packed is not None and is_expired(record := Record.unpack(packed), now_ms):
                    expired.append((key, record))
        return expired

    def _oldest(self, txn: lmdb.Transaction, but: bytes = b"") -> tuple[bytes, Record] | None:
        """The live session that has been idle for longest, other than `but`."""
        with txn.cursor(self._idle) as cursor:
            for entry in cursor.iternext(keys=True, values=False):
                key = bytes(entry[_TIME.size :])
                packed = txn.get(key, db=self._records)
                if key != but and packed is not None:
                    return key, Record.unpack(packed)
        return None

    def _head(self, txn: lmdb.Transaction, key: bytes) -> Head | None:
        packed = txn.get(key, db=self._records)
        return None if packed is None else Record.head(packed)

    def _total_bytes(self, txn: lmdb.Transaction) -> int:
        packed = txn.get(_BYTES, db=self._totals)
        return 0 if packed is None else int(_TIME.unpack(packed)[0])

    def _tenant_totals(self, txn: lmdb.Transaction, tenant: bytes) -> tuple[int, int]:
        packed = txn.get(tenant + b"\0", db=self._totals)
        return (0, 0) if packed is None else _TENANT.unpack(packed)


def _live_size(head: Head | None) -> int:
    return head.size if head is not None and head.is_live else 0
