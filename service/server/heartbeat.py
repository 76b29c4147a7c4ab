"""Whether a worker's event loop turns: a counter in the folder that the processes of one server share.

The loop of a process that is stopped, waits for a lock or computes without end leaves the counter as it is,
while a thread of the process may still answer health checks.
"""

import asyncio
import os
import struct
from pathlib import Path

from service import shared_memory

BEAT_S = 0.5
MAX_GAP_S = 1.0

_COUNT = struct.Struct("=Q")


async def beat(folder: Path) -> None:
    """Count the turns of the running loop, until cancelled. Raises OSError when the disk is full."""
    file = _file_of(folder, os.getpid())
    with shared_memory.open_memory(file, _COUNT.size) as memory:
        count = 0
        try:
            while True:
                count += 1
                _COUNT.pack_into(memory, 0, count)
                await asyncio.sleep(BEAT_S)
        finally:
            file.unlink(missing_ok=True)


def read_beat(folder: Path, pid: int) -> int | None:
    """The counter of a process; None before its first beat and after the last."""
    try:
        return int(_COUNT.unpack(_file_of(folder, pid).read_bytes())[0])
    except (OSError, struct.error):
        return None


def forget_beat(folder: Path, pid: int) -> None:
    """Remove the counter of a process that has ended: another one may get its process id."""
    _file_of(folder, pid).unlink(missing_ok=True)


def _file_of(folder: Path, pid: int) -> Path:
    return folder / f"beat-{pid}"


class Pulse:
    """For how long a counter has stayed the same, while its watcher ran.

    If all processes were suspended, the watcher is the first to look and finds nothing changed: so a gap
    between two looks counts as at most `MAX_GAP_S`.
    """

    def __init__(self) -> None:
        self._beat: int | None = None
        self._looked_at = 0.0
        self._silent_s = 0.0

    def look(self, beat: int | None, now: float) -> float:
        """Seconds for which `beat` has been the same; None counts as alive. `now`: a monotonic clock."""
        if beat is None or beat != self._beat:
            self._silent_s = 0.0
        else:
            self._silent_s += min(now - self._looked_at, MAX_GAP_S)
        self._beat, self._looked_at = beat, now
        return self._silent_s
