"""Keeps the worker processes alive, and sees to it that they end. It knows nothing of models or sessions."""

import logging
import signal
import time
from multiprocessing.connection import wait
from socket import socket

from uvicorn.config import STARTUP_FAILURE, Config
from uvicorn.supervisors.multiprocess import Multiprocess, Process

TICK_S = 0.1
START_S = (
    60.0  # to the first answer: a busy machine takes more than the health check's 5 to import everything
)
RETRY_S, MAX_RETRY_S = 1.0, 60.0  # between attempts to start a worker that cannot

logger = logging.getLogger(__name__)


class Supervisor(Multiprocess):
    """uvicorn's, with five differences.

    - A worker that dies while it is asked how it is is noticed at once, not when the answer is overdue; that
      it died is a warning.
    - A worker that has yet to start is given `START_S`: killed before it is up, it would never be.
    - Once all workers answer, it is said where they listen.
    - Once a worker serves, others start by the configuration `later`, which is not to stumble over what has
      come since; one that was just starting, and stumbled, is started again.
    - A worker that does not stop within `stop_s` seconds is killed: its event loop may hang.
    """

    def __init__(self, config: Config, sockets: list[socket], *, later: Config, stop_s: float) -> None:
        super().__init__(config, sockets)
        self._later = later
        self._stop_s = stop_s
        self._has_served = False
        self._failures = 0  # of workers in a row to start
        self._retry_at = 0.0  # on the monotonic clock
        self._has_told_address = False
        self._mourned: set[int | None] = set()  # of those that could not start
        self._met: set[int | None] = set()  # process ids of workers that have answered

    @property
    def could_not_start(self) -> bool:
        """Whether the server never came to serve anything."""
        return not self._has_served and any(process.exitcode == STARTUP_FAILURE for process in self.processes)

    def keep_subprocess_alive(self) -> None:
        """Replace workers that died or hang; give up if one could not start."""
        if self.should_exit.is_set():
            return
        answers = [self._ask(process) for process in self.processes]
        self._has_served = self._has_served or any(answers)
        if all(answers):
            self._failures = 0
        for place, answer in enumerate(answers):
            if answer is None and not self._replace(place, is_alone=not any(answers)):
                self.should_exit.set()
                return
        if all(answers) and not self._has_told_address:
            self._has_told_address = True
            tell_address(self.sockets[0])

    def join_all(self) -> None:
        """Wait until all workers have ended; a second signal is passed on to them."""
        deadline = time.monotonic() + self._stop_s
        while running := [process for process in self.processes if process.exitcode is None]:
            if time.monotonic() > deadline:
                for process in running:
                    logger.warning("worker %d has not stopped within %g s: killed", process.pid, self._stop_s)
                    process.kill()
                    process.process.join()
            if {signal.SIGTERM, signal.SIGINT} & set(self.signal_queue):
                for process in running:
                    process.terminate()
            self.signal_queue.clear()
            wait([process.process.sentinel for process in running], TICK_S)

    def _ask(self, process: Process) -> bool | None:
        """Whether a worker serves; None when it is dead or hangs."""
        pipe, death = process.parent_conn, process.process.sentinel
        patience_s = self.config.timeout_worker_healthcheck if process.pid in self._met else START_S
        deadline = time.monotonic() + patience_s
        try:
            pipe.send(b"ping")
            while not (heard := wait([pipe, death], TICK_S)):
                if self.signal_queue:  # to be heeded first; the answer will be there the next time
                    return False
                if time.monotonic() > deadline:
                    logger.warning("worker %d has not answered within %g s", process.pid, patience_s)
                    return None
            if death in heard:
                return None
            self._met.add(process.pid)
            return bool(pipe.recv())
        except (OSError, EOFError):
            return None

    def _replace(self, place: int, *, is_alone: bool) -> bool:
        """Put a new worker in the place of one that is dead or hangs, now or later; False to give up.

        A server that serves does not end because a worker cannot start: that is tried again, more and more
        seldom. `is_alone`: no other worker answers.
        """
        old = self.processes[place]
        old.kill()
        old.process.join()
        if old.exitcode == STARTUP_FAILURE:
            if is_alone or not self._has_served:
                logger.error("worker %d could not start: stopping", old.pid)
                return False
            if self._has_to_wait(old):
                return True
        config = self._later if self._has_served else self.config
        self.processes[place] = new = Process(config, self.sockets)
        new.start()
        logger.warning("worker %d died (%s): %d takes its place", old.pid, _cause(old), new.pid)
        return True

    def _has_to_wait(self, failed: Process) -> bool:
        """Whether it is too early to try again what a worker could not do."""
        now = time.monotonic()
        if failed.config is self._later and failed.pid not in self._mourned:
            self._mourned.add(failed.pid)
            self._retry_at = now + min(RETRY_S * 2**self._failures, MAX_RETRY_S)
            self._failures += 1
            logger.error("worker %d could not start; again in %.0f s", failed.pid, self._retry_at - now)
        return now < self._retry_at


def tell_address(bound: socket) -> None:
    """Say in the log where requests are answered from now on."""
    host, port = bound.getsockname()[:2]
    logger.info("listening on http://%s:%d", f"[{host}]" if ":" in host else host, port)


def _cause(process: Process) -> str:
    code = process.exitcode or 0
    return signal.Signals(-code).name if code < 0 else f"exit status {code}"
