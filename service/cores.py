"""The two cores that neighbouring workers share, call by call.

A worker computes on one core, and need not wait for the others. Some calls gain more than that from a second
one (`service.paired` says which): they take their neighbour's core too, and its calls of that kind wait.
"""

import fcntl
import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NUM_SHARED = 2  # neighbours, and cores


class Cores:
    """Locks between two processes (flock(2)): the kernel opens those of a process that dies.

    Whoever waits at the door is next: not even a neighbour who makes call after call can pass it.

    One's own core is one half of the CPUs that this process may use, the neighbour's is the other half. Left
    to itself, the kernel often wakes a call's second thread behind its first one, on the same CPU: above all
    in a virtual machine, where a CPU that sleeps looks like one that is busy.
    """

    def __init__(self, door: Path, cores: Path, place: int) -> None:
        """`place`: 0 for one of the neighbours, 1 for the other. Raises OSError."""
        self._allowed = sorted(os.sched_getaffinity(0))
        middle = len(self._allowed) // NUM_SHARED
        halves = self._allowed[:middle], self._allowed[middle:]
        self.own, self.others = halves[place], halves[1 - place]
        self._door, self._cores = fds = [_open(path) for path in (door, cores)]
        weakref.finalize(self, _close, fds)

    @contextmanager
    def take(self, *, both: bool) -> Iterator[None]:
        """Wait for both cores, or for the neighbour to be content with one. The thread keeps to its own."""
        fcntl.flock(self._door, fcntl.LOCK_EX)
        try:
            fcntl.flock(self._cores, fcntl.LOCK_EX if both else fcntl.LOCK_SH)
        finally:
            fcntl.flock(self._door, fcntl.LOCK_UN)
        try:
            os.sched_setaffinity(0, self.own)
            yield
        finally:
            os.sched_setaffinity(0, self._allowed)
            fcntl.flock(self._cores, fcntl.LOCK_UN)


class Seat:
    """A worker's place among those of its server, which says who its neighbour is.

    It is free again when the process ends, however it ends.
    """

    def __init__(self, folder: Path, num_workers: int) -> None:
        """`folder`: the same for all workers of a server, and for nobody else. Raises OSError."""
        self._folder = folder
        self._number: int | None = None
        for number in range(num_workers - num_workers % NUM_SHARED):  # the last of an odd number has none
            fd = _open(folder / f"seat-{number}")
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(fd)
                continue
            weakref.finalize(self, _close, [fd])
            self._number = number
            return

    def cores(self) -> Cores | None:
        """Those shared with the neighbour, if there is one. New ones for each model: these wait too."""
        if self._number is None:
            return None
        pair, place = divmod(self._number, NUM_SHARED)
        return Cores(self._folder / f"door-{pair}", self._folder / f"cores-{pair}", place)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)


def _close(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)
