"""What the trials of versions have shown: remembered in a file, and shared by the workers of a server.

A version that passed is remembered for as long as the file is kept; one that failed, while the server runs.
"""

import contextlib
import hashlib
import logging
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

import onnxruntime as ort

from service.engine.graph import Optimization
from service.file_lock import locked

CPU_FIELDS = ("model name", "flags", "Features", "CPU part")  # of /proc/cpuinfo
LOCK_SUFFIX, FAILED_SUFFIX = ".lock", ".failed"

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Record:
    """The result of a version's trial: a level, or a reason; neither: it has not been tried."""

    level: Optimization | None = None
    reason: str = ""


class Tried:
    """The results of trials, by digest. Without files it remembers nothing.

    A file of passed versions holds lines of key and level. It can be deleted at any time.
    """

    def __init__(self, passed: Path | None = None, shared: Path | None = None, *, provider: str = "") -> None:
        """`passed`: the file that is kept; `shared`: a folder of this server, for locks and failures.

        `provider`: the execution provider of the trials.
        """
        self._passed = passed
        self._shared = shared
        self._machine = hashlib.sha256(f"{ort.__version__} {provider} {_processor()}".encode()).digest()

    @contextlib.contextmanager
    def turn(self, digest: str) -> Iterator[Record]:
        """The record of a version, for one worker at a time. What the block sets in it is remembered."""
        key = hashlib.sha256(self._machine + digest.encode()).hexdigest()
        with self._lock(key):
            known = self._read(key)
            record = Record(known.level, known.reason)
            try:
                yield record
            finally:
                if record != known:
                    self._write(key, record)

    @contextlib.contextmanager
    def _lock(self, key: str) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            if self._shared is not None:
                with contextlib.suppress(OSError):  # then every worker tries it
                    lock = self._shared / f"{key}{LOCK_SUFFIX}"
                    lock.touch(0o600)
                    stack.enter_context(locked(lock))
            yield

    def _read(self, key: str) -> Record:
        if self._passed is not None:
            with contextlib.suppress(OSError, UnicodeDecodeError):
                for line in self._passed.read_text().splitlines():
                    found, _, level = line.partition(" ")
                    if found == key and level in get_args(Optimization):
                        return Record(level=cast(Optimization, level))
        if self._shared is not None:
            with contextlib.suppress(OSError):
                return Record(reason=(self._shared / f"{key}{FAILED_SUFFIX}").read_text())
        return Record()

    def _write(self, key: str, record: Record) -> None:
        try:
            if record.level is not None and self._passed is not None:
                _append(self._passed, f"{key} {record.level}\n")
            elif record.reason and self._shared is not None:
                _append(self._shared / f"{key}{FAILED_SUFFIX}", record.reason)
        except OSError as error:
            logger.warning("the trial of a model is not remembered: %s", error)


def _append(path: Path, text: str) -> None:
    """Write at the end of a file, of which one that is new belongs to this user alone."""
    with open(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "a") as file:
        file.write(text)


def _processor() -> str:
    """What a crash of ONNX Runtime may depend on: its kernels are chosen by the processor."""
    try:
        with open("/proc/cpuinfo") as file:
            first = file.read(1 << 14).partition("\n\n")[0]
    except OSError:
        first = ""
    lines = [line for line in first.splitlines() if line.partition(":")[0].strip() in CPU_FIELDS]
    return "\n".join([platform.machine(), *lines])
