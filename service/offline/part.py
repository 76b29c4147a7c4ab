"""The output while it is written, and the journal beside it, so that a run continues after a crash.

    out.csv.part        what is written so far, whole sequences; Parquet: a folder of files
    out.csv.part.json   the journal: what the run is, how many sequences are in the part, and its size
    out.csv             the finished output, by one rename

The journal is written before anything is in the part, and then after the part has reached the disk. Whatever
the part has beyond the journal's size belongs to sequences that the journal does not count: it is cut off,
and they are computed again. A part without a journal is another program's file, which is left as it is.
"""

import contextlib
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self

from service.errors import StartupError
from service.file_lock import try_lock

SYNC_EVERY_S = 1.0


class Medium(Protocol):
    """Where the part lies."""

    def cut(self, size: int) -> None:
        """Keep so much of it; 0: nothing."""
        ...

    def append(self, encoded: bytes) -> int:
        """Write a block's answers behind all others; by how much the size grows."""
        ...

    def sync(self) -> None:
        """Bring it to the disk."""
        ...

    def finish(self, output: Path) -> None:
        """Make it the output."""
        ...

    def close(self) -> None:
        """Release it. Nothing follows."""
        ...


class FileMedium:
    """One file, of a format whose pieces can be joined."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")

    def cut(self, size: int) -> None:
        """Keep the first bytes. Raises StartupError if there are fewer."""
        if self._path.stat().st_size < size:
            raise StartupError(f"{self._path} is shorter than its journal says: delete both to begin again")
        self._file.truncate(size)
        self._file.seek(size)

    def append(self, encoded: bytes) -> int:
        """Write bytes at the end; their number."""
        self._file.write(encoded)
        return len(encoded)

    def sync(self) -> None:
        """Bring them to the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def finish(self, output: Path) -> None:
        """Rename it."""
        self._path.replace(output)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Done(NamedTuple):
    """What the part has."""

    num_sequences: int
    num_failed: int
    size: int  # of the medium


class Part:
    """The part and its journal; a context manager, which brings both to the disk at its end."""

    def __init__(self, output: Path, run: Mapping[str, Any], open_medium: Callable[[Path], Medium]) -> None:
        """`run`: what the output depends on; a part of another run is refused.

        Raises StartupError, or OSError.
        """
        path = output.with_name(f"{output.name}.part")
        self._output = output
        self._journal = path.with_name(f"{path.name}.json")
        self._run = dict(run)
        self._done = self._read(path)
        self._medium = open_medium(path)
        self._lock = os.open(path, os.O_RDONLY)
        self._is_finished = False
        try:
            self._cut(path, self._done.size)
            self._sync()
        except BaseException:
            self._close()
            raise

    @property
    def num_sequences(self) -> int:
        """Sequences that it has the answers of."""
        return self._done.num_sequences

    @property
    def num_failed(self) -> int:
        """How many of these answers are errors."""
        return self._done.num_failed

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._is_finished:
            self._sync()
        self._close()

    def append(self, encoded: bytes, num_sequences: int, num_failed: int) -> None:
        """Add the answers of a block."""
        done, growth = self._done, self._medium.append(encoded)
        # One assignment: an interrupt before it leaves what was written uncounted, and so cut off later.
        self._done = Done(
            done.num_sequences + num_sequences, done.num_failed + num_failed, done.size + growth
        )
        if time.monotonic() - self._synced_s >= SYNC_EVERY_S:
            self._sync()

    def finish(self) -> None:
        """Make the part the output, and delete the journal."""
        self._sync()
        self._medium.finish(self._output)
        self._journal.unlink(missing_ok=True)
        self._is_finished = True

    def _cut(self, path: Path, size: int) -> None:
        with contextlib.suppress(OSError):  # a file system without locks
            if not try_lock(self._lock):
                raise StartupError(f"another process writes {path}")
        if not self._journal.exists() and _holds_something(path):
            raise StartupError(
                f"{path} exists, and no journal of a run is beside it: move it away, or name another output"
            )
        self._medium.cut(size)

    def _close(self) -> None:
        self._medium.close()
        os.close(self._lock)

    def _read(self, path: Path) -> Done:
        try:
            text = self._journal.read_text()
        except FileNotFoundError:
            return Done(0, 0, 0)
        try:
            found: dict[str, Any] = json.loads(text)
            before, done = found["run"], Done(found["sequences"], found["failed"], found["size"])
        except (ValueError, KeyError, TypeError) as error:
            raise StartupError(f"{self._journal} is no journal of a run: delete it to begin again") from error
        changed = [name for name in self._run if before.get(name) != self._run[name]]
        if changed and not done.num_sequences:
            return Done(0, 0, 0)  # such as after an error in the file, which is now corrected
        if changed:
            raise StartupError(
                f"{path} is of a run with another {', '.join(changed)}: to begin again, delete it and "
                f"{self._journal}"
            )
        return done

    def _sync(self) -> None:
        done = self._done
        self._medium.sync()
        entry = {
            "run": self._run,
            "sequences": done.num_sequences,
            "failed": done.num_failed,
            "size": done.size,
        }
        temporary = self._journal.with_name(f"{self._journal.name}.new")
        with temporary.open("w") as file:
            json.dump(entry, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._journal)
        self._synced_s = time.monotonic()


def _holds_something(path: Path) -> bool:
    """Whether a file or a folder is not empty."""
    return any(path.iterdir()) if path.is_dir() else path.stat().st_size > 0
