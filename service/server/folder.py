"""The folder in the temporary directory that the workers of one server share. It knows not what is in it."""

import contextlib
import logging
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from service.file_lock import try_lock

PREFIX = "cellgate-server-"
MARK = "in-use"  # this file exists from the moment the folder is locked

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def shared_folder() -> Iterator[Path]:
    """A new folder, removed at the end of the block; those of servers that were killed are removed first.

    Its lock tells other servers, and clean-up services (tmpfiles.d(5)), that it is in use.
    """
    _remove_abandoned(Path(tempfile.gettempdir()))
    with tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as name:
        folder = Path(name)
        fd = os.open(folder, os.O_RDONLY)
        try:
            with contextlib.suppress(OSError):  # a file system without locks: the folder is never removed
                try_lock(fd, shared=True)
                (folder / MARK).touch()
            yield folder
        finally:
            os.close(fd)


def _remove_abandoned(root: Path) -> None:
    for folder in root.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):  # another user's; or another server removes it at this moment
            if _is_abandoned(folder):
                shutil.rmtree(folder)
                logger.info("%s removed: its server was killed", folder)


def _is_abandoned(folder: Path) -> bool:
    """Whether it is a folder of this user that was locked, and no longer is. Raises OSError."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        status = os.fstat(fd)
        is_own = status.st_uid == os.geteuid() and not stat.S_IMODE(status.st_mode) & 0o077
        if not is_own or not (folder / MARK).is_file():
            return False
        return try_lock(fd)  # not while its server runs
    finally:
        os.close(fd)
