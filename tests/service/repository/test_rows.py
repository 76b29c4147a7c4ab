"""Rows are computed alone, in pieces and together; an answer in pieces is put together again."""

from typing import Any

import numpy as np
import pytest

from service.errors import InternalError
from service.manifest import Manifest
from service.repository.rows import Bench, Row
from service.sequence import Batch, Result
from tests.service.fakes import SumEngine

STEPS = np.arange(1.0, 7.0).reshape(6, 1)


def bench(engine: SumEngine, **output: Any) -> Bench:
    described = Manifest.model_validate(
        {
            "task": "label",
            "inputs": [{"name": "x", "dims": [1]}],
            "outputs": [{"name": "y", "dims": [1]} | output],
            "states": [{"input": "h", "output": "h_out", "shape": ["batch", 1], "dtype": "float64"}],
        }
    )
    return Bench(described, engine)


def row(steps: int = 6) -> Row:
    return Row((STEPS[:steps],), (np.zeros(1),))


def test_a_row_alone_is_computed_once_and_whole() -> None:
    engine, tried = SumEngine(), row()
    tries = bench(engine)
    for _ in range(2):
        answer = tries.alone(tried, 4)
        assert answer.outputs[0].ravel().tolist() == [1, 3, 6, 10] and answer.state[0] == 10
    assert [batch.steps for batch in engine.batches] == [4]


def test_pieces_continue_from_each_other() -> None:
    for output, expected in (({}, [1, 3, 6, 10, 15, 21]), ({"steps": "last"}, [21])):
        engine = SumEngine()
        answer = bench(engine, **output).in_pieces(row(), (2, 3, 6))
        assert answer.outputs[0].ravel().tolist() == expected and answer.state[0] == 21
        assert [batch.steps for batch in engine.batches] == [2, 1, 3]


def test_rows_of_one_length_share_a_call() -> None:
    engine = SumEngine()
    bench(engine).at_once([row(), row(), row()])
    assert [(len(batch.chunks), batch.steps) for batch in engine.batches] == [(3, 6)]


def test_rows_that_arrive_together_are_cut_and_batched() -> None:
    engine = SumEngine()
    answers = bench(engine).run([row(), row(4)], chunk_steps=2)
    assert [answer.state[0].tolist() for answer in answers] == [[21], [10]]
    assert [(len(batch.chunks), batch.steps) for batch in engine.batches] == [(2, 2), (2, 2), (1, 2)]


def test_a_row_that_fails_raises() -> None:
    class Fails(SumEngine):
        def run(self, batch: Batch) -> list[Result]:
            return [result._replace(error=InternalError("NaN")) for result in super().run(batch)]

    tries = bench(Fails())
    assert not tries.computes(row())
    with pytest.raises(InternalError, match="NaN"):
        tries.run([row()])


def test_integers_that_rounding_turns_do_not_count() -> None:
    """An argmax turns where two numbers are equal but for rounding."""
    tries = bench(SumEngine(), dtype="int64")
    expected = tries.alone(row(), 6)
    expected = expected._replace(outputs=(np.arange(6),))
    turned = expected._replace(outputs=(np.array([0, 1, 2, 3, 4, 9]),))
    assert tries.compare(turned, expected).relative == 0.8, "nothing was rounded"
    rounded = turned._replace(state=(expected.state[0] + 1e-9,))
    assert tries.compare(rounded, expected).relative < 1e-9
    assert tries.compare(rounded, expected).absolute == 4
    many = rounded._replace(outputs=(np.arange(6) + 1,))
    assert tries.compare(many, expected).relative > 0.1
