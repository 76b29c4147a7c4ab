"""Keeps the worker processes alive, and makes sure that they end. It knows nothing of models or sessions."""

import logging
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import wait
from pathlib import Path
from socket import socket

from uvicorn.config import STARTUP_FAILURE, Config
from uvicorn.supervisors.multiprocess import Multiprocess, Process

from service.server.heartbeat import Pulse, forget_beat, read_beat
from service.server.process import WorkerProcess, ignore_signals
from service.server.sockets import log_address

TICK_S = 0.1
START_S = 60.0  # to a worker's first answer: on a busy machine, imports take longer than a health check's 5 s
RETRY_S, MAX_RETRY_S = 1.0, 60.0  # between attempts to start a worker that could not start

logger = logging.getLogger(__name__)


class Supervisor(Multiprocess):
    """uvicorn's, with these differences.

    - A worker that dies during a health check is noticed at once, not when its answer is overdue, and its
      death is logged as a warning.
    - A worker that has yet to start has `START_S`: killed before it is up, it would never start.
    - Once all workers answer, the address is logged.
    - While a worker serves or starts, one that could not start is started again, at growing intervals.
    - A worker that does not stop within `stop_s` seconds is killed: its event loop may hang.
    - A worker that runs and whose event loop has not turned for `hang_s` seconds is killed.
    - Only SIGTERM and SIGINT have a meaning.

    `exit_status` is that of the server: 0 if a signal has asked it to stop.
    """

    def __init__(
        self,
        config: Config,
        sockets: list[socket],
        *,
        stop_s: float,
        shared: Path,
        hang_s: float,
        create_process: Callable[[Config, list[socket]], Process] = WorkerProcess,
        clock: Callable[[], float] = time.monotonic,
        count_death: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`shared`: the folder of the workers' beats; `hang_s`: 0 = a worker may hang or be stopped.

        `count_death`: called with "died" or "hung" for each worker that is replaced.
        """
        super().__init__(config, sockets)
        ignore_signals()
        self.exit_status = 0
        self._create_process = create_process
        self._clock = clock
        self._count_death = count_death
        self._hung: set[int | None] = set()  # process ids
        self._stop_s = stop_s
        self._shared = shared
        self._hang_s = hang_s
        self._pinged: set[int | None] = set()  # process ids that have yet to answer a health check
        self._pulses: dict[int, Pulse] = {}  # by process id
        self._num_failures = 0  # failed starts in a row
        self._retry_at = 0.0  # on the monotonic clock
        self._has_logged_address = False
        self._reported: set[int | None] = set()  # process ids whose failed start has been logged
        self._started: set[int | None] = set()  # process ids that have answered a health check
        self._served: set[int | None] = set()  # process ids that have served

    def run(self) -> None:
        """Supervise until a signal asks for the stop, or no worker can start."""
        try:
            super().run()
        except BaseException:  # a bug: workers without a parent would never end
            for process in self.processes:
                process.kill()
            raise

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
        if all(answers):
            self._num_failures = 0
        for place, answer in enumerate(answers):
            if answer is None and not self._replace(place, is_alone=answers.count(None) == len(answers)):
                logger.error("no worker can start: stopping")
                self.exit_status = STARTUP_FAILURE
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
        patience_s = START_S if process.pid not in self._started else self._answer_s
        deadline = self._clock() + patience_s
        try:
            if process.pid not in self._pinged:  # pings that are not read would fill the pipe
                self._pinged.add(process.pid)
                pipe.send(b"ping")
            while not (events := wait([pipe, death], TICK_S)):
                if self.signal_queue:  # signals come first; the answer is read at the next check
                    return False
                if self._clock() > deadline:
                    if process.pid in self._started and not self._hang_s:
                        return False
                    logger.warning("worker %d has not answered within %g s", process.pid, patience_s)
                    self._hung.add(process.pid)
                    return None
            if death in events:
                return None
            self._started.add(process.pid)
            is_serving = bool(pipe.recv())
            self._pinged.discard(process.pid)
            if self._hangs(process):
                self._hung.add(process.pid)
                return None
            if is_serving:
                self._served.add(process.pid)
            return is_serving
        except (OSError, EOFError):
            return None

    @property
    def _answer_s(self) -> float:
        """The time for an answer to a health check, which a thread of the worker gives."""
        return min(self.config.timeout_worker_healthcheck, self._hang_s) if self._hang_s else TICK_S

    def _hangs(self, process: Process) -> bool:
        """Whether the worker's event loop has not turned for too long."""
        if not self._hang_s or process.pid is None:
            return False
        pulse = self._pulses.setdefault(process.pid, Pulse())
        if pulse.look(read_beat(self._shared, process.pid), self._clock()) < self._hang_s:
            return False
        logger.error(
            "worker %d: its event loop has not turned for %g s (worker_hang_s)", process.pid, self._hang_s
        )
        return True

    def _forget(self, pid: int | None) -> None:
        """A process has ended; another one may get its id."""
        self._pinged.discard(pid)
        self._hung.discard(pid)
        if pid is not None:
            self._pulses.pop(pid, None)
            forget_beat(self._shared, pid)

    def _replace(self, place: int, *, is_alone: bool) -> bool:
        """Start a new worker for one that is dead or hangs, now or later; False to stop the server.

        A server that serves does not end because a worker cannot start: the start is tried again, at growing
        intervals. `is_alone`: no other worker serves or starts.
        """
        old = self.processes[place]
        old.kill()
        old.process.join()
        has_hung = old.pid in self._hung
        self._forget(old.pid)
        if old.pid not in self._served:
            has_refused = old.exitcode is not None and old.exitcode > 0  # not ended by a signal
            if has_refused and (is_alone or not self._served):
                return False
            if self._must_wait(old):
                return True
        self._count_death("hung" if has_hung else "died")
        self.processes[place] = new = self._create_process(self.config, self.sockets)
        new.start()
        logger.warning("worker %d died (%s): replaced by %d", old.pid, _cause(old), new.pid)
        return True

    def _must_wait(self, failed: Process) -> bool:
        """Whether it is too early to try a failed start again."""
        now = self._clock()
        if failed.pid not in self._reported:
            self._reported.add(failed.pid)
            self._retry_at = now + min(RETRY_S * 2**self._num_failures, MAX_RETRY_S)
            self._num_failures += 1
            logger.error(
                "worker %d could not start (%s); again in %.0f s",
                failed.pid,
                _cause(failed),
                self._retry_at - now,
            )
        return now < self._retry_at


def _cause(process: Process) -> str:
    code = process.exitcode or 0
    return signal.Signals(-code).name if code < 0 else f"exit status {code}"
