"""States that stay on the device: the same bits, fewer copies. Here the device is the CPU."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engine.device import HotSessions, Row, kept_of
from service.engine.onnx import OnnxEngine
from service.engine.scheduler import Scheduler
from service.manifest import Manifest
from service.sequence import Array, Sequence


@pytest.fixture(scope="module")
def engines(models_dir: Path) -> tuple[OnnxEngine, OnnxEngine]:
    """One that keeps states in place, one that does not."""
    graph, manifest = models_dir / "vowels" / "1" / "model.onnx", Manifest.read(models_dir / "vowels" / "1")
    return (
        OnnxEngine(graph, manifest, provider="cpu", device="cpu"),
        OnnxEngine(graph, manifest, provider="cpu"),
    )


def compute(engine: OnnxEngine, lengths: list[int], chunk: int, max_batch: int) -> list[Sequence]:
    rng = np.random.default_rng(0)
    sequences = [
        Sequence((rng.standard_normal((n, 12), np.float32),), engine.initial_state(), keep_all=True)
        for n in lengths
    ]
    scheduler = Scheduler(max_batch=max_batch, chunk_steps=chunk, max_waiting=99)
    for sequence in sequences:
        scheduler.add(sequence)
    while batch := scheduler.schedule(0.0):
        scheduler.commit(batch, engine.run(batch))
    return sequences


def numbers(sequence: Sequence) -> list[bytes]:
    return [sequence.output().tobytes(), *(np.asarray(array).tobytes() for array in sequence.state)]


@given(st.lists(st.integers(1, 40), min_size=1, max_size=9), st.integers(1, 16), st.integers(1, 9))
def test_staying_changes_no_bit(
    engines: tuple[OnnxEngine, OnnxEngine], lengths: list[int], chunk: int, max_batch: int
) -> None:
    stays, moves = (compute(engine, lengths, chunk, max_batch) for engine in engines)
    assert [numbers(sequence) for sequence in stays] == [numbers(sequence) for sequence in moves]


def test_rows_that_go_on_together_find_their_states_in_place(engines: tuple[OnnxEngine, OnnxEngine]) -> None:
    engine = engines[0]
    before = engine.num_resident
    compute(engine, [40] * 5, chunk=8, max_batch=5)
    assert engine.num_resident - before == 4, "every call but the first"
    before = engine.num_resident
    compute(engine, [8, 40, 40], chunk=8, max_batch=3)
    assert engine.num_resident - before == 3, "not the first, nor the one after a row has left"


def test_a_session_in_lockstep_stays_and_one_alone_is_downloaded(
    engines: tuple[OnnxEngine, OnnxEngine],
) -> None:
    engine = engines[0]
    first, second = compute(engine, [5, 5], chunk=8, max_batch=2)
    assert kept_of([first.state[0], second.state[0]]) is not None
    assert kept_of([second.state[0], first.state[0]]) is None, "another order"
    assert kept_of([first.state[0]]) is None, "not all of them"
    assert kept_of([np.zeros(3)]) is None


def state_of(engine: OnnxEngine) -> tuple[Array, ...]:
    return compute(engine, [3], chunk=8, max_batch=1)[0].state


def test_a_hot_session_is_known_by_its_revision_and_memory_is_bounded(
    engines: tuple[OnnxEngine, OnnxEngine],
) -> None:
    state = state_of(engines[0])
    size = 2 * 128 * 4
    hot = HotSessions(3 * size)
    for number in range(5):
        hot.keep(b"%d" % number, b"r%d" % number, state)
    assert len(hot) == 3 and hot.find(b"0", b"r0") is None
    assert hot.find(b"4", b"r4") is state and hot.find(b"4", b"r3") is None
    hot.keep(b"4", b"r5", state)
    assert len(hot) == 3 and hot.find(b"4", b"r5") is state
    hot.forget(b"4")
    hot.keep(b"plain", b"r", state_of(engines[1]))
    assert len(hot) == 2 and hot.find(b"plain", b"r") is None, "what is on no device is not kept"


def test_a_row_is_an_array_to_numpy(engines: tuple[OnnxEngine, OnnxEngine]) -> None:
    row = state_of(engines[0])[0]
    assert isinstance(row, Row)
    array = np.asarray(row)
    assert array.shape == (1, 128) and np.asarray(row, np.float64).dtype == np.float64
    assert np.ascontiguousarray(row).tobytes() == array.tobytes()
