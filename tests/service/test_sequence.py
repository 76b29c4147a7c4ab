"""A sequence, its chunks, and the batch of one call."""

import numpy as np
import pytest

from service.errors import NonFiniteOutput
from service.sequence import Batch, Chunk, Sequence


def sequence(steps: int, *, keep_all: bool = False) -> Sequence:
    return Sequence((np.zeros((steps, 2), np.float32),), (), keep_all=keep_all)


def test_steps_are_counted_by_the_time_axis() -> None:
    running = sequence(5)
    running.done = 2
    assert (running.steps, running.remaining) == (5, 3)


def test_the_output_is_that_of_every_step_or_of_the_last() -> None:
    pieces = [np.array([[1.0], [2.0]]), np.array([[3.0]])]
    whole, last = sequence(3, keep_all=True), sequence(3)
    whole.outputs, last.outputs = pieces, pieces
    assert whole.output().tolist() == [[1], [2], [3]]
    assert last.output().tolist() == [3]
    whole.outputs = pieces[:1]
    assert whole.output() is pieces[0], "one piece is not copied"


def test_the_last_chunk_ends_its_sequence() -> None:
    running = sequence(5)
    assert [Chunk(running, 0, 3).is_last, Chunk(running, 3, 5).is_last] == [False, True]
    assert Chunk(running, 3, 5).steps == 2


def test_a_batch_is_as_long_as_its_longest_chunk() -> None:
    assert Batch([Chunk(sequence(9), 0, 4), Chunk(sequence(9), 2, 9)]).steps == 7


def test_sequences_are_compared_by_identity() -> None:
    assert sequence(3) != sequence(3)


def test_further_outputs_are_kept_chunk_by_chunk() -> None:
    running = Sequence((np.zeros((3, 2), np.float32),), (), keep_all=True, extra=(2, 1))
    running.extras = [(np.array([[1.0], [2.0]]), np.array([7])), (np.array([[3.0]]), np.array([8]))]
    assert running.output(2).tolist() == [[1], [2], [3]] and running.output(1).tolist() == [7, 8]
    running.keep_all = False
    assert running.output(2).tolist() == [3] and running.output(1) == 8


def test_the_output_of_a_sequence_that_failed_is_its_error() -> None:
    failed = sequence(3)
    failed.error = NonFiniteOutput("NaN")
    with pytest.raises(NonFiniteOutput):
        failed.output()
