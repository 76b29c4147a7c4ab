"""Laws of cellular batching, on arithmetic that shows a lost, doubled or swapped step."""

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engine.cost import Cost
from service.engine.fair_queue import START
from service.engine.scheduler import Scheduler
from service.errors import NonFiniteOutput, Overloaded
from service.sequence import Sequence
from tests.service.fakes import SumEngine, learn, ones, sequence_of, total

CHUNK = 4
LENGTHS = st.integers(1, 40)
VALUES = st.lists(st.integers(-9, 9), min_size=1, max_size=40)


def new_scheduler(
    *, max_batch: int = 4, chunk_steps: int = CHUNK, max_waiting: int = 99, ragged: bool = True
) -> Scheduler:
    return Scheduler(max_batch=max_batch, chunk_steps=chunk_steps, max_waiting=max_waiting, ragged=ragged)


@dataclass
class Driver:
    """Schedules and runs one batch at a time, and records what happened to each sequence."""

    scheduler: Scheduler
    engine: SumEngine = field(default_factory=SumEngine)
    now: float = 0.0
    added: list[Sequence] = field(default_factory=list)
    answered: list[Sequence] = field(default_factory=list)
    late: list[Sequence] = field(default_factory=list)

    def add(self, sequence: Sequence) -> None:
        self.scheduler.add(sequence)
        self.added.append(sequence)

    def turn(self) -> list[Sequence]:
        """One engine call; the sequences that were in it."""
        batch = self.scheduler.schedule(self.now)
        self.late += self.scheduler.take_late()
        if batch is None:
            return []
        self.answered += self.scheduler.commit(batch, self.engine.run(batch))
        return [chunk.sequence for chunk in batch.chunks]

    def drain(self) -> list[Sequence]:
        while self.turn():
            pass
        return self.answered


@given(
    sequences=st.lists(st.tuples(VALUES, st.booleans()), min_size=1, max_size=12),
    arrivals=st.lists(st.integers(0, 3), max_size=20),
    max_batch=st.integers(1, 7),
    chunk_steps=st.integers(1, 9),
    ragged=st.booleans(),
)
def test_any_interleaving_equals_one_shot(
    sequences: list[tuple[list[int], bool]],
    arrivals: list[int],
    max_batch: int,
    chunk_steps: int,
    ragged: bool,
) -> None:
    driver = Driver(new_scheduler(max_batch=max_batch, chunk_steps=chunk_steps, ragged=ragged))
    waiting = [sequence_of(list(map(float, values)), keep_all=keep) for values, keep in sequences]
    added = list(waiting)
    for count in arrivals:  # some arrive before each turn, and the rest at the end
        for _ in range(min(count, len(waiting))):
            driver.add(waiting.pop(0))
        driver.turn()
    for sequence in waiting:
        driver.add(sequence)
    answered = driver.drain()
    assert len(answered) == len(added) and set(answered) == set(added)
    for sequence in added:
        expected = np.cumsum(sequence.inputs[0], axis=0)
        assert total(sequence) == expected[-1]
        assert np.array_equal(sequence.output(), expected if sequence.keep_all else expected[-1])


@given(
    moves=st.lists(st.one_of(st.none(), LENGTHS), max_size=60),  # a turn, or a sequence of so many steps
    max_batch=st.integers(1, 5),
)
def test_no_sequence_starves(moves: list[int | None], max_batch: int) -> None:
    """While it waits for a place, others get no more than their equal shares of the work, and full calls."""
    driver = Driver(new_scheduler(max_batch=max_batch, max_waiting=999))
    begun: set[Sequence] = set()
    work_since: dict[Sequence, int] = {}
    most: dict[Sequence, int] = {}

    def turn() -> None:
        for sequence in work_since:
            most[sequence] = max(most[sequence], len(driver.scheduler))
        before = {sequence: sequence.done for sequence in driver.added}
        taken = driver.turn()
        for sequence in list(work_since):
            if sequence in taken:
                bound = most[sequence] * (sequence.steps + START) + max_batch * (CHUNK + START)
                assert work_since.pop(sequence) <= bound
        for sequence in taken:
            work = sequence.done - before[sequence] + START * (sequence not in begun)
            begun.add(sequence)
            for other in work_since:
                work_since[other] += work

    for length in moves:
        if length is None:
            turn()
        else:
            driver.add(ones(length))
            work_since[driver.added[-1]] = most[driver.added[-1]] = 0
    while len(driver.scheduler):
        turn()
    assert not work_since


COSTS = st.tuples(*[st.floats(1e-6, 1e-2)] * 3)  # seconds: a call, a time step, a row's time step


@given(
    moves=st.lists(st.one_of(st.none(), LENGTHS), max_size=60),  # a turn, or a sequence of so many steps
    costs=COSTS,
    target_s=st.floats(1e-5, 1.0),
    max_batch=st.integers(1, 5),
    chunk_steps=st.integers(1, 30),
    ragged=st.booleans(),
)
def test_the_smallest_tag_is_next_whatever_calls_cost(
    moves: list[int | None],
    costs: tuple[float, float, float],
    target_s: float,
    max_batch: int,
    chunk_steps: int,
    ragged: bool,
) -> None:
    """Every turn takes the first of the queue, so that none starves; the clock never goes back."""
    scheduler = Scheduler(
        max_batch=max_batch, chunk_steps=chunk_steps, max_waiting=999, ragged=ragged, target_s=target_s
    )
    call, step, row = costs
    learn(
        scheduler.cost,
        ((batch, steps, call + steps * (step + batch * row)) for batch in (1, 2, 5) for steps in (1, 8, 30)),
    )
    driver = Driver(scheduler)
    queued: set[Sequence] = set()
    last = 0.0

    def turn() -> bool:
        first = min(queued, key=lambda sequence: (sequence.tag, sequence.number), default=None)
        taken = driver.turn()
        assert (first is None and not taken) or taken[0] is first
        queued.difference_update(sequence for sequence in taken if not sequence.remaining)
        return bool(taken)

    for length in moves:
        if length is None:
            turn()
        else:
            driver.add(ones(length))
            sequence = driver.added[-1]
            queued.add(sequence)
            start = sequence.tag - (length + START) * len(queued)
            assert start >= last - 1e-6
            last = start
    while turn():
        pass
    assert not queued


@given(
    moves=st.lists(st.sampled_from(["add", "add late", "cancel", "turn"]), max_size=60),
    max_batch=st.integers(1, 4),
)
def test_every_sequence_is_in_exactly_one_place(moves: list[str], max_batch: int) -> None:
    """queued + answered + cancelled + late = added, after every move."""
    driver = Driver(new_scheduler(max_batch=max_batch, chunk_steps=3, max_waiting=999), now=10.0)
    cancelled: set[Sequence] = set()
    for position, move in enumerate(moves):
        if move == "turn":
            driver.turn()
        elif move == "cancel":
            alive = [s for s in driver.added if s not in {*driver.answered, *driver.late, *cancelled}]
            if alive:
                alive[position % len(alive)].cancelled = True
                cancelled.add(alive[position % len(alive)])
        else:
            driver.add(sequence_of([1.0] * (position % 11 + 1), deadline=9.0 if "late" in move else 11.0))
        finished = [*driver.answered, *driver.late, *cancelled]
        assert len(set(finished)) == len(finished)
        queued = len(driver.scheduler)
        assert (
            len(driver.added) - len(finished) <= queued <= len(driver.added) - len(finished) + len(cancelled)
        )
    driver.drain()
    assert len(driver.scheduler) == 0
    assert {*driver.answered, *driver.late, *cancelled} == set(driver.added)
    assert all(sequence.done == 0 for sequence in driver.late), "the late cost no compute"


@given(lengths=st.lists(LENGTHS, min_size=1, max_size=9), chunk_steps=st.integers(1, 9))
def test_a_graph_without_lengths_gets_uniform_chunks(lengths: list[int], chunk_steps: int) -> None:
    driver = Driver(new_scheduler(chunk_steps=chunk_steps, ragged=False))
    for length in lengths:
        driver.add(ones(length))
    driver.drain()
    for batch in driver.engine.batches:
        assert len({chunk.steps for chunk in batch.chunks}) == 1 and batch.steps <= chunk_steps


@given(lengths=st.lists(LENGTHS, min_size=1, max_size=9), chunk_steps=st.integers(1, 9))
def test_a_batch_stays_within_its_bounds(lengths: list[int], chunk_steps: int) -> None:
    driver = Driver(new_scheduler(max_batch=3, chunk_steps=chunk_steps))
    for length in lengths:
        driver.add(ones(length))
    driver.drain()
    for batch in driver.engine.batches:
        assert 1 <= len(batch.chunks) <= 3 and batch.steps == max(chunk.steps for chunk in batch.chunks)
        assert batch.steps <= chunk_steps


def test_a_long_sequence_does_not_block_a_short_one() -> None:
    driver = Driver(new_scheduler(max_batch=1, chunk_steps=8))
    long, short = ones(1000), ones(3)
    driver.add(long)
    driver.turn()
    driver.add(short)
    assert driver.drain() == [short, long]
    assert driver.engine.batches[1].chunks[0].sequence is short, "it waited for one call only"


def test_arrival_breaks_ties() -> None:
    driver = Driver(new_scheduler(max_batch=2, chunk_steps=1))
    for _ in range(5):
        driver.add(ones(1))
    assert driver.drain() == driver.added


def test_a_full_queue_is_refused_at_once() -> None:
    scheduler = new_scheduler(max_waiting=2)
    scheduler.add(ones(1))
    scheduler.add(ones(1))
    with pytest.raises(Overloaded):
        scheduler.add(ones(1))
    assert len(scheduler) == 2


def test_a_running_sequence_is_always_queued_again() -> None:
    """The bound is for new sequences: a full queue never refuses one that has begun."""
    driver = Driver(new_scheduler(max_batch=1, chunk_steps=1, max_waiting=1))
    first, second = ones(3), ones(3)
    driver.add(first)
    batch = driver.scheduler.schedule(0.0)
    assert batch is not None
    driver.add(second)  # there was room, since the first was being computed
    driver.answered += driver.scheduler.commit(batch, driver.engine.run(batch))
    assert set(driver.drain()) == {first, second}


def test_a_deadline_drops_a_sequence_between_chunks_too() -> None:
    driver = Driver(new_scheduler(chunk_steps=2))
    driver.add(sequence_of([1.0] * 6, deadline=5.0))
    driver.turn()
    driver.now = 5.0
    driver.turn()
    assert driver.late == [], "the deadline itself is still in time"
    driver.now = 5.1
    assert driver.turn() == [] and driver.late == driver.added and driver.added[0].done == 4
    assert driver.scheduler.take_late() == [], "each is returned once"


def test_a_cancelled_sequence_leaves_at_its_next_turn_and_costs_nothing() -> None:
    driver = Driver(new_scheduler(chunk_steps=2))
    leaves, stays = ones(9), ones(9)
    driver.add(leaves)
    driver.add(stays)
    driver.turn()
    leaves.cancelled = True
    assert driver.drain() == [stays] and leaves.done == 2
    assert [len(batch.chunks) for batch in driver.engine.batches] == [2, 1, 1, 1, 1]


def test_rows_and_padding_of_calls_are_counted() -> None:
    driver = Driver(new_scheduler(chunk_steps=4))
    driver.add(ones(5))
    driver.add(ones(3))
    driver.drain()
    # A call of 4 steps for two sequences, the second of which has 3; then a call of 1 step.
    counts = driver.scheduler.counts
    assert (counts.steps, counts.padded_steps) == (8, 1)


def test_an_empty_queue_gives_no_batch() -> None:
    assert new_scheduler().schedule(0.0) is None


@given(st.lists(st.integers(1, 4), min_size=1, max_size=6), st.integers(1, 5), st.booleans())
def test_whole_chunks_have_exactly_their_steps_whatever_they_cost(
    multiples: list[int], max_batch: int, is_costly: bool
) -> None:
    cost = Cost()
    if is_costly:
        learn(cost, ((rows, steps, 1e-3 * steps * rows) for rows in (1, 4) for steps in (1, 8, 64)))
    scheduler = Scheduler(
        max_batch=max_batch, chunk_steps=20, max_waiting=99, whole_chunks=True, cost=cost, target_s=1e-3
    )
    driver = Driver(scheduler)
    for multiple in multiples:
        driver.add(ones(20 * multiple))
    assert sorted(map(total, driver.drain())) == sorted(20.0 * multiple for multiple in multiples)
    assert {chunk.steps for batch in driver.engine.batches for chunk in batch.chunks} == {20}


def test_a_sequence_whose_result_is_an_error_ends_and_the_others_continue() -> None:
    scheduler = new_scheduler(chunk_steps=2)
    fails, continues = ones(6), ones(6)
    scheduler.add(fails)
    scheduler.add(continues)
    batch = scheduler.schedule(0.0)
    assert batch is not None
    first, second = SumEngine().run(batch)
    error = NonFiniteOutput("NaN")
    assert scheduler.commit(batch, [first._replace(error=error), second]) == [fails]
    assert fails.error is error and fails.done == 0 and not fails.outputs
    assert len(scheduler) == 1 and continues.done == 2
    batch = scheduler.schedule(0.0)
    assert batch is not None and [chunk.sequence for chunk in batch.chunks] == [continues]


def test_further_outputs_are_kept_as_the_first_one_is() -> None:
    for keep_all in (False, True):
        scheduler = new_scheduler(chunk_steps=2)
        sequence = sequence_of([1.0] * 4, keep_all=keep_all)
        scheduler.add(sequence)
        while batch := scheduler.schedule(0.0):
            results = SumEngine().run(batch)
            scheduler.commit(batch, [result._replace(extra=(result.output,)) for result in results])
        assert len(sequence.extras) == len(sequence.outputs) == (2 if keep_all else 1)
