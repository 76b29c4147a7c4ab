"""Sequences that are run to their ends: one that fails has an error, the others have their answers."""

import numpy as np

from service.engine import Cost, Scheduler, SingleCoreRunner
from service.engine.run_all import run_all
from service.sequence import Sequence
from tests.service.fakes import SumEngine


def test_one_that_fails_does_not_fail_the_others() -> None:
    engine = SumEngine()
    engine.fail_on = 13.0
    scheduler = Scheduler(max_batch=4, chunk_steps=2, max_waiting=1 << 60)
    numbers = [[1.0, 2, 3], [4, 5, 6, 13], [7], [8, 9], [1, 1, 1, 1, 1]]
    sequences = [Sequence((np.array(each)[:, None],), (np.zeros(1),)) for each in numbers]
    run_all(sequences, SingleCoreRunner(engine, Cost(), inline_s=0), scheduler)
    failed = [sequence for sequence in sequences if sequence.error is not None]
    assert failed == [sequences[1]] and failed[0].error is not None and "boom" in failed[0].error.detail
    answers = [sequence.output().tolist() for sequence in sequences if sequence.error is None]
    assert answers == [[6.0], [7.0], [17.0], [5.0]]
    assert len(scheduler) == 0
