"""Keeps the worker processes alive, and makes sure that they end. It knows nothing of models or sessions."""

import logging
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import wait
from socket import socket

from uvicorn.config import STARTUP_FAILURE, Config
from uvicorn.supervisors.multiprocess import Multiprocess, Process

from service.server.sockets import log_address

TICK_S = 0.1
START_S = 60.0  # to a worker's first answer: on a busy machine, imports take longer than a health check's 5 s
RETRY_S, MAX_RETRY_S = 1.0, 60.0  # between attempts to start a worker that could not start

logger = logging.getLogger(__name__)


class Supervisor(Multiprocess):
    """uvicorn's, with five differences.

    - A worker that dies during a health check is noticed at once, not when its answer is overdue, and its
      death is logged as a warning.
    - A worker that has yet to start has `START_S`: killed before it is up, it would never start.
    - Once all workers answer, the address is logged.
    - Once a worker serves, others start with the configuration `later`, which leaves out faulty models; a
      worker that fails to start meanwhile is started again.
    - A worker that does not stop within `stop_s` seconds is killed: its event loop may hang.
    """

    def __init__(
        self,
        config: Config,
        sockets: list[socket],
        *,
        later: Config,
        stop_s: float,
        create_process: Callable[[Config, list[socket]], Process] = Process,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(config, sockets)
        self._create_process = create_process
        self._clock = clock
        self._later = later
        self._stop_s = stop_s
        self._has_served = False
        self._num_failures = 0  # failed starts in a row
        self._retry_at = 0.0  # on the monotonic clock
        self._has_logged_address = False
        self._reported: set[int | None] = set()  # process ids whose failed start has been logged
        self._started: set[int | None] = set()  # process ids that have answered a health check

    @property
    def could_not_start(self) -> bool:
        """Whether no worker ever served."""
        return not self._has_served and any(process.exitcode == STARTUP_FAILURE for process in self.processes)

    def init_processes(self) -> None:
        """Start the first workers."""
        for _ in range(self.processes_num):
            self.processes.append(self._create_process(self.config, self.sockets))
            self.processes[-1].start()

    def keep_subprocess_alive(self) -> None:
        """Replace workers that died or hang; stop if none can start."""
        if self.should_exit.is_set():
            return
        answers = [self._check(process) for process in self.processes]
        self._has_served = self._has_served or any(answers)
        if all(answers):
            self._num_failures = 0
        for place, answer in enumerate(answers):
            if answer is None and not self._replace(place, is_alone=not any(answers)):
                self.should_exit.set()
                return
        if all(answers) and not self._has_logged_address:
            self._has_logged_address = True
            log_address(self.sockets[0])

    def join_all(self) -> None:
        """Wait until all workers have ended; a second signal is passed on to them."""
        deadline = self._clock() + self._stop_s
        while running := [process for process in self.processes if process.exitcode is None]:
            if self._clock() > deadline:
                for process in running:
                    logger.warning("worker %d has not stopped within %g s: killed", process.pid, self._stop_s)
                    process.kill()
                    process.process.join()
            if {signal.SIGTERM, signal.SIGINT} & set(self.signal_queue):
                for process in running:
                    process.terminate()
            self.signal_queue.clear()
            wait([process.process.sentinel for process in running], TICK_S)

    def _check(self, process: Process) -> bool | None:
        """Whether a worker serves; None when it is dead or hangs."""
        pipe, death = process.parent_conn, process.process.sentinel
        patience_s = self.config.timeout_worker_healthcheck if process.pid in self._started else START_S
        deadline = self._clock() + patience_s
        try:
            pipe.send(b"ping")
            while not (events := wait([pipe, death], TICK_S)):
                if self.signal_queue:  # signals come first; the answer is read at the next check
                    return False
                if self._clock() > deadline:
                    logger.warning("worker %d has not answered within %g s", process.pid, patience_s)
                    return None
            if death in events:
                return None
            self._started.add(process.pid)
            return bool(pipe.recv())
        except (OSError, EOFError):
            return None

    def _replace(self, place: int, *, is_alone: bool) -> bool:
        """Start a new worker for one that is dead or hangs, now or later; False to stop the server.

        A server that serves does not end because a worker cannot start: the start is tried again, at growing
        intervals. `is_alone`: no other worker answers.
        """
        old = self.processes[place]
        old.kill()
        old.process.join()
        if old.exitcode == STARTUP_FAILURE:
            if is_alone or not self._has_served:
                logger.error("worker %d could not start: stopping", old.pid)
                return False
            if self._must_wait(old):
                return True
        config = self._later if self._has_served else self.config
        self.processes[place] = new = self._create_process(config, self.sockets)
        new.start()
        logger.warning("worker %d died (%s): replaced by %d", old.pid, _cause(old), new.pid)
        return True

    def _must_wait(self, failed: Process) -> bool:
        """Whether it is too early to try a failed start again."""
        now = self._clock()
        if failed.config is self._later and failed.pid not in self._reported:
            self._reported.add(failed.pid)
            self._retry_at = now + min(RETRY_S * 2**self._num_failures, MAX_RETRY_S)
            self._num_failures += 1
            logger.error("worker %d could not start; again in %.0f s", failed.pid, self._retry_at - now)
        return now < self._retry_at


def _cause(process: Process) -> str:
    code = process.exitcode or 0
    return signal.Signals(-code).name if code < 0 else f"exit status {code}"
