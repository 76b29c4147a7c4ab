"""Files in the folder that all workers of a server share: opened, created if missing, mapped into memory."""

import mmap
import os
from pathlib import Path


def open_file(path: Path) -> int:
    """A new descriptor of the file, which is created if it is missing. Raises OSError."""
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)


def open_memory(path: Path, size: int) -> mmap.mmap:
    """`size` bytes of a file as shared memory, zeros at first. Raises OSError, also when the disk is full."""
    fd = open_file(path)
    try:
        os.posix_fallocate(fd, 0, size)  # a write to a hole kills the process when the disk is full
        return mmap.mmap(fd, size)
    finally:
        os.close(fd)
