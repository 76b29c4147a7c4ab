"""The two cores that a pair of worker processes shares, engine call by engine call.

A worker computes on its own core. It may hold both cores, for a call that gains more than twofold (see
`service.engine.paired`), or borrow the other worker's core for a second call, if that worker is idle.
"""

import fcntl
import os
import struct
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from service import shared_memory

NUM_SHARED = 2  # workers of a pair, and cores
# A core can be borrowed if its worker has made no call for so long: a worker that computes now and then needs
# its core for HTTP too.
IDLE_S = 0.02

_TIME = struct.Struct("=d")  # seconds of the monotonic clock, which all processes share


class Cores:
    """The cores of a pair of workers, held by flock(2): the kernel unlocks those of a process that dies.

    The locks are fair. A worker that waits for a core holds the core's queue lock, so it is next: no other
    worker can take the core meanwhile, even one that makes call after call.

    A core is one half of the CPUs that this process may use. Without an affinity the kernel often wakes a
    call's second thread on the CPU of the first: above all in a virtual machine, where a sleeping CPU looks
    like a busy one.
    """

    def __init__(
        self,
        folder: Path,
        pair: int,
        position: int,
        *,
        idle_s: float = IDLE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`pair`: the number of the pair; `position`: of this worker in it, 0 or 1. Raises OSError."""
        cpus = sorted(os.sched_getaffinity(0))
        halves = cpus[: len(cpus) // NUM_SHARED], cpus[len(cpus) // NUM_SHARED :]
        self.own_cpus, self.other_cpus = halves[position], halves[1 - position]
        self._position = position
        self._idle_s = idle_s
        self._clock = clock
        self._locks = [_FairLock(folder, f"{pair}-{core}") for core in range(NUM_SHARED)]
        # Opened a second time: a lock of its own, so that holding both cores waits for the borrowed one too.
        self._other = BorrowedCore(_FairLock(folder, f"{pair}-{1 - position}"), self.other_cpus)
        # When each worker of the pair last computed, by position.
        self._computed_at = shared_memory.open_memory(folder / f"times-{pair}", NUM_SHARED * _TIME.size)

    @contextmanager
    def hold_own(self) -> Iterator[None]:
        """Compute on this worker's core. Waits for it, so it must not run on the event loop."""
        with self._locks[self._position].held(), _affinity(self.own_cpus):
            yield

    @contextmanager
    def hold_both(self) -> Iterator[None]:
        """Compute on both cores, this thread on its worker's own. Waits for both."""
        first, second = self._locks  # both workers in this order, or each could wait for the other
        with first.held(), second.held(), _affinity(self.own_cpus):
            yield

    def mark_busy(self) -> None:
        """Record that this worker has just computed: its core cannot be borrowed for `idle_s`."""
        _TIME.pack_into(self._computed_at, self._position * _TIME.size, self._clock())

    def borrow(self) -> "BorrowedCore | None":
        """The other worker's core, locked, if that worker is idle. Only one can be borrowed at a time."""
        (computed_at,) = _TIME.unpack_from(self._computed_at, (1 - self._position) * _TIME.size)
        is_idle = self._clock() - computed_at > self._idle_s
        return self._other if is_idle and self._other.try_lock() else None


class BorrowedCore:
    """The other worker's core, to be released once it has been borrowed."""

    def __init__(self, lock: "_FairLock", cpus: list[int]) -> None:
        self._lock = lock
        self._cpus = cpus
        self._is_locked = False

    def try_lock(self) -> bool:
        """Whether the core was free; it is locked from now on."""
        if self._is_locked:
            return False
        self._is_locked = self._lock.try_lock()
        return self._is_locked

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Compute there, in any thread, and release the core."""
        try:
            with _affinity(self._cpus):
                yield
        finally:
            self.release()

    def release(self) -> None:
        """Release the core, unless that has been done."""
        if self._is_locked:
            self._lock.unlock()
            self._is_locked = False


class _FairLock:
    """The lock of a core, and the lock of the one process that is next."""

    def __init__(self, folder: Path, name: str) -> None:
        self._queue = shared_memory.open_file(folder / f"queue-{name}")
        self._core = shared_memory.open_file(folder / f"core-{name}")
        weakref.finalize(self, _close, [self._queue, self._core])

    @contextmanager
    def held(self) -> Iterator[None]:
        fcntl.flock(self._queue, fcntl.LOCK_EX)
        try:
            fcntl.flock(self._core, fcntl.LOCK_EX)
        finally:
            fcntl.flock(self._queue, fcntl.LOCK_UN)
        try:
            yield
        finally:
            self.unlock()

    def try_lock(self) -> bool:
        try:
            fcntl.flock(self._queue, fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                fcntl.flock(self._core, fcntl.LOCK_EX | fcntl.LOCK_NB)
            finally:
                fcntl.flock(self._queue, fcntl.LOCK_UN)
        except BlockingIOError:
            return False
        return True

    def unlock(self) -> None:
        fcntl.flock(self._core, fcntl.LOCK_UN)


class WorkerSlot:
    """The number of a worker among those of its server, which determines the worker it shares cores with.

    The slot is free again when the process ends, in whatever way it ends.
    """

    def __init__(self, folder: Path, num_workers: int, *, idle_s: float = IDLE_S) -> None:
        """`folder`: one that all workers of a server share, and no other process uses. Raises OSError."""
        self._folder = folder
        self._idle_s = idle_s
        self._number: int | None = None
        for number in range(num_workers - num_workers % NUM_SHARED):  # the last of an odd number has no pair
            fd = shared_memory.open_file(folder / f"slot-{number}")
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(fd)
                continue
            weakref.finalize(self, _close, [fd])
            self._number = number
            return

    def open_cores(self) -> Cores | None:
        """The cores of this worker's pair; None if it has no pair, or the process has a single CPU.

        Each model opens its own, so that the models of one worker wait for each other too. Raises OSError.
        """
        if self._number is None or len(os.sched_getaffinity(0)) < NUM_SHARED:
            return None
        pair, position = divmod(self._number, NUM_SHARED)
        return Cores(self._folder, pair, position, idle_s=self._idle_s)


@contextmanager
def _affinity(cpus: list[int]) -> Iterator[None]:
    """Keep this thread to some CPUs. If they cannot be chosen, or no longer exist, it runs on any."""
    before = os.sched_getaffinity(0)
    with suppress(OSError):
        os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        with suppress(OSError):
            os.sched_setaffinity(0, before)


def _close(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)
