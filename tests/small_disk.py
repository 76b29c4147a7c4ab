"""A disk of a few megabytes, to be filled. It takes root, and the right to mount."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def mounted(folder: Path, megabytes: int) -> Iterator[Path]:
    """The folder, on a disk of that size. Raises OSError where mounting is not possible."""
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "none", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(done.stderr.strip())
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextlib.contextmanager
def mounted_or_skipped(folder: Path, megabytes: int) -> Iterator[Path]:
    """Like `mounted`, but skips the test where mounting is not possible."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(mounted(folder, megabytes))
        except OSError as error:
            pytest.skip(f"cannot mount a disk: {error}")
        yield folder


def fill(folder: Path) -> Path:
    """Take all space that is left on the disk of the folder; the file that holds it."""
    file = folder / "filler"
    with file.open("wb", buffering=0) as out, contextlib.suppress(OSError):
        for size in (1 << 20, 4096):
            with contextlib.suppress(OSError):
                while True:
                    out.write(bytes(size))
    return file
