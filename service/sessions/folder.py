"""The folder of a server's sessions: for its owner only."""

import logging
import os
from pathlib import Path

OWNER_ONLY, FILE_OWNER_ONLY = 0o700, 0o600
DATA_FILE = "data.mdb"  # a folder with this file is used for sessions and nothing else

logger = logging.getLogger(__name__)


def make_private(folder: Path) -> None:
    """Create a folder that only its owner can enter. Raises OSError.

    An existing one of ours that is empty or holds sessions gets that mode, too. One that holds anything else
    keeps its mode, with a warning: it may be used by others, such as `/tmp`.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=OWNER_ONLY)
    status = folder.stat()
    if not status.st_mode & 0o077 or status.st_uid != os.geteuid():
        return
    names = os.listdir(folder)
    if not names or DATA_FILE in names:
        folder.chmod(OWNER_ONLY)
        logger.info("%s: mode changed to 0700", folder)
    else:
        logger.warning("%s: other users can enter it; give the sessions a directory of their own", folder)


def make_file_private(file: Path) -> None:
    """Take a file's permissions from all but its owner, if we are the owner. Raises OSError."""
    status = file.stat()
    if status.st_mode & 0o077 and status.st_uid == os.geteuid():
        file.chmod(FILE_OWNER_ONLY)
