"""States that stay on the device: the same bits, fewer copies. Here the device is the CPU."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engine.device import DeviceRow, DeviceStates, SessionCache, states_in_place
from service.engine.onnx import OnnxEngine
from service.engine.scheduler import Scheduler
from service.errors import NonFiniteOutput
from service.manifest import Manifest
from service.sequence import Array, Batch, Chunk, Sequence, State
from tests.service.engine.kinds import KINDS


@pytest.fixture(scope="module")
def engines(models_dir: Path) -> tuple[OnnxEngine, OnnxEngine]:
    """One that leaves states on the device, one that does not."""
    graph, manifest = models_dir / "vowels" / "1" / "model.onnx", Manifest.read(models_dir / "vowels" / "1")
    return (
        OnnxEngine(graph, manifest, provider="cpu", device="cpu"),
        OnnxEngine(graph, manifest, provider="cpu"),
    )


def compute(
    engine: OnnxEngine, lengths: list[int], *, chunk: int, max_batch: int
) -> tuple[list[Sequence], list[bool]]:
    """The computed sequences, and for each call whether its states were in place."""
    rng = np.random.default_rng(0)
    sequences = [
        Sequence((rng.standard_normal((n, 12), np.float32),), engine.initial_state, keep_all=True)
        for n in lengths
    ]
    scheduler = Scheduler(max_batch=max_batch, chunk_steps=chunk, max_waiting=99)
    for sequence in sequences:
        scheduler.add(sequence)
    in_place = []
    while batch := scheduler.schedule(0.0):
        in_place.append(states_in_place([c.sequence.state[0] for c in batch.chunks]) is not None)
        scheduler.commit(batch, engine.run(batch))
    return sequences, in_place


def numbers(sequence: Sequence) -> list[bytes]:
    return [sequence.output().tobytes(), *(np.asarray(array).tobytes() for array in sequence.state)]


@given(st.lists(st.integers(1, 40), min_size=1, max_size=9), st.integers(1, 16), st.integers(1, 9))
def test_staying_on_the_device_changes_no_bit(
    engines: tuple[OnnxEngine, OnnxEngine], lengths: list[int], chunk: int, max_batch: int
) -> None:
    stay, move = (compute(engine, lengths, chunk=chunk, max_batch=max_batch)[0] for engine in engines)
    assert [numbers(sequence) for sequence in stay] == [numbers(sequence) for sequence in move]


def test_rows_that_continue_together_have_their_states_in_place(
    engines: tuple[OnnxEngine, OnnxEngine],
) -> None:
    assert compute(engines[0], [40] * 5, chunk=8, max_batch=5)[1] == [False, True, True, True, True]
    in_place = compute(engines[0], [8, 40, 40], chunk=8, max_batch=3)[1]
    assert in_place == [False, False, True, True, True], "not the first call, nor the one after a row ended"
    assert not any(compute(engines[1], [40] * 5, chunk=8, max_batch=5)[1])


def test_sessions_in_lockstep_stay_and_one_alone_is_downloaded(
    engines: tuple[OnnxEngine, OnnxEngine],
) -> None:
    (first, second), _ = compute(engines[0], [5, 5], chunk=8, max_batch=2)
    assert states_in_place([first.state[0], second.state[0]]) is not None
    assert states_in_place([second.state[0], first.state[0]]) is None, "another order"
    assert states_in_place([first.state[0]]) is None, "not all of them"
    assert states_in_place([np.zeros(3)]) is None
    (other, _), _ = compute(engines[0], [5, 5], chunk=8, max_batch=2)
    assert states_in_place([first.state[0], other.state[0]]) is None, "of two calls"


class CountingValue:
    """An OrtValue that counts its downloads."""

    def __init__(self, array: Array) -> None:
        self.array = array
        self.num_downloads = 0

    def numpy(self) -> Array:
        self.num_downloads += 1
        return self.array


def test_states_of_a_call_are_downloaded_once_and_only_if_read() -> None:
    h, c = CountingValue(np.arange(6.0).reshape(1, 3, 2)), CountingValue(np.arange(3.0))
    values: list[Any] = [h, c]
    states = DeviceStates(values, (1, 0), num_rows=3)
    rows = [states.row(number) for number in range(3)]
    assert (h.num_downloads, c.num_downloads) == (0, 0)
    assert [np.asarray(row[0]).tolist() for row in rows] == [[[0, 1]], [[2, 3]], [[4, 5]]]
    assert [float(np.asarray(row[1])) for row in rows] == [0, 1, 2]
    assert (h.num_downloads, c.num_downloads) == (1, 1)


def state_of(engine: OnnxEngine) -> State:
    return compute(engine, [3], chunk=8, max_batch=1)[0][0].state


def test_a_cached_session_is_identified_by_its_revision_and_memory_is_bounded(
    engines: tuple[OnnxEngine, OnnxEngine],
) -> None:
    state = state_of(engines[0])
    size = 2 * 128 * 4
    cache = SessionCache(3 * size)
    for number in range(5):
        cache.put(b"%d" % number, b"r%d" % number, state)
    cached = [cache.get(b"%d" % number, b"r%d" % number) for number in range(5)]
    assert cached == [None, None, state, state, state]
    assert cache.get(b"4", b"r3") is None
    cache.put(b"4", b"r5", state)
    assert cache.get(b"4", b"r5") is state and cache.get(b"2", b"r2") is state, "an entry is replaced"
    cache.put(b"4", b"r6", state_of(engines[1]))
    assert cache.get(b"4", b"r5") is None and cache.get(b"4", b"r6") is None, "only device states are cached"
    cache.put(b"5", b"r", state)
    assert cache.get(b"2", b"r2") is state, "the entry that left the device made room"


def test_a_session_resumes_on_the_device_only_at_the_revision_that_was_committed(
    engines: tuple[OnnxEngine, OnnxEngine],
) -> None:
    on_device, on_cpu = engines
    state = state_of(on_device)
    packed = on_device.layout.pack(state)
    on_device.keep(b"key", b"r1", state)
    assert on_device.resume(b"key", b"r1", packed) is state
    for revision in (b"r0", b"r2"):
        resumed = on_device.resume(b"key", revision, packed)
        assert not isinstance(resumed[0], DeviceRow) and on_device.layout.pack(resumed) == packed
    moved = state_of(on_cpu)
    on_cpu.keep(b"key", b"r1", moved)
    resumed = on_cpu.resume(b"key", b"r1", packed)
    assert resumed is not moved and on_cpu.layout.pack(resumed) == packed


def test_a_row_is_an_array_to_numpy(engines: tuple[OnnxEngine, OnnxEngine]) -> None:
    row = state_of(engines[0])[0]
    assert isinstance(row, DeviceRow)
    array = np.asarray(row)
    assert array.shape == (1, 128) and np.asarray(row, np.float64).dtype == np.float64
    assert np.ascontiguousarray(row).tobytes() == array.tobytes()


def test_further_outputs_come_from_the_device_too(tmp_path: Path) -> None:
    several = next(kind for kind in KINDS if kind.name == "several outputs")
    onnx.save(several.graph, tmp_path / "model.onnx")
    results = []
    for device in ("cpu", ""):
        engine = OnnxEngine(tmp_path / "model.onnx", several.manifest, provider="cpu", device=device)
        x = np.arange(6, dtype=np.float32).reshape(3, 2)
        sequence = Sequence((x,), engine.initial_state, keep_all=True, extra=(2, 1))
        (result,) = engine.run(Batch([Chunk(sequence, 0, 3)]))
        results.append([array.tolist() for array in (result.output, *result.extra)])
    assert results[0] == results[1]


def test_a_state_on_the_device_that_is_not_finite_is_refused_where_it_is_read() -> None:
    value: Any = CountingValue(np.array([[1.0, np.nan], [2.0, 3.0]]))
    for refuses in (False, True):
        bad, good = (DeviceStates([value], (0,), 2, refuses_non_finite=refuses).row(row)[0] for row in (0, 1))
        assert np.asarray(good).tolist() == [2, 3]
        if not refuses:
            assert np.isnan(np.asarray(bad)[1])
            continue
        with pytest.raises(NonFiniteOutput):
            np.ascontiguousarray(bad)


@pytest.mark.parametrize("name", ["batch of 4", "the answer is the state", "speaker", "counter"])
def test_states_of_other_kinds_do_not_stay(tmp_path: Path, name: str) -> None:
    kind = next(kind for kind in KINDS if kind.name == name)
    onnx.save(kind.graph, tmp_path / "model.onnx")
    engine = OnnxEngine(tmp_path / "model.onnx", kind.manifest, provider="cpu", device="cpu")
    x = np.ones((1, 2), np.float32)
    (result,) = engine.run(Batch([Chunk(Sequence((x,), engine.initial_state), 0, 1)]))
    assert not any(isinstance(array, DeviceRow) for array in result.state)
