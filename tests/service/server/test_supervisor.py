"""The supervisor, with workers that are objects: who is replaced, when, and when the server gives up."""

import itertools
import os
import signal
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing import Pipe
from pathlib import Path
from typing import Any, cast

import pytest
import uvicorn
from uvicorn.config import STARTUP_FAILURE

from service.server.process import IGNORED
from service.server.sockets import WorkerSocket
from service.server.supervisor import MAX_RETRY_S, Supervisor


class Sentinel:
    """What the operating system shows of a process: its sentinel becomes readable when it ends."""

    def __init__(self) -> None:
        self.sentinel, self._end = os.pipe()

    def end(self) -> None:
        if self._end >= 0:
            os.close(self._end)
            self._end = -1

    def join(self) -> None:
        assert self._end < 0, "joined while it runs"


@dataclass
class FakeProcess:
    """A worker that answers health checks until it ends or hangs."""

    config: uvicorn.Config
    pid: int
    fails_to_start: bool = False
    hangs: bool = False
    exitcode: int | None = None
    signals: list[str] = field(default_factory=list)
    process: Sentinel = field(default_factory=Sentinel)

    def __post_init__(self) -> None:
        self.parent_conn, self._child = Pipe()
        self.started = False

    def start(self) -> None:
        self.started = True
        if self.fails_to_start:
            self.end(STARTUP_FAILURE)

    def answer(self) -> None:
        """The reply to the next health check, unless it has ended or hangs."""
        while self._child.poll():
            self._child.recv()  # the pings before
        if self.exitcode is None and not self.hangs:
            self._child.send(True)

    def end(self, exitcode: int) -> None:
        self.exitcode = exitcode
        self.process.end()

    def terminate(self) -> None:
        self.signals.append("TERM")

    def kill(self) -> None:
        self.signals.append("KILL")
        self.end(-signal.SIGKILL if self.exitcode is None else self.exitcode)


class Clock:
    """Moves by `step_s` whenever it is read, so that nothing waits for long."""

    def __init__(self) -> None:
        self.now, self.step_s = 100.0, 0.001

    def __call__(self) -> float:
        self.now += self.step_s
        return self.now


async def nothing(_scope: Any, _receive: Any, _send: Any) -> None:
    """An application that is never called."""


@dataclass
class Bench:
    """A supervisor of two workers, and all the workers it has ever started."""

    supervisor: Supervisor
    workers: list[FakeProcess]
    clock: Clock
    failing: list[bool]  # while not empty, workers fail to start
    shared: Path
    deaths: list[str]  # their causes

    def beat(self, worker: FakeProcess, count: int) -> None:
        """The event loop of a worker has turned."""
        (self.shared / f"beat-{worker.pid}").write_bytes(struct.pack("=Q", count))

    def check(self) -> None:
        """One round of health checks."""
        for process in self.supervisor.processes:
            cast(FakeProcess, process).answer()
        self.supervisor.keep_subprocess_alive()

    @property
    def pids(self) -> list[int | None]:
        return [process.pid for process in self.supervisor.processes]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    handlers = {
        number: signal.getsignal(number) for number in signal.valid_signals() if number not in (9, 19)
    }
    config = uvicorn.Config(cast(Any, nothing), workers=2, timeout_worker_healthcheck=1)
    workers: list[FakeProcess] = []
    failing: list[bool] = []
    clock = Clock()

    def create(config: uvicorn.Config, _sockets: object) -> Any:
        workers.append(FakeProcess(config, 100 + len(workers), bool(failing)))
        return workers[-1]

    address = WorkerSocket.reserve("127.0.0.1", 0)
    deaths: list[str] = []
    supervisor = Supervisor(
        config,
        [address],
        stop_s=5,
        shared=tmp_path,
        hang_s=8,
        create_process=create,
        clock=clock,
        count_death=deaths.append,
    )
    supervisor.init_processes()
    yield Bench(supervisor, workers, clock, failing, tmp_path, deaths)
    address.close()
    for number, handler in handlers.items():
        if handler is not None:
            signal.signal(number, handler)


def test_the_address_is_logged_once_when_all_workers_serve(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    bench.check()
    bench.check()
    assert [record.message for record in caplog.records if "listening" in record.message] == [
        caplog.records[0].message
    ]
    assert bench.pids == [100, 101] and bench.supervisor.exit_status == 0


def test_a_worker_that_dies_is_replaced(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.check()
    bench.workers[0].end(-signal.SIGKILL)
    bench.check()
    assert bench.pids == [102, 101]
    assert bench.workers[2].started
    assert "worker 100 died (SIGKILL): replaced by 102" in caplog.text
    assert bench.deaths == ["died"]


def test_a_worker_that_hangs_is_killed_and_replaced(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.check()
    bench.clock.step_s = 10.0  # longer than the second that a worker has for its answer
    bench.workers[0].hangs = True
    bench.check()
    assert bench.workers[0].signals == ["KILL"] and bench.pids == [102, 101]
    assert "worker 100 has not answered within 1 s" in caplog.text
    assert bench.deaths == ["hung"]


def test_a_worker_whose_event_loop_does_not_turn_is_killed(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """A thread of it still answers health checks: it stayed, and its clients waited for ever."""
    bench.beat(bench.workers[0], 1)
    for number in range(20):
        bench.beat(bench.workers[1], number)
        bench.check()
        bench.clock.now += 0.6
    assert bench.workers[0].signals == ["KILL"] and bench.pids == [102, 101]
    assert "worker 100: its event loop has not turned for 8 s" in caplog.text
    assert bench.deaths == ["hung"]
    assert not (bench.shared / "beat-100").exists(), "another process may get its id"


def test_a_worker_that_has_yet_to_start_or_has_stopped_needs_no_beats(bench: Bench) -> None:
    for _ in range(20):
        bench.check()
        bench.clock.now += 10
    assert bench.pids == [100, 101]


def test_a_worker_may_be_stopped_where_that_is_allowed(bench: Bench) -> None:
    """By a debugger. Its checks do not fill the pipe, and the other worker is still replaced."""
    bench.supervisor._hang_s = 0
    bench.check()
    bench.workers[0].hangs = True
    bench.clock.step_s = 10.0
    for worker in bench.workers:
        bench.beat(worker, 1)
    for _ in range(5):
        bench.supervisor.keep_subprocess_alive()
    unread = 0
    while bench.workers[0]._child.poll():
        assert bench.workers[0]._child.recv() == b"ping"
        unread += 1
    assert bench.pids == [100, 101] and unread == 2, "one that was answered, and one that is not"
    bench.workers[1].end(-signal.SIGKILL)
    bench.check()
    assert bench.pids == [100, 102]


def test_a_server_whose_first_workers_cannot_start_stops(bench: Bench) -> None:
    for worker in bench.workers:
        worker.end(STARTUP_FAILURE)
    bench.check()
    assert bench.supervisor.should_exit.is_set() and bench.supervisor.exit_status == STARTUP_FAILURE


def test_a_server_that_serves_tries_a_failed_start_again_at_growing_intervals(bench: Bench) -> None:
    bench.check()
    bench.failing.append(True)
    bench.workers[0].end(-signal.SIGKILL)
    starts: list[float] = []
    while len(starts) < 9:
        before = len(bench.workers)
        bench.check()
        starts += [bench.clock.now] * (len(bench.workers) - before)
        bench.clock.now += 0.5
    intervals = [round(later - earlier, 1) for earlier, later in itertools.pairwise(starts)]
    assert not bench.supervisor.should_exit.is_set() and bench.supervisor.exit_status == 0
    assert intervals == sorted(intervals) and 1 <= intervals[0] < 3
    assert MAX_RETRY_S <= intervals[-1] < MAX_RETRY_S + 2
    bench.failing.clear()
    bench.clock.now += 2 * MAX_RETRY_S
    bench.check()
    assert bench.pids == [bench.workers[-1].pid, 101], "once it can start, it serves"


def test_a_server_that_no_worker_serves_any_more_does_not_end_as_if_it_was_asked_to(bench: Bench) -> None:
    """Its exit status was 0, so a process manager did not start it again."""
    bench.check()
    bench.failing.append(True)
    for worker in bench.workers[:2]:
        worker.end(-signal.SIGKILL)
    bench.check()
    bench.check()
    assert bench.supervisor.should_exit.is_set() and bench.supervisor.exit_status == STARTUP_FAILURE


def test_a_start_that_another_process_kills_is_tried_again(bench: Bench) -> None:
    bench.workers[0].end(-signal.SIGKILL)
    bench.check()
    assert bench.pids == [100, 101], "not at once: it may be short of memory"
    bench.clock.now += 2
    bench.check()
    assert bench.pids == [102, 101] and bench.supervisor.exit_status == 0


@pytest.mark.parametrize("number", IGNORED)
def test_signals_without_a_meaning_change_nothing(bench: Bench, number: int) -> None:
    """SIGTTOU took a worker away, SIGTTIN added one, and SIGHUP ended a server of one process."""
    bench.check()
    os.kill(os.getpid(), number)
    bench.supervisor.handle_signals()
    bench.check()
    assert bench.pids == [100, 101] and len(bench.workers) == 2
    assert not any(worker.signals for worker in bench.workers)


def test_a_bug_in_the_supervisor_leaves_no_worker_behind(bench: Bench) -> None:
    def fail() -> None:
        raise KeyError("bug")

    bench.supervisor.keep_subprocess_alive = fail  # type: ignore[method-assign]
    bench.supervisor.init_processes = lambda: None  # type: ignore[method-assign]
    with pytest.raises(KeyError, match="bug"):
        bench.supervisor.run()
    assert [worker.signals for worker in bench.workers] == [["KILL"], ["KILL"]]


def test_workers_that_do_not_stop_are_killed(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.workers[0].end(0)
    bench.clock.step_s = 10.0  # longer than `stop_s`
    bench.supervisor.join_all()
    assert bench.workers[0].signals == [] and bench.workers[1].signals == ["KILL"]
    assert "worker 101 has not stopped within 5 s: killed" in caplog.text


def test_a_second_signal_is_passed_on_to_the_workers(bench: Bench) -> None:
    bench.supervisor.signal_queue.append(signal.SIGTERM)
    stop = bench.workers[1].terminate

    def terminate() -> None:
        stop()
        bench.workers[1].end(0)

    bench.workers[0].end(0)
    bench.workers[1].terminate = terminate  # type: ignore[method-assign]
    bench.supervisor.join_all()
    assert bench.workers[1].signals == ["TERM"]
