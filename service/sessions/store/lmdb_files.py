"""The files of an LMDB store: who may write, which lock file is in use, and space reserved on the disk.

    data.mdb   flock                  held by the process that writes; ends with the process, however it ends
               fcntl, byte i, shared  held by every process that uses the lock file with inode i
    lock.mdb   LMDB's mutexes and its table of readers

LMDB's own write lock is inside lock.mdb, and a wait for it cannot be limited. Processes with different lock
files do not see each other and destroy the data: so a process does not open the store while another one uses
a lock file that has since been removed.

A write to a memory map for which the disk has no space kills the process (SIGBUS). So all of data.mdb has its
space before it is mapped. These files know nothing of records or transactions.
"""

import fcntl
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from fcntl import flock
from pathlib import Path

import lmdb

from service.errors import StoreUnavailable
from service.sessions.folder import DATA_FILE, FILE_OWNER_ONLY, make_file_private, make_private

MAX_READERS = 1024  # processes, those of the command line included
MOUNTS = Path("/proc/self/mountinfo")
KEEP_RESERVED = {
    "ext2",
    "ext3",
    "ext4",
    "xfs",
    "tmpfs",
}  # a copy-on-write file system needs space to overwrite

_LOCK_BYTES = (MAX_READERS - 1) * 64 + 192  # as LMDB computes the size of lock.mdb
_TRY, _RELEASE = fcntl.LOCK_EX | fcntl.LOCK_NB, fcntl.LOCK_UN
_PAGE = os.sysconf("SC_PAGE_SIZE")
_FLOCK = struct.Struct("hhqqi4x")  # struct flock of Linux on 64 bits: type, whence, start, length, process
_MAX_BYTE = (1 << 62) - 1


class OtherLockFile(StoreUnavailable):
    """Another process uses a lock file that has been removed. It notices within about a second."""


@dataclass(frozen=True)
class Space:
    """Sizes of the memory map and of reserves, and time limits."""

    # Room for more than the live records: half-filled pages, indexes, tombstones, pages that readers hold.
    map_factor: int = 3  # times the bytes of live records
    map_extra_bytes: int = 512 << 20
    # The map grows by a quarter, within these bounds.
    min_step_bytes: int = 32 << 20
    max_step_bytes: int = 256 << 20
    # LMDB writes new pages before old ones are free, even to delete: what grows must leave room for that.
    map_reserve_bytes: int = 64 << 20  # at most half of the map
    # Where the file system does not keep space that was reserved. It must last until the next check.
    disk_reserve_bytes: int = 64 << 20
    check_interval_s: float = 0.2
    lock_timeout_s: float = 2.0  # for the process that writes to finish


def free_disk_bytes(directory: Path) -> int:
    """Bytes left on the disk that holds the directory. Raises OSError."""
    disk = os.statvfs(directory)
    return disk.f_bavail * disk.f_frsize


def keeps_reserved_space(directory: Path) -> bool:
    """Whether a write to reserved space never fails: by the kind of the file system. Raises OSError."""
    device = directory.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    for line in MOUNTS.read_text().splitlines():  # 36 35 98:0 /root /mount options - ext4 /dev/vda …
        fields, _, kind = line.partition(" - ")
        if fields.split()[2] == number:
            return kind.split()[0] in KEEP_RESERVED
    return False


class Files:
    """The two files of one directory."""

    def __init__(
        self,
        directory: Path,
        max_bytes: int,
        space: Space,
        *,
        free_disk: Callable[[Path], int],
        keeps_reserved: Callable[[Path], bool],
    ) -> None:
        """`max_bytes`: the largest map."""
        self.directory = directory
        self._space = space
        self._max_bytes = max_bytes
        self._free_disk = free_disk
        self._keeps_reserved_of = keeps_reserved
        self._data, self._lock = directory / DATA_FILE, directory / "lock.mdb"
        self._fd = -1

    def open(self) -> None:
        """Create what is missing. Raises OSError."""
        make_private(self.directory)
        self._fd = os.open(self._data, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_OWNER_ONLY)
        self._keeps_reserved = self._keeps_reserved_of(self.directory)

    def close(self) -> None:
        """Release all locks."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def try_lock(self) -> bool:
        """Become the one process that writes, if no other one does."""
        try:
            flock(self._fd, _TRY)
        except BlockingIOError:
            return False
        return True

    def unlock(self) -> None:
        """Let others write."""
        flock(self._fd, _RELEASE)

    def prepare(self) -> int:
        """The size of the map to open, in bytes; before LMDB opens them. Raises OSError, StoreUnavailable."""
        fd = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_OWNER_ONLY)
        try:
            os.posix_fallocate(fd, 0, max(_LOCK_BYTES, os.fstat(fd).st_size))
            is_in_use = _is_locked(fd, fcntl.F_GETLK, 0, 1)
        finally:
            os.close(fd)
        for file in (self._data, self._lock):
            make_file_private(file)
        status = os.fstat(self._fd)
        if self._is_used_by_others():
            return status.st_size
        if not status.st_size:
            return min(self._space.min_step_bytes, self._max_bytes)
        if status.st_blocks * 512 >= status.st_size:
            return _whole_pages(status.st_size)
        if is_in_use:  # to reduce the file would kill the other process
            raise StoreUnavailable(f"{self.directory} is used by a server of an older version: stop it first")
        with lmdb.open(str(self.directory), readonly=True, lock=False) as env:
            used = (env.info()["last_pgno"] + 1) * env.stat()["psize"]
        return min(_whole_pages(status.st_size), _whole_pages(used) + self._space.min_step_bytes)

    def join(self, map_size: int) -> None:
        """Register as a user of the lock file that LMDB has just opened, and reserve the map's space.

        Raises OSError when the disk has no space, OtherLockFile.
        """
        self._opened = os.fstat(self._fd), os.stat(self._lock)
        self.check()
        byte = 1 + self._opened[1].st_ino % _MAX_BYTE
        if self._is_used_by_others(0, byte) or self._is_used_by_others(byte + 1):
            raise OtherLockFile(
                f"{self._lock} has been removed, and other processes still use the removed file"
            )
        if not self._is_used_by_others():
            os.posix_fallocate(self._fd, 0, map_size)
        fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_RDLCK, os.SEEK_SET, byte, 1, 0))

    def leave(self) -> None:
        """No longer be a user of the lock file. The right to write stays."""
        fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_UNLCK, os.SEEK_SET, 0, 0, 0))

    def check(self) -> bool:
        """Whether lock.mdb is still the one in use. Raises StoreUnavailable when data.mdb is another file."""
        try:
            data = os.stat(self._data)
        except OSError as error:
            raise StoreUnavailable(f"the sessions' file {self._data}: {error.strerror}") from error
        if not os.path.samestat(data, self._opened[0]):
            raise StoreUnavailable(f"{self._data} has been replaced since it was opened: restart the server")
        try:
            return os.path.samestat(os.stat(self._lock), self._opened[1])
        except OSError:
            return False

    def check_disk(self) -> None:
        """Raises StoreUnavailable when the disk is about to be full, and could refuse what was reserved."""
        if self._keeps_reserved:
            return
        if self._free_disk(self.directory) < self._space.disk_reserve_bytes:
            raise StoreUnavailable(
                f"less than {self._space.disk_reserve_bytes >> 20} MB left on the disk of {self.directory}"
            )

    def size(self) -> int:
        """Bytes that a map may have now; another process may have made it larger."""
        return _whole_pages(os.fstat(self._fd).st_size)

    def grow(self) -> bool:
        """Reserve space for a larger map, by a process that may write; whether the disk had it."""
        size = self.size()
        step = min(max(size // 4, self._space.min_step_bytes), self._space.max_step_bytes)
        step = min(step, self._max_bytes - size)
        try:
            if step <= 0 or self._free_disk(self.directory) < step:
                return False
            os.posix_fallocate(self._fd, size, step)
        except OSError:
            return False
        return True

    def is_largest(self) -> bool:
        """Whether the map has the size that the limits allow."""
        return self.size() >= self._max_bytes

    def _is_used_by_others(self, start: int = 0, length: int = 0) -> bool:
        """Whether other processes use a lock file with an inode in the range; `length` 0: without an end."""
        return _is_locked(self._fd, fcntl.F_OFD_GETLK, start, length)


def _is_locked(fd: int, command: int, start: int, length: int) -> bool:
    answer = fcntl.fcntl(fd, command, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, start, length, 0))
    return bool(_FLOCK.unpack(answer)[0] != fcntl.F_UNLCK)


def _whole_pages(size: int) -> int:
    return size // _PAGE * _PAGE
