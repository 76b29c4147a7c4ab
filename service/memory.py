"""Memory: how much this process may use, how much requests in progress use, and what is handed back after.

It knows bytes; it does not know what they are.
"""

import asyncio
import ctypes
import os
from collections.abc import Callable
from pathlib import Path

from service.errors import MemoryExhausted

CGROUP = Path("/sys/fs/cgroup")
OF_PROCESS = Path("/proc/self/cgroup")
PAGE = os.sysconf("SC_PAGE_SIZE")
TRIM_BYTES = 64 << 20  # growth of the process that is worth handing back
LITTLE_BYTES = 8 << 20
# Bytes that a request in progress counts as, for each byte of its body: the body and its parts while they are
# joined (2), decoded (4: an int64 of a JSON integer and its comma; or 8 for floats of large sequences),
# a call's inputs (2). What parsing takes beside is of one large body at a time, `codec.fast_json`.
BYTES_PER_BODY_BYTE = 8
# And for each byte that its reply can have: the outputs of its chunks, those joined, as bytes, and the reply.
BYTES_PER_REPLY_BYTE = 4
KEPT_BLOCK = 32 << 20  # bytes; the largest that glibc takes from what it keeps
KEPT_BYTES = 256 << 20  # free bytes at the end of the heap
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
BUSY_CHECKS = 10  # that are skipped after one that handed back little although requests are in progress


class MemoryBudget:
    """The bytes of requests in progress, at most `max_bytes`."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.used = 0

    def check(self, num_bytes: int) -> None:
        """Raises MemoryExhausted if so many bytes are not left now."""
        if self.used + num_bytes > self.max_bytes:
            raise MemoryExhausted(
                f"requests in progress use {self.used} bytes of this worker's memory, and this one needs "
                f"{num_bytes}; they may use {self.max_bytes}"
            )

    def take(self, num_bytes: int) -> None:
        """Use so many bytes more, until they are given back. Raises MemoryExhausted."""
        self.check(num_bytes)
        self.used += num_bytes

    def hold(self, num_bytes: int) -> None:
        """Count bytes that are there already, until they are given back."""
        self.used += num_bytes

    def give_back(self, num_bytes: int) -> None:
        """No longer use these bytes."""
        self.used -= num_bytes


class Trimmer:
    """Hands freed memory back to the system after a peak.

    The C library keeps what is freed between what is still in use, for ever if the next peak does not come.
    """

    def __init__(
        self,
        budget: MemoryBudget,
        *,
        trim: Callable[[], None] | None,
        resident: Callable[[], int] | None = None,
    ) -> None:
        """`trim`: None where the C library has none; `resident`: bytes of this process in memory."""
        self._budget = budget
        self._trim = trim
        self._resident = resident or resident_bytes
        self._least = self._resident()
        self._num_skipped = 0

    async def check(self) -> None:
        """To be called every second or so: trims if the process has grown and its requests have not."""
        resident, used = self._resident(), self._budget.used
        self._least = min(self._least, resident)
        if self._trim is None or resident - self._least < TRIM_BYTES + 2 * used:
            return
        if self._num_skipped:
            self._num_skipped -= 1
            return
        await asyncio.to_thread(self._trim)  # some 0.1 s for a gigabyte
        now = self._resident()
        if resident - now >= LITTLE_BYTES:
            return  # a peak that is about to end leaves more to hand back
        if used < LITTLE_BYTES:
            self._least = now  # what is left is in use
        else:
            self._num_skipped = BUSY_CHECKS


def malloc_trim() -> Callable[[], None] | None:
    """malloc_trim(3) of glibc; None in other C libraries, which hand memory back by themselves."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return None if trim is None else lambda: trim(0)


def keep_freed() -> None:
    """Have glibc keep what this process frees: a system call and a page fault cost more than large blocks do.

    For processes that need as much again at once. Other C libraries stay as they are.
    """
    if (set_option := getattr(ctypes.CDLL(None), "mallopt", None)) is not None:
        set_option(_M_MMAP_THRESHOLD, KEPT_BLOCK)
        set_option(_M_TRIM_THRESHOLD, KEPT_BYTES)


def resident_bytes() -> int:
    """The bytes of this process that are in memory (proc(5))."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def usable(cgroup: Path = CGROUP, of_process: Path = OF_PROCESS) -> int:
    """Bytes that this process and its siblings may use: the machine's, or fewer in a cgroup (v2 or v1)."""
    limits = [os.sysconf("SC_PHYS_PAGES") * PAGE]
    for root, name, path in _controllers(cgroup, of_process):
        for folder in (path, *path.parents):
            limits += _limit(root / folder / name)
    return min(limits)


def _controllers(cgroup: Path, of_process: Path) -> list[tuple[Path, str, Path]]:
    """Where limits are: of the whole namespace, and of this process's own groups."""
    v1 = (cgroup / "memory", "memory.limit_in_bytes")
    v2 = (cgroup, "memory.max")
    places = [(*v1, Path()), (*v2, Path())]
    try:
        lines = of_process.read_text().splitlines()
    except OSError:  # no cgroups
        return places
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if number == "0":
            places.append((*v2, Path(path.lstrip("/"))))
        elif "memory" in controllers.split(","):
            places.append((*v1, Path(path.lstrip("/"))))
    return places


def _limit(file: Path) -> list[int]:
    try:
        return [int(file.read_text())]
    except (OSError, ValueError):  # there is none, or it says "max"
        return []
