"""Neighbouring workers share cores by locks that no death leaves closed, and nobody jumps the queue."""

import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from service.app import Cellgate
from service.engine.cores import QUIET_S, Cores, Seat
from service.http.keys import new_key
from service.settings import Settings

pytestmark = pytest.mark.skipif(
    len(os.sched_getaffinity(0)) < 2, reason="this machine has no second core to share"
)

# Another process: takes what it is told to, says so, and holds it until its input ends.
HOLD = """
import sys
from pathlib import Path
from service.engine.cores import Seat
seat = Seat(Path(sys.argv[1]), 2)
cores = seat.cores()
take = {"both": cores.take_both, "own": cores.take_own, "the other": lambda: cores.borrow().used()}
with take[sys.argv[2]]():
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


def neighbours(folder: Path) -> tuple[Cores, Cores]:
    """Those of two workers. The locks are of open files, not of processes: one process can play both."""
    return Cores(folder, 0, 0), Cores(folder, 0, 1)


class Taker(threading.Thread):
    """Takes cores, and holds them until it is told to let go."""

    def __init__(self, cores: Cores, *, both: bool) -> None:
        super().__init__(daemon=True)
        self.cores, self.both = cores, both
        self.has_them, self.let_go = threading.Event(), threading.Event()
        self.start()

    def run(self) -> None:
        with self.cores.take_both() if self.both else self.cores.take_own():
            self.has_them.set()
            assert self.let_go.wait(10)

    def finish(self) -> None:
        self.let_go.set()
        self.join(10)
        assert not self.is_alive()


def is_waiting(taker: Taker) -> bool:
    return not taker.has_them.wait(0.05)


def test_each_computes_on_its_own_core_beside_the_other(tmp_path: Path) -> None:
    mine, theirs = (Taker(cores, both=False) for cores in neighbours(tmp_path))
    assert mine.has_them.wait(10)
    assert theirs.has_them.wait(10)
    mine.finish()
    theirs.finish()


@pytest.mark.parametrize(("first", "second"), [(True, True), (True, False), (False, True)])
def test_a_call_on_both_cores_is_alone(tmp_path: Path, first: bool, second: bool) -> None:
    mine, theirs = neighbours(tmp_path)
    holder = Taker(mine, both=first)
    assert holder.has_them.wait(10)
    waiter = Taker(theirs, both=second)
    assert is_waiting(waiter)
    holder.finish()
    assert waiter.has_them.wait(10)
    waiter.finish()


@pytest.mark.parametrize("both", [True, False])
def test_whoever_waits_is_next_however_soon_the_other_comes_again(tmp_path: Path, both: bool) -> None:
    mine, theirs = neighbours(tmp_path)
    for _ in range(20):
        holder = Taker(mine, both=True)
        assert holder.has_them.wait(10)
        waiter = Taker(theirs, both=both)
        while not is_door_shut(tmp_path, 1 - int(both)):  # it waits in the door; who wants both, in the first
            pass
        again = Taker(mine, both=True)
        holder.finish()
        assert waiter.has_them.wait(10)
        assert not again.has_them.is_set()
        waiter.finish()
        assert again.has_them.wait(10)
        again.finish()


def is_door_shut(folder: Path, core: int) -> bool:
    with (folder / f"door-0-{core}").open() as door:
        try:
            fcntl.flock(door, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def test_who_computes_keeps_to_one_half_of_the_cpus_and_only_meanwhile(tmp_path: Path) -> None:
    mine, theirs = neighbours(tmp_path)
    before = os.sched_getaffinity(0)
    assert set(mine.own) | set(mine.others) == before
    assert not set(mine.own) & set(mine.others)
    assert (mine.own, mine.others) == (theirs.others, theirs.own)
    with pytest.raises(RuntimeError, match="of the model"), mine.take_both():
        assert os.sched_getaffinity(0) == set(mine.own)
        raise RuntimeError("of the model")
    assert os.sched_getaffinity(0) == before
    with theirs.take_own():
        assert os.sched_getaffinity(0) == set(theirs.own)


@pytest.mark.parametrize("what", ["both", "own", "the other"])
def test_a_worker_that_is_killed_holds_nothing_any_more(tmp_path: Path, what: str) -> None:
    killed = hold(tmp_path, what)
    seat = Seat(tmp_path, 2)
    cores = seat.cores()
    assert cores is not None
    assert Seat(tmp_path, 2).cores() is None, "both seats are taken"
    waiter = Taker(cores, both=True)
    assert is_waiting(waiter)
    killed.kill()
    killed.communicate()
    assert waiter.has_them.wait(10)
    waiter.finish()
    successor = Seat(tmp_path, 2).cores()
    assert successor is not None
    assert successor.own != cores.own, "it has the place of the dead"


def test_a_core_is_borrowed_only_from_who_does_not_need_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, theirs = neighbours(tmp_path)
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    core = mine.borrow()
    assert core is not None
    assert mine.borrow() is None, "it is held already"
    with core.used():
        assert os.sched_getaffinity(0) == set(mine.others)
        owner = Taker(theirs, both=False)
        assert is_waiting(owner)
        assert mine.borrow() is None
    assert owner.has_them.wait(10)
    assert mine.borrow() is None, "its owner computes"
    owner.finish()
    theirs.note()
    assert mine.borrow() is None, "its owner has just computed"
    mine.note()
    now += QUIET_S * 1.01
    core = mine.borrow()
    assert core is not None
    with core.used():
        pass


def test_who_may_not_choose_cpus_computes_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine, _ = neighbours(tmp_path)
    before = os.sched_getaffinity(0)

    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr("os.sched_setaffinity", refuse)
    with mine.take_both():
        assert os.sched_getaffinity(0) == before
    monkeypatch.undo()
    mine.own[:] = [1000]  # gone since: the container has other CPUs now
    with mine.take_own():
        assert os.sched_getaffinity(0) == before


def test_a_borrowed_core_can_be_given_back_unused_and_only_once(tmp_path: Path) -> None:
    mine, theirs = neighbours(tmp_path)
    core = mine.borrow()
    assert core is not None
    core.leave()
    with theirs.take_own():
        core.leave()  # which is not ours any more
        assert mine.borrow() is None


def test_one_cpu_is_not_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seat = Seat(tmp_path, 2)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {3})
    assert seat.cores() is None


@pytest.mark.parametrize(
    ("cpus", "settings", "shares"),
    [
        (2, {}, True),
        (2, {"share_cores": False}, False),
        (2, {"workers": 1, "threads": 1}, False),
        (2, {"threads": 2}, False),
        (4, {"workers": 2, "threads": 1}, False),  # whose models have CPUs enough
        (2, {"workers": 4}, False),
        (3, {}, True),
    ],
)
def test_cores_are_shared_where_each_worker_has_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cpus: int, settings: dict[str, Any], shares: bool
) -> None:
    monkeypatch.setattr("service.cpus.usable", lambda: cpus)
    chosen = Settings(sessions_dir=tmp_path / "sessions", **settings)
    assert chosen.shares_cores is shares
    Cellgate(chosen, shared=tmp_path)
    assert (tmp_path / "seat-0").exists() is shares


def test_a_folder_that_is_gone_is_no_reason_not_to_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("service.cpus.usable", lambda: 2)
    settings = Settings(sessions_dir=tmp_path / "sessions", keys=SecretStr(f"acme={new_key()[1]}"))
    Cellgate(settings, shared=tmp_path / "gone")
    assert "cores are not shared" in caplog.text
    assert "rates are counted by each worker alone" in caplog.text


def test_who_waits_for_a_core_that_is_lent_gets_it_before_it_is_lent_again(tmp_path: Path) -> None:
    mine, theirs = neighbours(tmp_path)
    core = mine.borrow()
    assert core is not None
    owner = Taker(theirs, both=False)
    while not is_door_shut(tmp_path, 1):
        pass
    with core.used():
        pass
    assert mine.borrow() is None
    assert owner.has_them.wait(10)
    owner.finish()


def test_both_cores_are_waited_for_even_if_one_of_them_is_lent_to_oneself(tmp_path: Path) -> None:
    mine, _ = neighbours(tmp_path)
    core = mine.borrow()
    assert core is not None
    taker = Taker(mine, both=True)
    assert is_waiting(taker)
    with core.used():
        pass
    assert taker.has_them.wait(10)
    taker.finish()


def test_neighbours_are_two_by_two_and_the_last_of_an_odd_number_is_alone(tmp_path: Path) -> None:
    seats = [Seat(tmp_path, 5) for _ in range(5)]
    cores = [seat.cores() for seat in seats]
    assert cores[4] is None
    first, second, third, fourth = (Taker(each, both=True) for each in cores if each is not None)
    assert first.has_them.wait(10)
    assert third.has_them.wait(10)
    assert is_waiting(second)
    assert is_waiting(fourth)
    for taker in (first, second, third, fourth):
        taker.finish()


def test_models_of_one_worker_wait_for_each_other_too(tmp_path: Path) -> None:
    seat = Seat(tmp_path, 2)
    one, other = seat.cores(), seat.cores()
    assert one is not None
    assert other is not None
    holder = Taker(one, both=True)
    assert holder.has_them.wait(10)
    waiter = Taker(other, both=True)
    assert is_waiting(waiter)
    holder.finish()
    waiter.finish()
