"""Sequences in one array: bit for bit what each gives alone, or nothing at all."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engine import OnnxEngine
from service.engine.finite import FiniteCheck
from service.engine.flat import MAX_STEPS, Flat, run_flat
from service.manifest import Manifest
from service.sequence import Array, Batch, Chunk, Sequence


@pytest.fixture(scope="module")
def engine(models_dir: Path, vowels: Manifest) -> OnnxEngine:
    return OnnxEngine(models_dir / "vowels" / "1" / "model.onnx", vowels, provider="cpu")


def flat_of(lengths: list[int]) -> Flat:
    values = np.random.default_rng(0).standard_normal((sum(lengths), 12)).astype(np.float32)
    ends = np.cumsum(lengths)
    return Flat((values,), ends - lengths, ends)


def alone(engine: OnnxEngine, steps: Array) -> Array:
    """[time, *dims] of one sequence in a call of its own."""
    sequence = Sequence((steps,), engine.initial_state, keep_all=True)
    (result,) = engine.run(Batch([Chunk(sequence, 0, len(steps))]))
    return result.output


@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=9), max_batch=st.integers(1, 4))
def test_each_answer_is_that_of_the_sequence_alone(
    engine: OnnxEngine, lengths: list[int], max_batch: int
) -> None:
    flat = flat_of(lengths)
    expected = [alone(engine, steps) for steps in np.split(flat.inputs[0], flat.ends[:-1])]
    every = run_flat(engine, flat, max_batch=max_batch, keep_all=True)
    last = run_flat(engine, flat, max_batch=max_batch, keep_all=False)
    assert every is not None and isinstance(last, np.ndarray) and len(every) == len(lengths)
    for ours, end, theirs in zip(every, last, expected, strict=True):
        assert (ours == theirs).all() and (end == theirs[-1]).all()


def test_what_is_long_or_not_finite_is_left_to_the_scheduler(
    engine: OnnxEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_flat(engine, flat_of([3, MAX_STEPS + 1]), max_batch=4, keep_all=False) is None
    monkeypatch.setattr(FiniteCheck, "passes", lambda _, tensors: len(tensors) != 3)
    assert run_flat(engine, flat_of([3, 2]), max_batch=4, keep_all=False) is None
