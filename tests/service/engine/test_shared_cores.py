"""Two workers share cores by locks that are fair, and that the kernel releases when a process dies."""

import fcntl
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from service.engine.shared_cores import IDLE_S, Cores, WorkerSlot

pytestmark = pytest.mark.skipif(
    len(os.sched_getaffinity(0)) < 2, reason="this machine has no second core to share"
)

# Another process: holds the cores that its argument names until its input ends.
HOLD = """
import sys
from pathlib import Path
from service.engine.shared_cores import WorkerSlot
slot = WorkerSlot(Path(sys.argv[1]), 2)
cores = slot.open_cores()
hold = {"both": cores.hold_both, "own": cores.hold_own, "the other": lambda: cores.borrow().in_use()}
with hold[sys.argv[2]]():
    print("holds", flush=True)
    sys.stdin.read()
"""


def hold(folder: Path, what: str) -> "subprocess.Popen[bytes]":
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder), what], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"holds\n"
    return process


def open_pair(folder: Path, clock: Callable[[], float] = time.monotonic) -> tuple[Cores, Cores]:
    """The cores of two workers. The locks belong to open files, so that one process can be both workers."""
    return Cores(folder, 0, 0, clock=clock), Cores(folder, 0, 1, clock=clock)


class Holder(threading.Thread):
    """Holds cores until `finish`."""

    def __init__(self, cores: Cores, *, both: bool) -> None:
        super().__init__(daemon=True)
        self.cores, self.both = cores, both
        self.has_cores, self.is_finished = threading.Event(), threading.Event()
        self.start()

    def run(self) -> None:
        with self.cores.hold_both() if self.both else self.cores.hold_own():
            self.has_cores.set()
            assert self.is_finished.wait(60)

    def finish(self) -> None:
        self.is_finished.set()
        self.join(60)
        assert not self.is_alive()


def is_waiting(holder: Holder) -> bool:
    return not holder.has_cores.wait(0.05)


def test_each_computes_on_its_own_core_beside_the_other(tmp_path: Path) -> None:
    mine, theirs = (Holder(cores, both=False) for cores in open_pair(tmp_path))
    assert mine.has_cores.wait(60)
    assert theirs.has_cores.wait(60)
    mine.finish()
    theirs.finish()


@pytest.mark.parametrize(("first", "second"), [(True, True), (True, False), (False, True)])
def test_a_call_on_both_cores_is_alone(tmp_path: Path, first: bool, second: bool) -> None:
    mine, theirs = open_pair(tmp_path)
    holder = Holder(mine, both=first)
    assert holder.has_cores.wait(60)
    waiter = Holder(theirs, both=second)
    assert is_waiting(waiter)
    holder.finish()
    assert waiter.has_cores.wait(60)
    waiter.finish()


@pytest.mark.parametrize("both", [True, False])
def test_a_waiting_worker_is_next_however_soon_the_other_returns(tmp_path: Path, both: bool) -> None:
    mine, theirs = open_pair(tmp_path)
    for _ in range(20):
        holder = Holder(mine, both=True)
        assert holder.has_cores.wait(60)
        waiter = Holder(theirs, both=both)
        while not is_queue_locked(
            tmp_path, 1 - int(both)
        ):  # it waits with the queue lock; for both cores, with that of the first
            pass
        again = Holder(mine, both=True)
        holder.finish()
        assert waiter.has_cores.wait(60)
        assert not again.has_cores.is_set()
        waiter.finish()
        assert again.has_cores.wait(60)
        again.finish()


def is_queue_locked(folder: Path, core: int) -> bool:
    with (folder / f"queue-0-{core}").open() as queue:
        try:
            fcntl.flock(queue, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def test_a_thread_that_holds_a_core_is_pinned_to_its_cpus_and_only_meanwhile(tmp_path: Path) -> None:
    mine, theirs = open_pair(tmp_path)
    before = os.sched_getaffinity(0)
    assert set(mine.own_cpus) | set(mine.other_cpus) == before
    assert not set(mine.own_cpus) & set(mine.other_cpus)
    assert (mine.own_cpus, mine.other_cpus) == (theirs.other_cpus, theirs.own_cpus)
    with pytest.raises(RuntimeError, match="of the model"), mine.hold_both():
        assert os.sched_getaffinity(0) == set(mine.own_cpus)
        raise RuntimeError("of the model")
    assert os.sched_getaffinity(0) == before
    with theirs.hold_own():
        assert os.sched_getaffinity(0) == set(theirs.own_cpus)


@pytest.mark.parametrize("what", ["both", "own", "the other"])
def test_a_killed_worker_releases_its_cores_and_its_slot(tmp_path: Path, what: str) -> None:
    killed = hold(tmp_path, what)
    slot = WorkerSlot(tmp_path, 2)
    cores = slot.open_cores()
    assert cores is not None
    assert WorkerSlot(tmp_path, 2).open_cores() is None, "both slots are taken"
    waiter = Holder(cores, both=True)
    assert is_waiting(waiter)
    killed.kill()
    killed.communicate()
    assert waiter.has_cores.wait(60)
    waiter.finish()
    successor = WorkerSlot(tmp_path, 2).open_cores()
    assert successor is not None
    assert successor.own_cpus != cores.own_cpus, "it has the slot of the killed worker"


def test_a_core_is_borrowed_only_while_its_owner_is_idle(tmp_path: Path) -> None:
    now = 1000.0
    mine, theirs = open_pair(tmp_path, clock=lambda: now)
    core = mine.borrow()
    assert core is not None
    assert mine.borrow() is None, "it is borrowed already"
    with core.in_use():
        assert os.sched_getaffinity(0) == set(mine.other_cpus)
        owner = Holder(theirs, both=False)
        assert is_waiting(owner)
        assert mine.borrow() is None
    assert owner.has_cores.wait(60)
    assert mine.borrow() is None, "its owner computes"
    owner.finish()
    theirs.mark_busy()
    assert mine.borrow() is None, "its owner has just computed"
    mine.mark_busy()
    now += IDLE_S * 1.01
    core = mine.borrow()
    assert core is not None
    with core.in_use():
        pass


def test_without_permission_to_choose_cpus_a_thread_runs_on_any(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, _ = open_pair(tmp_path)
    before = os.sched_getaffinity(0)

    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr("os.sched_setaffinity", refuse)
    with mine.hold_both():
        assert os.sched_getaffinity(0) == before
    monkeypatch.undo()
    mine.own_cpus[:] = [1000]  # no longer there: the container has other CPUs now
    with mine.hold_own():
        assert os.sched_getaffinity(0) == before


def test_a_borrowed_core_can_be_released_unused_and_only_once(tmp_path: Path) -> None:
    mine, theirs = open_pair(tmp_path)
    core = mine.borrow()
    assert core is not None
    core.release()
    with theirs.hold_own():
        core.release()  # not borrowed any more
        assert mine.borrow() is None


def test_a_single_cpu_is_not_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slot = WorkerSlot(tmp_path, 2)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {3})
    assert slot.open_cores() is None


def test_an_owner_that_waits_for_its_borrowed_core_is_next(tmp_path: Path) -> None:
    mine, theirs = open_pair(tmp_path)
    core = mine.borrow()
    assert core is not None
    owner = Holder(theirs, both=False)
    while not is_queue_locked(tmp_path, 1):
        pass
    with core.in_use():
        pass
    assert mine.borrow() is None
    assert owner.has_cores.wait(60)
    owner.finish()


def test_holding_both_cores_waits_for_a_core_that_the_same_worker_borrowed(tmp_path: Path) -> None:
    mine, _ = open_pair(tmp_path)
    core = mine.borrow()
    assert core is not None
    holder = Holder(mine, both=True)
    assert is_waiting(holder)
    with core.in_use():
        pass
    assert holder.has_cores.wait(60)
    holder.finish()


def test_workers_are_paired_two_by_two_and_the_last_of_an_odd_number_is_alone(tmp_path: Path) -> None:
    slots = [WorkerSlot(tmp_path, 5) for _ in range(5)]
    cores = [slot.open_cores() for slot in slots]
    assert cores[4] is None
    first, second, third, fourth = (Holder(each, both=True) for each in cores if each is not None)
    assert first.has_cores.wait(60)
    assert third.has_cores.wait(60)
    assert is_waiting(second)
    assert is_waiting(fourth)
    for holder in (first, second, third, fourth):
        holder.finish()


def test_models_of_one_worker_wait_for_each_other_too(tmp_path: Path) -> None:
    slot = WorkerSlot(tmp_path, 2)
    one, other = slot.open_cores(), slot.open_cores()
    assert one is not None
    assert other is not None
    holder = Holder(one, both=True)
    assert holder.has_cores.wait(60)
    waiter = Holder(other, both=True)
    assert is_waiting(waiter)
    holder.finish()
    waiter.finish()
