"""The workers of a server agree on the default version of each model, so that it changes for all at once.

    each worker reports its versions ─→ all have loaded a higher one ─→ it is the default from `at` on

Workers load a new version at different times. If each made it its default at once, requests without a version
would be answered by the old and the new version in turn. The reports and the agreement are one small file in
the server's shared folder; `at` is on the monotonic clock, which is the same in all processes.
It knows names and versions; it knows nothing of sessions.
"""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from service.repository.repository import Default, Repository

FILE = "rollout.json"
DELAY_S = 1.0  # between an agreement and the change: several times the interval of `follow`

Reports = dict[str, dict[str, str]]  # by name and version: "served", "retired", "loading" or "failed"


@dataclass(slots=True)
class Agreement:
    """What the workers have reported, and what follows from it."""

    workers: dict[str, Reports] = field(default_factory=dict)  # by process id
    defaults: dict[str, Default] = field(default_factory=dict)  # by model name

    @classmethod
    def parse(cls, text: bytes) -> "Agreement":
        """Read the file; an empty one is the start."""
        if not text:
            return cls()
        document: dict[str, Any] = json.loads(text)
        return cls(document["workers"], {name: Default(*each) for name, each in document["defaults"].items()})

    def decide(self, now: float, delay_s: float) -> None:
        """Choose the default of each model from the reports; a change takes effect after `delay_s`."""
        names = sorted({name for reports in self.workers.values() for name in reports})
        self.defaults = {name: each for name, each in self.defaults.items() if name in names}
        for name in names:
            reports = [worker.get(name, {}) for worker in self.workers.values()]
            current = self.defaults.get(name)
            version = _highest(reports)
            if current is None:
                if version is not None:
                    self.defaults[name] = Default(version)
                continue
            is_over = version is not None or _are_all_retired(reports)
            if is_over and version != current.version and now >= current.at:
                at = now + delay_s if len(reports) > 1 else now
                self.defaults[name] = Default(version, current.version, at)

    def others(self, pid: str) -> frozenset[tuple[str, str]]:
        """The names and versions that other workers serve or load."""
        return frozenset(
            (name, version)
            for worker, reports in self.workers.items()
            for name, versions in reports.items()
            for version, status in versions.items()
            if worker != pid and status != "failed"
        )


class Rollout:
    """One worker's part in the agreement. `follow` is to be called often; it costs little."""

    def __init__(
        self,
        repository: Repository,
        shared: Path,
        *,
        pid: int | None = None,
        clock: Callable[[], float] = time.monotonic,
        is_alive: Callable[[int], bool] | None = None,
        delay_s: float = DELAY_S,
    ) -> None:
        """`shared`: a folder of all workers; `pid`, `is_alive`: of a process, by default this one."""
        self._repository = repository
        self._path = shared / FILE
        self._pid = str(os.getpid() if pid is None else pid)
        self._clock = clock
        self._is_alive = is_alive or _is_alive
        self._delay_s = delay_s
        self._agreement = Agreement()
        self._seen: tuple[Any, ...] = ()  # the own report and the file's signature when last read

    async def follow(self) -> None:
        """Report what has changed here, and take over what has been agreed. Raises OSError."""
        report = self._repository.statuses()
        if self._seen == (report, _signature(self._path)) and self._is_settled():
            return
        with _locked(self._path.with_suffix(".lock")) as is_locked:
            if not is_locked:
                return  # another worker is writing; this one follows at its next call
            agreement = self._read()
            before = asdict(agreement)
            alive = {pid: each for pid, each in agreement.workers.items() if self._is_alive(int(pid))}
            agreement.workers = alive | {self._pid: report}
            agreement.decide(self._clock(), self._delay_s)
            if asdict(agreement) != before:
                self._write(agreement)
            self._seen = (report, _signature(self._path))
        self._agreement = agreement
        self._repository.agree(agreement.defaults, agreement.others(self._pid) - _loaded(report))

    def agreed(self, name: str) -> Default | None:
        """The agreed default of a model, as last read."""
        return self._agreement.defaults.get(name)

    def _is_settled(self) -> bool:
        """Whether nothing can follow from the death of a worker or the passing of time."""
        agreement, reports = self._agreement, list(self._agreement.workers.values())
        is_common = all(report == reports[0] for report in reports)
        return is_common and all(default.at <= self._clock() for default in agreement.defaults.values())

    def _read(self) -> Agreement:
        try:
            return Agreement.parse(self._path.read_bytes())
        except FileNotFoundError:
            return Agreement()

    def _write(self, agreement: Agreement) -> None:
        new = self._path.with_suffix(".new")
        new.write_text(json.dumps(asdict(agreement)))
        new.replace(self._path)


def _highest(reports: list[dict[str, str]]) -> str | None:
    """The highest version that every worker has dealt with, that one serves, and that has not retired."""
    versions = {version for report in reports for version in report}
    statuses = {version: {report.get(version) for report in reports} for version in versions}
    ready = [version for version, found in statuses.items() if "served" in found <= {"served", "failed"}]
    return max(ready, key=int, default=None)


def _are_all_retired(reports: list[dict[str, str]]) -> bool:
    return all(status in ("retired", "failed") for report in reports for status in report.values())


def _loaded(report: Reports) -> set[tuple[str, str]]:
    return {
        (name, version)
        for name, versions in report.items()
        for version, status in versions.items()
        if status in ("served", "retired")
    }


def _signature(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Whether the lock was free. It is never waited for: its holder may be stopped."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(fd)
