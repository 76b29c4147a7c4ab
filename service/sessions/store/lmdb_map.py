"""LMDB's memory map, shared by the processes of a host: opened, grown, and opened again with a new lock file.

One process writes at a time, and waits for its turn for a limited time. The map is as large as the space that
is reserved for it: LMDB refuses a transaction that does not fit, instead of being killed by a full disk. It
knows no records.
"""

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, TypeVarTuple

import lmdb

from service.errors import StartupError, StoreUnavailable
from service.sessions.store.lmdb_files import MAX_READERS, Files, OtherLockFile, Space
from service.sessions.store.lmdb_tables import NUM_TABLES, Tables, Txn
from service.sessions.store.room import Limits

SPINS = 20  # attempts to get the lock before a wait: most transactions take less than 50 µs
RETRY_S = 0.001
OPEN_S, REOPEN_EVERY_S = 5.0, 0.1  # for other processes to release a lock file that has been removed
LOCKED_S = 30.0  # at a start, for a process that has stopped while it wrote; a server's workers wait together

Ts = TypeVarTuple("Ts")
T = TypeVar("T")

logger = logging.getLogger(__name__)


class MapFull(StoreUnavailable):
    """The map has no page for this transaction, and cannot grow. Nothing was applied."""


class Locked(StoreUnavailable):
    """Another process has been writing for longer than a write waits."""


class Map:
    """`env` and `tables` are closed, and their use raises lmdb.Error, until all agree on one lock file."""

    env: lmdb.Environment
    tables: Tables

    def __init__(
        self,
        directory: Path,
        limits: Limits,
        *,
        sync_to_disk: bool,
        space: Space,
        free_disk: Callable[[Path], int],
        keeps_reserved: Callable[[Path], bool],
    ) -> None:
        max_bytes = limits.max_bytes * space.map_factor + space.map_extra_bytes
        self._files = Files(directory, max_bytes, space, free_disk=free_disk, keeps_reserved=keeps_reserved)
        self._directory = directory
        self._limits = limits
        self.is_threaded = sync_to_disk  # the wait for the disk must not block the event loop
        self._space = space
        self._next_check = self._next_open = 0.0
        self._writing = threading.Lock()  # of this process's threads
        self._mapped = threading.Lock()  # held while a thread reads, and while the map moves
        self._is_open = False
        self.is_short = False  # room is left for deletions only
        self.is_disk_full = False  # the reason

    async def open(self) -> None:
        """Create or open. Raises StartupError."""
        started = time.monotonic()
        while True:
            try:
                self._files.open()
                await self._wait_for_lock()
                try:
                    self._open()
                finally:
                    self._files.unlock()
                return
            except (OSError, lmdb.Error, StoreUnavailable) as error:
                self._files.close()
                most_s = OPEN_S if isinstance(error, OtherLockFile) else LOCKED_S
                can_pass = isinstance(error, OtherLockFile | Locked)
                if not can_pass or time.monotonic() > started + most_s:
                    raise StartupError(f"session store {self._directory}: {_explain(error)}") from error
            await asyncio.sleep(REOPEN_EVERY_S)

    def close(self) -> None:
        """Flush and unmap."""
        with self._writing:
            if self._is_open:
                self.env.sync(True)
                self._close()
            self._files.close()

    async def write(self, work: Callable[[*Ts], T], *arguments: *Ts) -> T:
        """Run `work` while no other process writes. Raises StoreUnavailable, also for lmdb.Error; MapFull."""
        if self.is_threaded:
            return await asyncio.to_thread(lambda: self._write_in_thread(work, *arguments))
        if not self._files.try_lock():
            await self._wait_for_lock()
        try:
            if time.monotonic() >= self._next_check:
                self._check()
            return work(*arguments)
        except lmdb.Error as error:
            self._resolve(error)
            return self._run(work, *arguments)
        finally:
            self._files.unlock()

    def read(self, work: Callable[[*Ts], T], *arguments: *Ts) -> T:
        """Run `work` while the map does not move. Raises lmdb.Error, after which `recover` helps."""
        with self._mapped:
            return work(*arguments)

    async def recover(self, error: lmdb.Error) -> None:
        """Make a read possible that failed. Raises StoreUnavailable when that cannot be done now."""
        if self._is_open and not isinstance(error, lmdb.MapResizedError):  # it is not the map that has moved
            raise StoreUnavailable(f"LMDB: {error}") from error
        await self.write(self._remap)

    def is_short_in(self, txn: Txn) -> bool:
        """Whether nothing should be added in this transaction."""
        num_pages_ever = self.env.info()["last_pgno"] + 1  # some of them are free again
        if self._has_room(num_pages_ever) or self._has_room(self.tables.num_pages(txn)):
            return False
        if not self.is_short:
            self._next_check = 0.0  # the next write makes the map larger, or finds that it cannot
        return self.is_short

    def _open(self) -> None:
        """Open, while no other process writes or opens. Raises OSError, lmdb.Error, StoreUnavailable."""
        size = self._files.prepare()
        self.env = lmdb.open(
            str(self._directory),
            map_size=size,
            max_dbs=NUM_TABLES,
            mode=0o600,
            writemap=True,
            map_async=not self.is_threaded,
            sync=self.is_threaded,
            metasync=self.is_threaded,
            max_readers=MAX_READERS,
        )
        try:
            self._files.join(size)
            self._size = size
            self._page_size = self.env.stat()["psize"]
            self.env.reader_check()  # free the slots of workers that were killed
            self.tables = Tables(self.env, self._limits)
            self._run(self._upgrade)
        except BaseException:
            self.env.close()
            raise
        self._is_open = True

    def _upgrade(self) -> None:
        with self.env.begin(write=True) as txn:
            self.tables.upgrade(txn)

    def _reopen(self) -> None:
        """Open with the lock file that is there now, once all others have let go of the old one.

        Raises OSError, lmdb.Error, StoreUnavailable.
        """
        if self._is_open:
            logger.warning("%s: lock.mdb was removed; opening the sessions again", self._directory)
            self._close()
        elif time.monotonic() < self._next_open:
            raise OtherLockFile(f"{self._directory}: other processes still use a lock file that was removed")
        self._next_check, self._next_open = 0.0, time.monotonic() + REOPEN_EVERY_S
        self._open()

    def _grow(self) -> bool:
        """Make the map larger, in a process that writes, outside transactions; whether that worked."""
        if self._files.size() <= self._size and not self._files.grow():
            return False
        self._remap()
        return True

    def _has_room(self, num_pages: int) -> bool:
        """Whether a map with that many pages in use has more room than deletions may need."""
        reserve = min(self._space.map_reserve_bytes, self._size // 2)
        return num_pages * self._page_size <= self._size - reserve

    def _close(self) -> None:
        with self._mapped:
            self._is_open = False
            self.env.close()
            self._files.leave()

    def _write_in_thread(self, work: Callable[[*Ts], T], *arguments: *Ts) -> T:
        deadline = time.monotonic() + self._space.lock_timeout_s
        with self._writing:
            while not self._files.try_lock():
                self._give_up_after(deadline)
                time.sleep(RETRY_S / 10)
            try:
                if time.monotonic() >= self._next_check:
                    self._check()
                return self._run(work, *arguments)
            finally:
                self._files.unlock()

    async def _wait_for_lock(self) -> None:
        """Wait without blocking the event loop. Raises StoreUnavailable."""
        deadline = time.monotonic() + self._space.lock_timeout_s
        for _ in range(SPINS):
            os.sched_yield()
            if self._files.try_lock():
                return
        while not self._files.try_lock():
            self._give_up_after(deadline)
            await asyncio.sleep(RETRY_S)

    def _give_up_after(self, deadline: float) -> None:
        if time.monotonic() > deadline:
            raise Locked(
                f"another process has been writing to {self._directory} for {self._space.lock_timeout_s:g} s"
            )

    def _run(self, work: Callable[[*Ts], T], *arguments: *Ts) -> T:
        """Run `work`, again after the map has grown. Raises StoreUnavailable, MapFull."""
        while True:
            try:
                return work(*arguments)
            except lmdb.Error as error:
                self._resolve(error)

    def _resolve(self, error: lmdb.Error) -> None:
        """Map the whole file, or more, if that was the fault. Raises StoreUnavailable, MapFull."""
        if isinstance(error, lmdb.MapResizedError):
            self._remap()
        elif not isinstance(error, lmdb.MapFullError):
            raise StoreUnavailable(f"LMDB: {error}") from error
        elif not self._grow():
            raise MapFull(f"LMDB: {error}") from error

    def _remap(self) -> None:
        with self._mapped:
            self._size = self._files.size()
            self.env.set_mapsize(self._size)

    def _check(self) -> None:
        """Check the files and the room in the map. Raises StoreUnavailable."""
        try:
            if not self._is_open or not self._files.check():
                self._reopen()
            self._files.check_disk()
        except (OSError, lmdb.Error) as error:
            raise StoreUnavailable(f"session store {self._directory}: {error}") from error
        is_short = not self._has_room(self._run(self._count_pages)) and not self._grow()
        self.is_disk_full = is_short and not self._files.is_largest()
        if self.is_disk_full and not self.is_short:
            logger.warning("%s: the disk is full; sessions that need more space are refused", self._directory)
        self.is_short = is_short
        self._next_check = time.monotonic() + self._space.check_interval_s

    def _count_pages(self) -> int:
        with self.env.begin() as txn:
            return self.tables.num_pages(txn)


def _explain(error: Exception) -> str:
    if isinstance(error, lmdb.LockError):
        return (
            f"{error}: a process in another container may have the same process id; give the containers one "
            "PID namespace, or use Redis"
        )
    return error.detail if isinstance(error, StoreUnavailable) else str(error)
