"""Calls of whole sequences stay within a bound, and change no result."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engine.whole import WholeSequences
from service.errors import SequenceTooLong
from service.sequence import Batch, Chunk, Result
from tests.service.fakes import SumEngine, sequence_of

MAX_STEPS = 40


class Recording(SumEngine):
    """Keeps the sizes of its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[tuple[int, int]] = []

    def run(self, batch: Batch) -> list[Result]:
        self.sizes.append((len(batch.chunks), batch.steps))
        return super().run(batch)


def batch_of(lengths: list[int]) -> Batch:
    sequences = [sequence_of([float(step) for step in range(length)]) for length in lengths]
    return Batch([Chunk(sequence, 0, sequence.steps) for sequence in sequences])


@given(st.lists(st.integers(1, MAX_STEPS), min_size=1, max_size=30))
def test_no_call_is_larger_than_the_bound_and_the_results_are_the_same(lengths: list[int]) -> None:
    engine = Recording()
    bounded = WholeSequences(engine, step_bytes=10, max_call_bytes=10 * MAX_STEPS)
    batch = batch_of(lengths)
    results = bounded.run(batch)
    assert all(rows * steps <= MAX_STEPS for rows, steps in engine.sizes)
    assert sum(rows for rows, _ in engine.sizes) == len(lengths)
    expected = SumEngine().run(batch)
    assert [r.output.tolist() for r in results] == [r.output.tolist() for r in expected]
    assert [r.state[0].tolist() for r in results] == [r.state[0].tolist() for r in expected]
    if len(lengths) * max(lengths) <= MAX_STEPS:
        assert len(engine.sizes) == 1, "no call is split without need"


def test_a_sequence_that_is_too_large_alone_is_refused_before_it_is_computed() -> None:
    """15 MB to a bidirectional model took 6.5 GB."""
    engine = Recording()
    bounded = WholeSequences(engine, step_bytes=10, max_call_bytes=10 * MAX_STEPS)
    with pytest.raises(SequenceTooLong, match=r"about 10 bytes .* for 40 steps, got 41"):
        bounded.run(batch_of([MAX_STEPS + 1]))
    assert engine.sizes == []
