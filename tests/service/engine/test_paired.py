"""Few rows run on two cores, if a trial shows that they gain more than twofold."""

import pytest

from service.engine.paired import PairedEngine, Trial
from service.sequence import Batch, Chunk
from tests.service.fakes import SumEngine, ones


def test_few_rows_take_both_cores_and_more_take_one() -> None:
    on_one, on_both = SumEngine(), SumEngine()
    paired = PairedEngine(on_one, on_both, max_rows=2)
    for rows in (1, 2, 3, 4):
        results = paired.run(Batch([Chunk(ones(3), 0, 3) for _ in range(rows)]))
        assert [float(result.state[0][0]) for result in results] == [3.0] * rows
    assert [len(batch.chunks) for batch in on_both.batches] == [1, 2]
    assert [len(batch.chunks) for batch in on_one.batches] == [3, 4]


@pytest.mark.parametrize(
    ("gains", "max_batch", "expected"),
    [
        ({1: 3.5, 2: 3.1, 4: 2.6}, 64, 4),
        ({1: 3.5, 2: 3.1, 4: 2.6}, 1, 1),
        ({1: 3.5, 2: 3.1, 4: 1.9}, 64, 2),
        ({1: 2.0, 2: 3.1, 4: 2.6}, 64, 0),
        ({1: 1.1, 2: 0.7, 4: 0.7}, 64, 0),
    ],
)
def test_both_cores_are_taken_for_as_many_rows_as_gain_more_than_twofold(
    gains: dict[int, float], max_batch: int, expected: int
) -> None:
    assert Trial().max_rows(lambda rows: gains[rows], lambda _: 1.0, max_batch) == expected


def test_a_model_that_its_cache_holds_is_not_tried() -> None:
    assert not Trial().is_large(0.9e-3)
    assert Trial().is_large(1e-3)
