"""Where calls run: which are inline, which cores they hold, and when a second core is borrowed."""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from service.engine.cost import Cost
from service.engine.paired import PairedEngine
from service.engine.runner import Runner, SharedCoresRunner, SingleCoreRunner, run_timed
from service.engine.shared_cores import Cores
from service.sequence import Batch, Chunk, Result
from tests.service.fakes import SumEngine, learn, ones

needs_two_cpus = pytest.mark.skipif(
    len(os.sched_getaffinity(0)) < 2, reason="this machine has no second core to share"
)


def millisecond_steps() -> Cost:
    """A cost model that has learnt a millisecond for each step, whatever the batch."""
    cost = Cost()
    learn(cost, ((rows, steps, 1e-3 * steps) for rows in (1, 4, 16) for steps in (1, 8, 64)))
    return cost


class PinnedEngine(SumEngine):
    """Records the CPUs that each call may use."""

    def __init__(self) -> None:
        super().__init__()
        self.cpus: list[set[int]] = []

    def run(self, batch: Batch) -> list[Result]:
        self.cpus.append(os.sched_getaffinity(0))
        return super().run(batch)


def batch_of(rows: int, steps: int = 3) -> Batch:
    return Batch([Chunk(ones(steps), 0, steps) for _ in range(rows)])


def test_an_exception_of_the_engine_is_part_of_the_outcome() -> None:
    engine = SumEngine()
    engine.fail_on = 1.0
    failed = run_timed(engine, batch_of(1))
    assert isinstance(failed.results, RuntimeError) and failed.seconds >= 0
    engine.fail_on = None
    outcome = run_timed(engine, batch_of(2))
    assert not isinstance(outcome.results, Exception)
    assert [float(result.state[0][0]) for result in outcome.results] == [3.0, 3.0]


def test_on_a_single_core_short_calls_are_inline_and_there_is_no_second_place() -> None:
    engine = SumEngine()
    runner: Runner = SingleCoreRunner(engine, millisecond_steps(), inline_s=3.5e-3)
    assert runner.num_threads == 1
    assert runner.is_inline(batch_of(1, steps=3)) and not runner.is_inline(batch_of(1, steps=4))
    assert runner.borrow(100, 100.0) is None
    for run in (runner.run, runner.run_in_thread):
        assert len(run(batch_of(2)).results) == 2  # type: ignore[arg-type]
    assert len(engine.batches) == 2


class Pair:
    """Two workers on shared cores, with an engine for one core and one for both."""

    def __init__(
        self, folder: Path, *, max_rows: int = 0, inline_s: float = 3.5e-3, idle_s: float = -1.0
    ) -> None:
        self.mine, self.theirs = (Cores(folder, 0, position, idle_s=idle_s) for position in (0, 1))
        self.other_model = Cores(folder, 0, 0)  # of the same worker as `mine`
        self.on_one, self.on_both = PinnedEngine(), PinnedEngine()
        paired = PairedEngine(self.on_one, self.on_both, max_rows) if max_rows else None
        self.runner: Runner = SharedCoresRunner(
            self.on_one, millisecond_steps(), self.mine, inline_s=inline_s, paired=paired
        )


def waits_for(call: Callable[[], object], cores: Cores) -> bool:
    """Whether a call waits while another worker computes on its own core."""
    with ThreadPoolExecutor(1) as pool:
        with cores.hold_own():
            future = pool.submit(call)
            try:
                future.result(0.05)
                is_waiting = False
            except TimeoutError:
                is_waiting = True
        future.result(10)
    return is_waiting


@needs_two_cpus
def test_a_short_call_is_inline_unless_few_rows_run_on_both_cores(tmp_path: Path) -> None:
    runner = Pair(tmp_path).runner
    assert runner.num_threads == 2
    assert runner.is_inline(batch_of(1, steps=3)) and not runner.is_inline(batch_of(1, steps=4))
    paired = Pair(tmp_path, max_rows=2).runner
    assert not any(paired.is_inline(batch_of(rows, steps=1)) for rows in (1, 2, 3))


@needs_two_cpus
def test_a_call_in_a_thread_holds_the_cores_that_it_needs(tmp_path: Path) -> None:
    pair = Pair(tmp_path, max_rows=2)
    assert waits_for(lambda: pair.runner.run_in_thread(batch_of(2)), pair.theirs), "both cores"
    assert not waits_for(lambda: pair.runner.run_in_thread(batch_of(3)), pair.theirs), "its own core"
    assert waits_for(lambda: pair.runner.run_in_thread(batch_of(3)), pair.other_model)
    assert ([len(b.chunks) for b in pair.on_both.batches], len(pair.on_one.batches)) == ([2], 2)
    assert all(cpus == set(pair.mine.own_cpus) for cpus in pair.on_both.cpus + pair.on_one.cpus)


@needs_two_cpus
def test_a_call_on_the_event_loop_waits_for_no_core(tmp_path: Path) -> None:
    pair = Pair(tmp_path)
    before = os.sched_getaffinity(0)
    with pair.other_model.hold_own():
        outcome: list[object] = []
        thread = threading.Thread(target=lambda: outcome.append(pair.runner.run(batch_of(1))))
        thread.start()
        thread.join(60)
        assert outcome
    pair.runner.run(batch_of(1))
    assert pair.on_one.cpus[-1] == before, "nor is the event loop pinned"


@needs_two_cpus
def test_waiting_for_cores_is_not_part_of_the_measured_time(tmp_path: Path) -> None:
    pair = Pair(tmp_path)
    with ThreadPoolExecutor(1) as pool:
        with pair.other_model.hold_own():
            future = pool.submit(pair.runner.run_in_thread, batch_of(1))
            with pytest.raises(TimeoutError):
                future.result(0.2)
        assert future.result(10).seconds < 0.1


@needs_two_cpus
def test_a_second_call_runs_on_the_borrowed_core_with_the_engine_for_one(tmp_path: Path) -> None:
    pair = Pair(tmp_path, max_rows=2)
    place = pair.runner.borrow(3, 1.0)
    assert place is not None
    assert pair.runner.borrow(3, 1.0) is None, "one at a time"
    place.run(batch_of(1))
    assert pair.on_one.cpus == [set(pair.mine.other_cpus)] and not pair.on_both.batches
    again = pair.runner.borrow(3, 1.0)
    assert again is not None, "the first call has released it"
    again.release()
    with pair.theirs.hold_own():
        assert pair.runner.borrow(3, 1.0) is None, "its owner computes"


@needs_two_cpus
@pytest.mark.parametrize("max_rows", [0, 2])
def test_little_work_is_not_worth_a_second_core(tmp_path: Path, max_rows: int) -> None:
    runner = Pair(tmp_path, max_rows=max_rows, inline_s=1.0).runner
    assert runner.borrow(max_rows, 10.0) is None, "so few rows need both cores themselves"
    assert runner.borrow(max_rows + 1, 0.9) is None, "short enough for the event loop"
    place = runner.borrow(max_rows + 1, 1.0)
    assert place is not None
    place.release()


@needs_two_cpus
@pytest.mark.parametrize("name", ["run", "run_in_thread"])
def test_a_core_cannot_be_borrowed_soon_after_a_call_of_its_owner(tmp_path: Path, name: str) -> None:
    pair = Pair(tmp_path, idle_s=60.0)
    place = pair.runner.borrow(1, 1.0)
    assert place is not None
    place.run(batch_of(1))
    borrowed = pair.theirs.borrow()
    assert borrowed is not None, "a call on the borrowed core does not mark this worker's own as busy"
    borrowed.release()
    getattr(pair.runner, name)(batch_of(1))
    assert pair.theirs.borrow() is None
