"""The cost model learns the cost of calls, and the scheduler chooses the best chunks by it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engine.cost import Cost, TwoCosts
from service.engine.scheduler import MIN_CHUNK, TAIL, Scheduler
from service.errors import Overloaded
from service.sequence import Origin
from tests.service.fakes import SumEngine, learn, ones


def learnt(call: float, step: float, row: float) -> Cost:
    """A cost model that has seen calls which follow its own formula."""
    cost = Cost()
    sizes = [(batch, steps) for batch in (1, 4, 16, 64) for steps in (1, 8, 64)]
    learn(cost, ((batch, steps, call + steps * (step + batch * row)) for batch, steps in sizes))
    return cost


COSTS = st.builds(learnt, st.floats(1e-6, 1e-3), st.floats(1e-6, 1e-3), st.floats(1e-7, 1e-4))


@given(COSTS, st.lists(st.integers(1, 400), min_size=1, max_size=30), st.floats(1e-4, 1e-2))
def test_no_call_takes_longer_than_the_target_except_the_shortest_worthwhile(
    cost: Cost, lengths: list[int], target_s: float
) -> None:
    s = Scheduler(max_batch=16, chunk_steps=256, max_waiting=99, cost=cost, target_s=target_s)
    for length in lengths:
        s.add(ones(length))
    while batch := s.schedule(0.0):
        seconds = cost.predict(len(batch.chunks), batch.steps)
        assert seconds <= target_s * TAIL * 1.0001 or batch.steps <= MIN_CHUNK
        if len(batch.chunks) > 1:
            assert cost.predict(len(batch.chunks), min(batch.steps, MIN_CHUNK)) <= target_s * 1.0001
        s.commit(batch, SumEngine().run(batch))


@given(COSTS, st.lists(st.integers(1, 99), min_size=2, max_size=16))
def test_the_chunk_computes_the_most_true_steps_per_second(cost: Cost, lengths: list[int]) -> None:
    s = Scheduler(max_batch=16, chunk_steps=256, max_waiting=99, cost=cost)
    for length in lengths:
        s.add(ones(length))

    def rate(steps: int) -> float:
        return sum(min(length, steps) for length in lengths) / cost.predict(len(lengths), steps)

    batch = s.schedule(0.0)
    assert batch is not None
    assert rate(batch.steps) >= max(rate(steps) for steps in range(1, 100)) * (1 - 1e-9)


def test_a_short_sequence_ends_early_and_a_long_one_pads_no_other() -> None:
    s = Scheduler(max_batch=16, chunk_steps=256, max_waiting=99, cost=learnt(1e-6, 1e-6, 1e-5))
    for length in [10] * 15 + [1000]:
        s.add(ones(length))
    first = s.schedule(0.0)
    assert first is not None
    assert first.steps == 10


def test_work_beyond_the_longest_wait_is_refused_at_once_with_retry_after() -> None:
    s = Scheduler(max_batch=4, chunk_steps=8, max_waiting=99, cost=learnt(1e-6, 1e-6, 1e-2), max_wait_s=1.0)
    s.add(ones(1000))  # about ten seconds of work: the first is never refused
    with pytest.raises(Overloaded) as refused:
        s.add(ones(1000))
    assert refused.value.retry_after_s is not None and 8 <= refused.value.retry_after_s <= 12
    while batch := s.schedule(0.0):
        s.commit(batch, SumEngine().run(batch))
    s.add(ones(1))


def test_cancelled_and_late_sequences_no_longer_count_as_work() -> None:
    s = Scheduler(max_batch=4, chunk_steps=8, max_waiting=99, cost=learnt(1e-6, 1e-6, 1e-2), max_wait_s=1.0)
    dropped, late = ones(1000), ones(50)
    s.add(dropped)
    dropped.cancelled = True
    assert s.schedule(0.0) is None and s.wait_s == 0
    late.origin = Origin(deadline=1.0)
    s.add(late)
    assert s.schedule(2.0) is None and s.wait_s == 0


def test_a_sequence_that_must_not_be_cut_is_one_chunk_whatever_it_costs() -> None:
    s = Scheduler(
        max_batch=4, chunk_steps=8, max_waiting=9, cuts=False, cost=learnt(1e-3, 1e-3, 1e-3), target_s=1e-6
    )
    s.add(ones(500))
    batch = s.schedule(0.0)
    assert batch is not None and batch.steps == 500


@given(
    st.floats(1e-6, 1e-3),
    st.floats(1e-6, 1e-3),
    st.floats(1e-7, 1e-4),
    st.integers(1, 64),
    st.integers(1, 256),
)
def test_calls_that_follow_the_formula_are_predicted(
    call: float, step: float, row: float, batch: int, steps: int
) -> None:
    expected = call + steps * (step + batch * row)
    assert learnt(call, step, row).predict(batch, steps) == pytest.approx(expected, rel=1e-3)


def learnt_separately(few: Cost, many: Cost, *, max_few: int, cores: int) -> TwoCosts:
    """Two costs that have observed calls of the costs `few` and `many`."""
    cost = TwoCosts(max_few, cores)
    sizes = [(batch, steps) for batch in (1, 2, 4, 5, 16, 64) for steps in (1, 8, 64)]
    for batch, steps in sizes:
        cost.observe(batch, steps, (few if batch <= max_few else many).predict(batch, steps))
    return cost


@given(COSTS, COSTS, st.integers(1, 64), st.integers(1, 256))
def test_calls_of_few_rows_are_learnt_separately(few: Cost, many: Cost, batch: int, steps: int) -> None:
    cost = learnt_separately(few, many, max_few=4, cores=2)
    expected = (few if batch <= 4 else many).predict(batch, steps)
    assert cost.predict(batch, steps) == pytest.approx(expected, rel=1e-2)
    assert cost.queued(steps, batch) == pytest.approx(
        (few if batch <= 4 else many).queued(steps, batch), rel=1e-2
    )


@given(
    COSTS, COSTS, st.lists(st.integers(1, 400), min_size=1, max_size=30), st.floats(1e-4, 1e-2), st.booleans()
)
def test_a_call_on_two_cores_takes_half_as_long(
    few: Cost, many: Cost, lengths: list[int], target_s: float, ragged: bool
) -> None:
    cost = learnt_separately(few, many, max_few=4, cores=2)
    s = Scheduler(max_batch=16, chunk_steps=256, max_waiting=99, cost=cost, target_s=target_s, ragged=ragged)
    for length in lengths:
        s.add(ones(length))
    computed = 0
    while batch := s.schedule(0.0):
        rows = len(batch.chunks)
        seconds = cost.predict(rows, batch.steps)
        within = target_s / 2 if rows <= 4 else target_s
        assert seconds <= within * TAIL * 1.01 or batch.steps <= MIN_CHUNK
        computed += sum(chunk.steps for chunk in batch.chunks)
        s.commit(batch, SumEngine().run(batch))
    assert computed == sum(lengths)


@given(COSTS, COSTS, st.floats(1e-4, 1e-1), st.integers(1, 64))
def test_as_many_rows_fit_as_their_own_cost_allows(few: Cost, many: Cost, seconds: float, steps: int) -> None:
    cost = learnt_separately(few, many, max_few=4, cores=2)
    rows = cost.rows_within(seconds, steps)
    if rows > 4:
        assert cost.predict(int(rows + 1), steps) > seconds * 0.99
        assert cost.predict(int(rows), steps) <= seconds * 1.01 or int(rows) == 4
    else:
        assert cost.predict(5, steps) > seconds * 0.99
        assert rows < 1 or cost.predict(int(rows), steps) <= seconds / 2 * 1.01
        assert rows == 4 or cost.predict(int(rows + 1), steps) > seconds / 2 * 0.99


def test_before_the_first_call_every_cost_is_zero() -> None:
    assert Cost().predict(64, 1000) == 0
    assert Cost().steps_within(0.001, 64) == float("inf")


def test_a_long_run_of_equal_calls_displaces_no_other_costs() -> None:
    cost = learnt(1e-4, 1e-5, 1e-6)
    for _ in range(1000):
        cost.observe(8, 1, 1e-4 + 1.8e-5)
    assert cost.predict(64, 64) == pytest.approx(1e-4 + 64 * 7.4e-5, rel=0.05)


def test_a_machine_that_slows_down_is_noticed() -> None:
    cost = learnt(1e-4, 1e-5, 1e-6)
    before = cost.predict(8, 8)
    for _ in range(50):
        learn(cost, ((b, s, 3 * (1e-4 + s * (1e-5 + b * 1e-6))) for b in (1, 4, 16, 64) for s in (1, 8, 64)))
    assert cost.predict(8, 8) == pytest.approx(3 * before, rel=0.05)


@given(
    st.lists(
        st.tuples(st.integers(1, 64), st.integers(1, 256), st.floats(1e-6, 1.0)), min_size=1, max_size=200
    )
)
def test_costs_are_never_negative_whatever_was_measured(calls: list[tuple[int, int, float]]) -> None:
    cost = Cost()
    learn(cost, calls)
    assert cost.predict(1, 1) >= 0
    assert cost.predict(64, 256) >= cost.predict(1, 1)
