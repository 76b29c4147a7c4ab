"""The two cores that neighbouring workers share, call by call.

A worker computes on one core, its own. It may take both, for a call that gains more than twofold (see
`service.engine.paired`), or borrow its neighbour's for a second call, if nobody computes there.
"""

import fcntl
import os
import struct
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from service import shared_memory as shared

NUM_SHARED = 2  # neighbours, and cores
QUIET_S = 0.02  # without a call: a worker that computes now and then needs its core for HTTP too

_TIME = struct.Struct("=d")  # seconds of the monotonic clock, which all processes share


class Cores:
    """Locks between two processes (flock(2)): the kernel opens those of a process that dies.

    Whoever waits for a core stands in its door, and is next: nobody else can take it meanwhile, not even a
    neighbour who makes call after call.

    A core is one half of the CPUs that this process may use. Left to itself, the kernel often wakes a call's
    second thread behind its first one, on the same CPU: above all in a virtual machine, where a CPU that
    sleeps looks like one that is busy.
    """

    def __init__(self, folder: Path, pair: int, place: int) -> None:
        """`pair`: which neighbours of the server; `place`: which of them, 0 or 1. Raises OSError."""
        cpus = sorted(os.sched_getaffinity(0))
        halves = cpus[: len(cpus) // NUM_SHARED], cpus[len(cpus) // NUM_SHARED :]
        self.own, self.others = halves[place], halves[1 - place]
        self._place = place
        self._gates = [_Gate(folder, f"{pair}-{core}") for core in range(NUM_SHARED)]
        self._lent = Lent(_Gate(folder, f"{pair}-{1 - place}"), self.others)  # opened anew: a lock of its own
        # When each of the neighbours has last computed, by place.
        self._computed_at = shared.open_memory(folder / f"times-{pair}", NUM_SHARED * _TIME.size)

    @contextmanager
    def take_own(self) -> Iterator[None]:
        """Compute on one's own core. Waits for it, and may be waited for: it is for a thread."""
        with self._gates[self._place].held(), _on(self.own):
            yield

    @contextmanager
    def take_both(self) -> Iterator[None]:
        """Compute on both, this thread on its own. Waits for them."""
        first, second = self._gates  # both neighbours in this order, or each could wait for the other
        with first.held(), second.held(), _on(self.own):
            yield

    def note(self) -> None:
        """Say that this worker has just computed: its core is not to be borrowed for a while."""
        _TIME.pack_into(self._computed_at, self._place * _TIME.size, time.monotonic())

    def borrow(self) -> "Lent | None":
        """The neighbour's core, if it does not need it. It is held from now on; one at a time."""
        (computed_at,) = _TIME.unpack_from(self._computed_at, (1 - self._place) * _TIME.size)
        is_quiet = time.monotonic() - computed_at > QUIET_S
        return self._lent if is_quiet and self._lent.try_take() else None


class Lent:
    """A core that can be borrowed, and is given back once."""

    def __init__(self, gate: "_Gate", cpus: list[int]) -> None:
        self._gate = gate
        self._cpus = cpus
        self._is_taken = False

    def try_take(self) -> bool:
        """Whether it could be had."""
        if self._is_taken:
            return False
        self._is_taken = self._gate.try_take()
        return self._is_taken

    @contextmanager
    def used(self) -> Iterator[None]:
        """Compute there, in whatever thread, and give it back."""
        try:
            with _on(self._cpus):
                yield
        finally:
            self.leave()

    def leave(self) -> None:
        """Give it back, unless that has been done."""
        if self._is_taken:
            self._gate.leave()
            self._is_taken = False


class _Gate:
    """The lock of a core, and the door before it."""

    def __init__(self, folder: Path, name: str) -> None:
        self._door = shared.open_file(folder / f"door-{name}")
        self._core = shared.open_file(folder / f"core-{name}")
        weakref.finalize(self, _close, [self._door, self._core])

    @contextmanager
    def held(self) -> Iterator[None]:
        fcntl.flock(self._door, fcntl.LOCK_EX)
        try:
            fcntl.flock(self._core, fcntl.LOCK_EX)
        finally:
            fcntl.flock(self._door, fcntl.LOCK_UN)
        try:
            yield
        finally:
            self.leave()

    def try_take(self) -> bool:
        try:
            fcntl.flock(self._door, fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                fcntl.flock(self._core, fcntl.LOCK_EX | fcntl.LOCK_NB)
            finally:
                fcntl.flock(self._door, fcntl.LOCK_UN)
        except BlockingIOError:
            return False
        return True

    def leave(self) -> None:
        fcntl.flock(self._core, fcntl.LOCK_UN)


class Seat:
    """A worker's place among those of its server, which says who its neighbour is.

    It is free again when the process ends, however it ends.
    """

    def __init__(self, folder: Path, num_workers: int) -> None:
        """`folder`: the same for all workers of a server, and for nobody else. Raises OSError."""
        self._folder = folder
        self._number: int | None = None
        for number in range(num_workers - num_workers % NUM_SHARED):  # the last of an odd number has none
            fd = shared.open_file(folder / f"seat-{number}")
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(fd)
                continue
            weakref.finalize(self, _close, [fd])
            self._number = number
            return

    def cores(self) -> Cores | None:
        """Those shared with the neighbour, if there are any. New ones for each model: these wait too.

        Raises OSError.
        """
        if self._number is None or len(os.sched_getaffinity(0)) < NUM_SHARED:
            return None
        return Cores(self._folder, *divmod(self._number, NUM_SHARED))


@contextmanager
def _on(cpus: list[int]) -> Iterator[None]:
    """Keep this thread to some CPUs. Where they may not be chosen, or are gone, it runs anywhere."""
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
