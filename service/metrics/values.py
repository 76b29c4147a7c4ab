"""The numbers of one worker, in a file of the folder that all workers share.

    index: a JSON line for each series, [kind, name, labels, place, size]     values: float64 at these places

An increment writes to shared memory: a worker that is killed loses none, and every worker can report the
numbers of all. A worker that replaces a dead one continues the dead one's file: counters never decrease.
"""

import json
import logging
import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from service import shared_memory
from service.file_lock import try_lock

PREFIX = "metrics-"
INDEX_BYTES = 1 << 19
NUM_VALUES = 1 << 16
MAX_FILES = 4096  # far more than workers

logger = logging.getLogger(__name__)


class Series(NamedTuple):
    """One line of an index."""

    kind: str  # "counter", "gauge" or "histogram"
    name: str
    labels: tuple[str, ...]  # their values, in the order of the metric's names
    place: int  # of the first value
    size: int


class Values:
    """The series of one worker. `values[place]` may be read and written at any time."""

    def __init__(self, folder: Path | None = None) -> None:
        """`folder`: shared by all workers; None: this process alone. Raises OSError."""
        self._lock: int | None = None
        if folder is None:
            self._memory = mmap.mmap(-1, INDEX_BYTES + 8 * NUM_VALUES)
        else:
            path, self._lock = _take_file(folder)
            self._memory = shared_memory.open_memory(path, INDEX_BYTES + 8 * NUM_VALUES)
        self.values = _values_of(self._memory)
        self._series = {(each.name, each.labels): each for each in read_index(self._memory)}
        self._end = self._memory.find(b"\0", 0, INDEX_BYTES)
        self._next = max((each.place + each.size for each in self._series.values()), default=1)
        self._is_full = False
        for each in self._series.values():
            if each.kind == "gauge":  # of a process that is dead
                self.values[each.place] = 0.0

    def place(self, kind: str, name: str, labels: tuple[str, ...], size: int) -> int:
        """Where a series' values are; new ones are 0. Place 0 is for all that find no room."""
        known = self._series.get((name, labels))
        if known is not None:
            return known.place if known.size == size else 0
        series = Series(kind, name, labels, self._next, size)
        line = json.dumps(series, separators=(",", ":")).encode() + b"\n"
        if self._end + len(line) >= INDEX_BYTES or self._next + size > NUM_VALUES:
            if not self._is_full:
                logger.warning("no room for further metrics: %s%s is not counted", name, labels)
                self._is_full = True
            return 0
        self._memory[self._end : self._end + len(line)] = line
        self._end += len(line)
        self._next += size
        self._series[name, labels] = series
        return series.place

    def close(self) -> None:
        """Let another worker continue the file."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def read(self) -> Iterator[tuple[Series, list[float]]]:
        """The series of this process."""
        for each in list(self._series.values()):  # the event loop may add one meanwhile
            yield each, list(self.values[each.place : each.place + each.size])


def read_all(folder: Path) -> Iterator[tuple[Series, list[float]]]:
    """The series of all workers, one after the other; no gauges of dead ones. Raises OSError."""
    for path in sorted(folder.glob(f"{PREFIX}*")):
        with open(path, "rb") as file:
            content = file.read()
            is_dead = _is_free(file.fileno())
        if len(content) < INDEX_BYTES + 8 * NUM_VALUES:  # being created
            continue
        values = _values_of(content)
        for each in read_index(content):
            if not (is_dead and each.kind == "gauge"):
                yield each, list(values[each.place : each.place + each.size])


def read_index(memory: bytes | mmap.mmap) -> list[Series]:
    """The series that a file has. A line that a killed worker left unfinished is not one."""
    *lines, _ = memory[:INDEX_BYTES].partition(b"\0")[0].split(b"\n")
    series = []
    for line in lines:
        kind, name, labels, place, size = json.loads(line)
        series.append(Series(kind, name, tuple(labels), place, size))
    return series


def _values_of(memory: bytes | mmap.mmap) -> "memoryview[float]":
    return memoryview(memory)[INDEX_BYTES:].cast("d")


def _take_file(folder: Path) -> tuple[Path, int]:
    """A file that no living worker has, and the lock that says so."""
    for number in range(MAX_FILES):
        path = folder / f"{PREFIX}{number}"
        fd = shared_memory.open_file(path)
        if try_lock(fd):
            return path, fd
        os.close(fd)
    raise OSError(f"{folder}: too many workers")


def _is_free(fd: int) -> bool:
    """Whether no worker holds the file."""
    return try_lock(fd, shared=True)
