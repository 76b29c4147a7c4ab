"""Files in the folder that all workers of a server share: opened, made if need be, mapped into memory."""

import mmap
import os
from pathlib import Path


def open_file(path: Path) -> int:
    """A new file descriptor. Raises OSError."""
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)


def open_memory(path: Path, size: int) -> mmap.mmap:
    """Memory of at least `size` bytes, zeros at first. Raises OSError."""
    fd = open_file(path)
    try:
        os.posix_fallocate(fd, 0, size)  # a write to a hole kills the process when the disk is full
        return mmap.mmap(fd, size)
    finally:
        os.close(fd)
