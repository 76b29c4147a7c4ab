"""Requests that a full queue admits or refuses: by the share of their tenant, and by their own size."""

import contextlib
import itertools

import numpy as np
import pytest

from service.engine.scheduler import PROMISE, Scheduler
from service.errors import Overloaded
from service.sequence import Origin, Sequence
from tests.service.fakes import SumEngine, cost_of, of_origin, ones

TARGET_S = 6e-3


def fill(scheduler: Scheduler, name: str, steps: int = 1) -> int:
    """Add sequences until one is refused; how many were added."""
    for count in range(10**4):
        try:
            scheduler.add(of_origin(Origin(name), steps))
        except Overloaded:
            return count
    raise AssertionError("no bound")


def new_bounded(bound: str) -> Scheduler:
    """Full at a hundred sequences, or at what takes a second; a step takes 1 ms."""
    return Scheduler(
        max_batch=1,
        chunk_steps=8,
        max_waiting=100 if bound == "sequences" else 10**6,
        max_wait_s=10.0 if bound == "sequences" else 1.0,
        cost=cost_of(1e-6, 5e-4, 5e-4),
    )


@pytest.mark.parametrize("bound", ["sequences", "seconds"])
def test_a_tenant_with_less_than_its_share_is_admitted_to_a_full_queue(bound: str) -> None:
    scheduler = new_bounded(bound)
    alone = fill(scheduler, "a")
    second, third = fill(scheduler, "b"), fill(scheduler, "c")
    assert alone == pytest.approx(2 * second, rel=0.05) and alone == pytest.approx(3 * third, rel=0.1)
    with pytest.raises(Overloaded):
        scheduler.add(of_origin(Origin("a")))


@pytest.mark.parametrize("bound", ["sequences", "seconds"])
def test_a_small_request_is_admitted_though_large_ones_of_its_tenant_fill_the_queue(bound: str) -> None:
    scheduler = new_bounded(bound)
    large, other = Origin(num_sequences=10**6), Origin(num_sequences=10**6)
    for _ in range(100 if bound == "sequences" else 1000):
        scheduler.add(of_origin(large))
    with pytest.raises(Overloaded):
        scheduler.add(of_origin(other))
    num_small = fill(scheduler, "")
    assert 5 < num_small <= 120, "in their turn they are bounded"
    with pytest.raises(Overloaded):
        scheduler.add(of_origin(other))


def test_a_request_is_not_refused_for_its_own_work() -> None:
    """It would never be admitted, however often it is sent, though nothing else waits."""
    scheduler = new_loaded()
    large = Origin(num_sequences=500)
    for _ in range(500):
        scheduler.add(of_origin(large, 1000))
    assert scheduler.wait_s > 10 * scheduler.max_wait_s
    with pytest.raises(Overloaded):
        scheduler.add(of_origin(Origin(num_sequences=500), 1000))


@pytest.mark.parametrize("num_sequences", [1, 2])
@pytest.mark.parametrize("is_in_call", [False, True])
def test_a_few_long_sequences_do_not_refuse_a_short_one(num_sequences: int, is_in_call: bool) -> None:
    """Each call has a row for it, also while the others are in one."""
    scheduler = new_loaded()
    origin = Origin(num_sequences=num_sequences)
    for _ in range(num_sequences):
        scheduler.add(of_origin(origin, 20_000))
    batch = scheduler.schedule(0.0) if is_in_call else None
    assert len(scheduler) == (0 if is_in_call else num_sequences)
    scheduler.add(ones(1))
    if batch is not None:
        scheduler.commit(batch, SumEngine().run(batch))
    assert len(scheduler) == num_sequences + 1


def new_loaded() -> Scheduler:
    """0.1 ms for a step: 20,000 steps take 2 s."""
    return Scheduler(
        max_batch=64,
        chunk_steps=256,
        max_waiting=4096,
        max_wait_s=1.0,
        cost=cost_of(1e-5, 0.0, 1e-4),
        target_s=TARGET_S,
    )


def overload(scheduler: Scheduler, *, times: float, overhead: float) -> list[float]:
    """Seconds from arrival to answer at `times` the capacity; calls take 1/`overhead` of the time."""
    engine = SumEngine()
    arrived: dict[Sequence, float] = {}
    answered: list[float] = []
    inputs = {steps: np.ones((steps, 1)) for steps in (10, 1000)}
    lengths = itertools.cycle([1000, *[10] * 19])
    every_s = overhead * scheduler.cost.queued(19 * 10 + 1000, 8) / 20 / times
    now = due = 0.0
    while now < 12:
        while due <= now:
            sequence = Sequence((inputs[next(lengths)],), (np.zeros(1),))
            with contextlib.suppress(Overloaded):
                scheduler.add(sequence)
                arrived[sequence] = due
            due += every_s
        batch = scheduler.schedule(now)
        if batch is None:
            now = due
            continue
        engine.batches.clear()
        now += overhead * scheduler.cost.predict(len(batch.chunks), batch.steps)
        answered += [now - arrived.pop(done) for done in scheduler.commit(batch, engine.run(batch))]
    return answered


@pytest.mark.parametrize("times", [1.5, 10])
@pytest.mark.parametrize("overhead", [1, 5])
def test_what_is_admitted_under_overload_is_answered_in_time(times: float, overhead: float) -> None:
    """The estimate was of full calls: what was admitted at ten times the capacity waited for 15 s."""
    scheduler = Scheduler(
        max_batch=8,
        chunk_steps=256,
        max_waiting=10**6,
        cost=cost_of(1e-4, 5e-5, 5e-5),
        target_s=TARGET_S,
        max_wait_s=2.0,
    )
    answered = overload(scheduler, times=times, overhead=overhead)
    assert len(answered) > 250
    assert max(answered) <= PROMISE * 2.0
