"""The workers of a server agree on which versions answer, so that a change happens for all at once.

    each worker reports its versions and policies ─→ all have loaded a version ─→ it answers from `at` on

Workers load a new version at different times. If each made it its default at once, requests without a version
would be answered by the old and the new version in turn. The reports and the agreement are one small file in
the server's shared folder; `at` is on the monotonic clock, which is the same in all processes.
It knows names and versions; it knows nothing of sessions.
"""

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from service import shared_memory
from service.file_lock import try_lock
from service.repository.agreement import Agreement, Report, Reports
from service.repository.choice import Agreed
from service.repository.policy import Policies, Policy
from service.repository.repository import Key, Repository

FILE = "rollout.json"
JOIN_EVERY_S, JOIN_TRIES = 0.02, 500
DELAY_S = 1.0  # between an agreement and the change: several times the interval of `follow`

logger = logging.getLogger(__name__)


class Rollout:
    """One worker's part in the agreement. `follow` is to be called often; it costs little."""

    def __init__(
        self,
        repository: Repository,
        policies: Policies,
        shared: Path,
        *,
        pid: int | None = None,
        clock: Callable[[], float] = time.monotonic,
        is_alive: Callable[[int], bool] | None = None,
        delay_s: float = DELAY_S,
    ) -> None:
        """`shared`: a folder of all workers; `pid`, `is_alive`: of a process, by default this one."""
        self._repository = repository
        self._policies = policies
        self._path = shared / FILE
        self._pid = str(os.getpid() if pid is None else pid)
        self._clock = clock
        self._is_alive = is_alive or _is_alive
        self._delay_s = delay_s
        self._agreement = Agreement()
        self._seen: tuple[Any, ...] = ()  # the own report and the file's signature when last read
        self._decided_at = -1.0
        repository.read_expected = self.expected

    async def follow(self) -> bool:
        """Report what has changed here, and take over what has been agreed; whether that was possible.

        Raises OSError.
        """
        report = self._report()
        if self._seen == (report, _signature(self._path)) and self._is_settled():
            return True
        if self._has_another_policy(report):
            await asyncio.to_thread(self._policies.read)
            report = self._report()
        with _locked(self._path.with_suffix(".lock")) as is_locked:
            if not is_locked:
                return False  # another worker is writing; this one follows at its next call
            before = self._read()
            agreement = Agreement.parse(before)
            alive = {pid: each for pid, each in agreement.workers.items() if self._is_alive(int(pid))}
            agreement.workers = alive | {self._pid: report}
            self._decided_at = self._clock()
            agreement.decide(self._decided_at, self._delay_s)
            after = agreement.pack()
            if after != before:
                self._write(after)
            self._seen = (report, _signature(self._path))
        self._agreement = agreement
        self._repository.agree(agreement.models)
        return True

    async def join(self) -> None:
        """Report and follow, also if another worker is writing just now. Raises OSError."""
        for _ in range(JOIN_TRIES):
            if await self.follow():
                return
            await asyncio.sleep(JOIN_EVERY_S)
        logger.warning("the workers' agreement on versions is locked by a worker that does not respond")

    def expected(self) -> frozenset[Key]:
        """The versions that other workers have reported, up to now, to serve or load."""
        agreement = self._agreement
        with contextlib.suppress(OSError):  # `follow` reports it
            if self._seen[1:] != (_signature(self._path),):
                agreement = Agreement.parse(self._read())
        return agreement.others(self._pid)

    def agreed(self, name: str) -> Agreed | None:
        """The agreed choice of a model's versions, as last read."""
        return self._agreement.models.get(name)

    def policy(self, name: str) -> Policy | None:
        """The policy that the agreed choice follows from."""
        return self._agreement.policies.get(name)

    def is_in_effect(self, name: str) -> bool:
        """Whether the agreed choice holds already."""
        agreed = self.agreed(name)
        return agreed is not None and agreed.at <= self._clock()

    def _report(self) -> Reports:
        statuses = self._repository.statuses()
        reports: Reports = {}
        for name in sorted({*statuses, *self._policies.names()}):
            policy = self._policies.get(name)
            reports[name] = Report(statuses.get(name, {}), None if policy is None else policy.model_dump())
        return reports

    def _has_another_policy(self, report: Reports) -> bool:
        """Whether another worker has read a policy that differs from this one's, which may be older."""
        try:
            agreement = Agreement.parse(self._read())
        except OSError:
            return False
        return any(
            other.policy != report[name].policy
            for pid, reports in agreement.workers.items()
            for name, other in reports.items()
            if pid != self._pid and name in report
        )

    def _is_settled(self) -> bool:
        """Whether nothing can follow from the death of a worker or the passing of time."""
        agreement, reports = self._agreement, list(self._agreement.workers.values())
        is_common = all(report == reports[0] for report in reports)
        return is_common and all(agreed.at <= self._decided_at for agreed in agreement.models.values())

    def _read(self) -> bytes:
        try:
            return self._path.read_bytes()
        except FileNotFoundError:
            return b""

    def _write(self, text: bytes) -> None:
        new = self._path.with_suffix(".new")
        new.write_bytes(text)
        new.replace(self._path)


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
    fd = shared_memory.open_file(path)
    try:
        yield try_lock(fd)
    finally:
        os.close(fd)
