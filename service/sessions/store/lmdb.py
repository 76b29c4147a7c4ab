"""Sessions in an LMDB file: the embedded default. Shared by all workers of a host; survives kill -9.

LMDB (Symas) is a copy-on-write B+ tree in a memory map. A commit changes the map before it returns, so the
kernel holds it even if the process is killed; only with `sync_to_disk` does it also wait for the disk.
The tables in the map: `lmdb_tables.py`.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import lmdb

from service.sessions.store import room
from service.sessions.store.base import Outcome, Write, tenant_of, unpack_live
from service.sessions.store.lmdb_files import Space, free_disk_bytes, keeps_reserved_space
from service.sessions.store.lmdb_map import Map, MapFull
from service.sessions.store.lmdb_tables import Txn
from service.sessions.store.record import Head, Record, Status
from service.sessions.store.room import Limits, Usage


class LmdbStore:
    """Implements `Store`. One write transaction per commit, however many sessions it changes."""

    def __init__(
        self,
        directory: Path,
        limits: Limits,
        *,
        sync_to_disk: bool = False,
        space: Space | None = None,
        free_disk: Callable[[Path], int] = free_disk_bytes,
        keeps_reserved: Callable[[Path], bool] = keeps_reserved_space,
    ) -> None:
        self.directory = directory
        self.limits = limits
        self.num_evicted = 0
        self._num_evicting = 0  # by the transaction under way
        self._map = Map(
            directory,
            limits,
            sync_to_disk=sync_to_disk,
            space=space or Space(),
            free_disk=free_disk,
            keeps_reserved=keeps_reserved,
        )

    async def open(self) -> None:
        """Create the directory if it is missing and map the file. Raises StartupError."""
        await self._map.open()

    async def close(self) -> None:
        """Flush and unmap."""
        self._map.close()

    async def check(self) -> None:
        """Check the disk, and run a commit that is then aborted."""
        await self._map.write(self._try)

    async def usage(self) -> Usage:
        """The live sessions and their bytes, of all workers."""
        try:
            return self._map.read(self._usage)
        except lmdb.Error as error:
            await self._map.recover(error)
            return await self.usage()

    async def get(self, key: bytes) -> Record | None:
        """The record as last committed by any worker."""
        try:
            packed = self._map.read(self._get, key) if self._map.is_threaded else self._get(key)
        except lmdb.Error as error:
            await self._map.recover(error)
            return await self.get(key)
        return None if packed is None else Record.unpack(packed, key)

    async def commit(self, writes: Sequence[Write], now_ms: int) -> list[Outcome]:
        """Apply writes in order, in one transaction; each alone if they do not fit."""
        try:
            return await self._map.write(self._commit, writes, now_ms)
        except MapFull:
            if len(writes) == 1:
                return [Outcome.FULL]
            return [outcome for write in writes for outcome in await self.commit([write], now_ms)]

    async def scan(self, prefix: bytes, after: bytes, limit: int) -> list[tuple[bytes, Record]]:
        """Live records in order of key."""
        try:
            return self._map.read(self._scan, prefix, after, limit)
        except lmdb.Error as error:
            await self._map.recover(error)
            return await self.scan(prefix, after, limit)

    async def sweep(self, now_ms: int, limit: int) -> int:
        """Replace expired sessions with tombstones, first to expire first."""
        try:
            return await self._map.write(self._sweep, now_ms, limit)
        except MapFull:  # fewer may fit, and make room for more
            if limit == 1:
                raise
            return await self.sweep(now_ms, limit // 2)

    def _usage(self) -> Usage:
        with self._map.env.begin() as txn:
            return self._map.tables.live_usage(txn)

    def _get(self, key: bytes) -> bytes | None:
        with self._map.env.begin(self._map.tables.records) as txn:
            return txn.get(key)

    def _scan(self, prefix: bytes, after: bytes, limit: int) -> list[tuple[bytes, Record]]:
        with self._map.env.begin() as txn:
            return unpack_live(self._map.tables.live(txn, prefix, after), limit)

    def _try(self) -> None:
        txn = self._map.env.begin(write=True)
        try:
            self._map.tables.write_to_each(txn)
        finally:
            txn.abort()

    def _sweep(self, now_ms: int, limit: int) -> int:
        tables = self._map.tables
        with self._map.env.begin(write=True) as txn:
            expired = tables.expired(txn, now_ms, limit)
            for key in expired:
                tables.end(txn, key, Status.EXPIRED, now_ms)
        return len(expired)

    def _commit(self, writes: Sequence[Write], now_ms: int) -> list[Outcome]:
        self._num_evicting = 0
        with self._map.env.begin(write=True) as txn:
            outcomes = [self._write(txn, write, now_ms) for write in writes]
        self.num_evicted += self._num_evicting
        return outcomes

    def _write(self, txn: Txn, write: Write, now_ms: int) -> Outcome:
        tables, key, record = self._map.tables, write.key, write.record
        old = tables.head(txn, key)
        if (None if old is None else old.revision) != write.expected:
            return Outcome.CONFLICT
        if record is None:
            tables.replace(txn, key, old, None, None)
            return Outcome.DONE
        if old is None and tables.end_lost(txn, key, now_ms):
            return Outcome.CONFLICT
        packed = record.pack(key)
        new = record.head_of(len(packed))
        if write.quota is not None and new.is_live and self._is_over_quota(txn, write, old, new.size):
            return Outcome.OVER_QUOTA
        if not self._make_room(txn, key, old, new, now_ms):
            return Outcome.FULL
        if old is not None and not old.is_live:  # an eviction may have dropped this tombstone, the oldest
            old = tables.head(txn, key)
        tables.replace(txn, key, old, new, packed)
        return Outcome.DONE

    def _is_over_quota(self, txn: Txn, write: Write, old: Head | None, size: int) -> bool:
        if write.quota is None:
            return False
        usage = self._map.tables.tenant_usage(txn, tenant_of(write.key))
        old_size = old.size if old and old.is_live else 0
        return room.is_over_quota(write.quota, usage, old_size=old_size, new_size=size)

    def _make_room(self, txn: Txn, key: bytes, old: Head | None, new: Head, now_ms: int) -> bool:
        """Evict others until the new record fits in place of the old one; whether it does."""
        tables, limits = self._map.tables, self.limits
        if not new.is_live:
            grows = new.size > (old.size if old else 0)
            return room.has_room_for_tombstone(limits, tenant_of(key), new.size) and not (
                grows and self._map.is_short_in(txn)
            )
        old_size = old.size if old and old.is_live else 0
        while new.size > old_size and (
            not room.has_room(limits, tables.live_usage(txn), old_size=old_size, new_size=new.size)
            or self._map.is_short_in(txn)
        ):
            if self._map.is_disk_full:  # by others perhaps: no reason to lose a session
                return False
            victim = self._find_victim(txn, key, old_size, new.size, now_ms)
            if victim is None:
                return False
            tables.end(txn, victim, Status.EVICTED, now_ms)
            self._num_evicting += 1
        return True

    def _find_victim(self, txn: Txn, key: bytes, old_size: int, new_size: int, now_ms: int) -> bytes | None:
        """The longest idle session of the first tenant that can lose one."""
        usages = self._map.tables.usages(txn)
        for tenant in room.tenants_to_evict_from(
            self.limits, usages, tenant_of(key), old_size=old_size, new_size=new_size
        ):
            oldest = self._map.tables.longest_idle(txn, tenant, but=key)
            if oldest is not None and room.can_evict(self.limits, oldest[1], now_ms):
                return oldest[0]
        return None
