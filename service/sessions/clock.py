"""The time sessions live by: that of the wall, but it never jumps.

Somebody sets the machine's clock, or NTP does, and every session would have been idle for an hour. So the
wall is asked once, and from then on the time since boot is added, which nobody can set. On a host whose
sessions outlive the server, the answer is kept beside them until the next boot.
"""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

from service.errors import StartupError

FILE = "clock.json"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def since_boot() -> float:
    """Seconds since this machine was started, the time it slept included; the same for all processes."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    """What tells this run of the machine from the one before."""
    return BOOT_ID.read_text().strip()


class SteadyClock:
    """Seconds since the Unix epoch, as the wall had it once. `folder`: where that is kept for this boot."""

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
        self._offset_s = offset_s if folder is None else _agree(folder / FILE, boot(), offset_s)

    def __call__(self) -> float:
        """Now."""
        return self._offset_s + self._steady()


def _agree(file: Path, boot: str, offset_s: float) -> float:
    """The offset that the first process of this boot has written, or ours, if we are the first."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        kept = _read(file)
        if kept is None or kept[0] != boot:
            mine = file.with_name(f"{FILE}.{os.getpid()}")
            mine.write_text(json.dumps({"boot_id": boot, "offset_s": offset_s}))
            if kept is not None:
                os.replace(mine, file)
            else:
                _link(mine, file)
            kept = _read(file)
    except OSError as error:
        raise StartupError(f"session clock {file}: {error}") from error
    return offset_s if kept is None else kept[1]


def _link(mine: Path, file: Path) -> None:
    """Give ours the name, unless another process was first."""
    try:
        os.link(mine, file)
    except FileExistsError:
        pass
    finally:
        mine.unlink()


def _read(file: Path) -> tuple[str, float] | None:
    """Boot and offset; None when there is no file. A damaged one is of no boot."""
    try:
        kept = json.loads(file.read_text())
        return str(kept["boot_id"]), float(kept["offset_s"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        return "", 0.0
