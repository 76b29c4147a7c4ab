"""Tries a version in a child process before the server loads it, so that a graph cannot end the server.

The child loads the version as the server would, within a time and a memory limit. A version that crashes ONNX
Runtime is tried again with fewer of its optimizations. What has passed is remembered, by content, machine and
ONNX Runtime, and is not tried again.
"""

import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from service.engine import Batching
from service.engine.graph import Optimization, Provider
from service.errors import StartupError
from service.repository.snapshot import num_bytes
from service.repository.tried import Record, Tried
from service.settings import PREFIX

BYTES_PER_S = 50e6  # of files: a slow disk, read and copied
LEVELS: tuple[Optimization, ...] = ("all", "basic", "none")

logger = logging.getLogger(__name__)


class TrialFailure(StartupError):
    """A version crashes ONNX Runtime, does not end, or takes too much memory."""


@dataclass(slots=True, frozen=True)
class Request:
    """What the child is to load, and its limits."""

    folder: str
    digest: str  # of the snapshot; the folder may change meanwhile
    optimization: Optimization
    batching: Batching
    provider: Provider
    threads: int
    seconds: float
    max_bytes: int  # besides four times the size of the graph and its files
    parent: int  # process id


@dataclass(slots=True, frozen=True)
class Verdict:
    """How a trial ended."""

    reason: str = ""  # why the version is not served; "": it is
    is_harmful: bool = False  # it would have ended the server
    may_pass_below: bool = False  # with fewer optimizations


class Trials:
    """Finds the optimization level at which a version can be loaded."""

    def __init__(
        self,
        *,
        batching: Batching,
        provider: Provider,
        threads: int,
        seconds: float,
        max_bytes: int,
        tried: Tried | None = None,
        folder: Path | None = None,
        command: Sequence[str] = (sys.executable, "-m", "service.repository.trial_child"),
    ) -> None:
        """`seconds`, `max_bytes`: limits of one trial of a small model; `tried`: None: nothing is remembered.

        `folder`: for temporary files; None: the usual one. `command`: the child; its last argument is the
        request.
        """
        self._command = command
        self._folder = folder
        self._batching, self._provider, self._threads = batching, provider, threads
        self._seconds, self._max_bytes = seconds, max_bytes
        self._tried = tried or Tried()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._is_closed = False

    def optimization(self, folder: Path, digest: str) -> Optimization:
        """The highest level at which a version loads, by record or by trying. May run in several threads.

        `digest`: of the folder's `Snapshot`.

        Raises TrialFailure, or StartupError if the version does not fit its manifest.
        """
        with self._tried.turn(digest) as record:
            if record.level is None and not record.reason:
                self._try(folder, digest, record)
            if record.level is not None:
                return record.level
            raise TrialFailure(record.reason)

    def close(self) -> None:
        """End the trials that are running, and refuse further ones."""
        with self._lock:
            self._is_closed = True
            for child in self._running:
                child.kill()

    def _try(self, folder: Path, digest: str, record: Record) -> None:
        """Try the levels in order, until one passes. Raises StartupError if the version is at fault."""
        verdicts: list[Verdict] = []
        for level in LEVELS:
            verdicts.append(self._run(folder, digest, level))
            if not verdicts[-1].reason:
                record.level = level
                break
            if not verdicts[-1].may_pass_below:
                break
        else:
            verdicts = verdicts[:1]
        *failed, last = verdicts
        if last.reason and last.is_harmful:
            record.reason = f"{folder}: {last.reason}"
        elif last.reason:
            raise StartupError(last.reason)
        elif failed:
            logger.warning(
                "%s: %s; it is served with the optimizations %r of ONNX Runtime",
                folder,
                failed[0].reason,
                record.level,
            )

    def _run(self, folder: Path, digest: str, level: Optimization) -> Verdict:
        """Load a version in a child process."""
        seconds = self._seconds + _size(folder) / BYTES_PER_S
        request = Request(
            folder=str(folder.absolute()),
            digest=digest,
            optimization=level,
            batching=self._batching,
            provider=self._provider,
            threads=self._threads,
            seconds=seconds,
            max_bytes=self._max_bytes,
            parent=os.getpid(),
        )
        with tempfile.TemporaryDirectory(prefix="cellgate-trial-", dir=self._folder) as temporary:
            child = self._start(request, temporary)
            try:
                answer, _ = child.communicate(timeout=seconds)
            except subprocess.TimeoutExpired:
                child.kill()
                child.communicate()
                return _timed_out(seconds)
            finally:
                with self._lock:
                    self._running.discard(child)
        if self._is_closed:
            raise StartupError(f"{folder}: its trial was ended because the server stops")
        return _judge(child.returncode, answer, seconds)

    def _start(self, request: Request, temporary: str) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._is_closed:
                raise StartupError(f"{request.folder}: not tried because the server stops")
            child = subprocess.Popen(
                [*self._command, json.dumps(asdict(request))],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=_environment() | {"TMPDIR": temporary},
            )
            self._running.add(child)
        return child


def _judge(status: int, answer: bytes, seconds: float) -> Verdict:
    """What the child's exit status and its line say."""
    if status == -signal.SIGALRM:
        return _timed_out(seconds)
    if status < 0:
        return Verdict(
            f"loading it ends the process with {signal.Signals(-status).name}",
            is_harmful=True,
            may_pass_below=status != -signal.SIGKILL,
        )
    try:
        return Verdict(**json.loads(answer))
    except (ValueError, TypeError):
        return Verdict(f"its trial ended with status {status}", is_harmful=True)


def _timed_out(seconds: float) -> Verdict:
    return Verdict(f"loading it takes more than {seconds:.3g} s (model_trial_s)", is_harmful=True)


def _size(folder: Path) -> int:
    try:
        return num_bytes(folder)
    except StartupError:  # the child says what is wrong with it
        return 0


def _environment() -> dict[str, str]:
    """The child imports what this process does; it does not need the settings, some of which are secret."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    return own | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
