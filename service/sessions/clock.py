"""The session clock: the wall clock's time, without its jumps.

If the machine's clock is set forward by an hour, every session would have been idle for an hour. So the wall
clock is read once, and from then on the time since boot is added, which cannot be set. Where sessions outlive
the server, the offset between the two is stored beside them until the next boot.
"""

import functools
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

from service.errors import StartupError
from service.sessions.folder import FILE_OWNER_ONLY, make_private

FILE = "clock.json"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


# Seconds since boot, with the time in suspend; the same for all processes.
since_boot = functools.partial(time.clock_gettime, time.CLOCK_BOOTTIME)


def boot_id() -> str:
    """Identifies this boot of the machine."""
    return BOOT_ID.read_text().strip()


class SteadyClock:
    """Seconds since the Unix epoch, by the wall clock's first reading.

    `folder`: where the offset of this boot is stored.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        wall: Callable[[], float] = time.time,
        steady: Callable[[], float] = since_boot,
        boot: Callable[[], str] = boot_id,
    ) -> None:
        self._steady = steady
        offset_s = wall() - steady()
        self._offset_s = offset_s if folder is None else _shared_offset(folder / FILE, boot(), offset_s)

    def __call__(self) -> float:
        """Now."""
        return self._offset_s + self._steady()


def _shared_offset(file: Path, boot: str, offset_s: float) -> float:
    """The offset that the first process of this boot stored; ours, if we are the first."""
    try:
        make_private(file.parent)
        stored = _read(file)
        if stored is None or stored[0] != boot:
            mine = file.with_name(f"{FILE}.{os.getpid()}")
            mine.touch(FILE_OWNER_ONLY)
            mine.write_text(json.dumps({"boot_id": boot, "offset_s": offset_s}))
            if stored is not None:
                os.replace(mine, file)
            else:
                _link(mine, file)
            stored = _read(file)
    except OSError as error:
        raise StartupError(f"session clock {file}: {error}") from error
    return offset_s if stored is None else stored[1]


def _link(mine: Path, file: Path) -> None:
    """Rename our file to `file`, unless another process was first."""
    try:
        os.link(mine, file)
    except FileExistsError:
        pass
    finally:
        mine.unlink()


def _read(file: Path) -> tuple[str, float] | None:
    """Boot and offset; None when there is no file. A damaged file belongs to no boot."""
    try:
        stored = json.loads(file.read_text())
        return str(stored["boot_id"]), float(stored["offset_s"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        return "", 0.0
