"""Locks that processes of one host hold on files and folders (flock(2)).

The kernel releases those of a process that ends, however it ends. They know nothing of what they protect.
"""

import contextlib
import os
from collections.abc import Iterator
from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, flock
from pathlib import Path


def try_lock(fd: int, *, shared: bool = False) -> bool:
    """Lock an open file until it is closed; whether that was possible at once.

    `shared`: with others that share it. Raises OSError on a file system without locks.
    """
    try:
        flock(fd, (LOCK_SH if shared else LOCK_EX) | LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file or folder that exists, after all who wait for it already.

    On a file system without locks nothing is held. Raises OSError if it cannot be opened.
    """
    fd = os.open(path, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            flock(fd, LOCK_EX)
        yield
    finally:
        os.close(fd)
