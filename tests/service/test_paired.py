"""A call on two cores answers bit for bit as one on one does, whichever way a sequence's chunks go."""

import asyncio
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.cores import Cores
from service.engine import OnnxEngine
from service.example import Batching
from service.manifest import GRAPH_FILE, Manifest
from service.paired import PairedEngine, most_rows, pair
from service.repository import Hardware, Prepared, prepare
from service.sequence import Array, Batch, Chunk, Result, Sequence

pytestmark = pytest.mark.skipif(
    len(os.sched_getaffinity(0)) < 2, reason="this machine has no second core to share"
)
BATCHING = Batching(max_batch=4, chunk_steps=5, max_waiting=999)


class Noted:
    """Notes how many rows each call has."""

    def __init__(self, engine: OnnxEngine) -> None:
        self.engine = engine
        self.rows: list[int] = []

    def run(self, batch: Batch) -> list[Result]:
        self.rows.append(len(batch.chunks))
        return self.engine.run(batch)


@pytest.fixture(scope="module")
def graph(models_dir: Path) -> Path:
    return models_dir / "vowels" / "1" / GRAPH_FILE


@pytest.fixture(scope="module")
def one(graph: Path, vowels: Manifest) -> OnnxEngine:
    return OnnxEngine(graph, vowels, provider="cpu")


@pytest.fixture(scope="module")
def neighbours(tmp_path_factory: pytest.TempPathFactory) -> list[Cores]:
    folder = tmp_path_factory.mktemp("cores")
    return [Cores(folder, 0, place) for place in (0, 1)]


@pytest.fixture(scope="module")
def both(graph: Path, vowels: Manifest, neighbours: list[Cores]) -> list[OnnxEngine]:
    """A model's engine for two cores, of either neighbour."""
    return [OnnxEngine(graph, vowels, provider="cpu", helper_cpus=cores.others) for cores in neighbours]


def cores_of(cores: Cores) -> Callable[[], Cores]:
    return lambda: cores


def alone(engine: OnnxEngine, x: Array) -> bytes:
    sequence = Sequence((x,), engine.initial_state())
    output: bytes = engine.run(Batch([Chunk(sequence, 0, len(x))]))[0].output[-1].tobytes()
    return output


def test_few_rows_take_both_cores_and_more_take_one(one: OnnxEngine, both: list[OnnxEngine]) -> None:
    on_one, on_both = Noted(one), Noted(both[0])
    paired = PairedEngine(on_one, on_both, 2)
    for rows in (1, 2, 3, 4):
        sequences = [Sequence((np.ones((3, 12), np.float32),), one.initial_state()) for _ in range(rows)]
        paired.run(Batch([Chunk(sequence, 0, 3) for sequence in sequences]))
    assert (on_both.rows, on_one.rows) == ([1, 2], [3, 4])


@pytest.fixture(scope="module")
def prepared(models_dir: Path, neighbours: list[Cores]) -> Iterator[list[Prepared]]:
    """A model in two workers: up to two rows take both cores, and whatever waits is worth a second call."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("service.paired.MIN_S", 0.0)  # what this small model would not do
        patch.setattr("service.paired.most_rows", lambda *_: 2)
        patch.setattr("service.cores.QUIET_S", -1.0)
        folder = models_dir / "vowels" / "1"
        yield [prepare(folder, BATCHING, Hardware("cpu", 1, cores=cores_of(cores))) for cores in neighbours]


@given(st.lists(st.integers(1, 40), min_size=1, max_size=16), st.integers(0, 2**32 - 1))
def test_two_workers_that_share_their_cores_answer_as_one_shot_does(
    prepared: list[Prepared], one: OnnxEngine, lengths: list[int], seed: int
) -> None:
    random = np.random.default_rng(seed)
    inputs = [random.standard_normal((length, 12), np.float32) for length in lengths]

    async def serve() -> list[Sequence]:
        workers = [each.start(died).worker for each in prepared]
        sequences = [Sequence((x,), one.initial_state()) for x in inputs]
        # Most of them to one, which borrows.
        await asyncio.gather(*(workers[i % 5 == 0].predict(each) for i, each in enumerate(sequences)))
        for worker in workers:
            await worker.stop()
        return sequences

    for x, sequence in zip(inputs, asyncio.run(serve()), strict=True):
        assert sequence.output().tobytes() == alone(one, x)


def died() -> None:
    pytest.fail("a worker died")


def test_a_model_that_gains_says_so(
    models_dir: Path,
    neighbours: list[Cores],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("service.paired.MIN_S", 0.0)
    monkeypatch.setattr("service.paired.most_rows", lambda *_: 2)
    with caplog.at_level(logging.INFO):
        prepare(models_dir / "vowels" / "1", BATCHING, Hardware("cpu", 1, cores=lambda: neighbours[0]))
    assert "exact; calls of up to 2 sequences on 2 cores" in caplog.text


def test_a_call_waits_for_its_cores_in_the_thread_not_on_the_event_loop(
    prepared: list[Prepared], one: OnnxEngine, neighbours: list[Cores]
) -> None:
    async def serve() -> None:
        worker = prepared[0].start(died).worker
        sequence = Sequence((np.ones((3, 12), np.float32),), one.initial_state())
        with neighbours[1].take_own():
            asked = asyncio.create_task(worker.predict(sequence))
            await asyncio.sleep(0.05)  # the loop runs, the call does not
            assert not asked.done()
        await asked
        await worker.stop()

    asyncio.run(serve())


@pytest.mark.parametrize(
    ("gains", "max_rows", "most"),
    [
        ({1: 3.5, 2: 3.1, 4: 2.6}, 64, 4),
        ({1: 3.5, 2: 3.1, 4: 2.6}, 1, 1),
        ({1: 3.5, 2: 3.1, 4: 1.9}, 64, 2),
        ({1: 2.0, 2: 3.1, 4: 2.6}, 64, 0),
        ({1: 1.1, 2: 0.7, 4: 0.7}, 64, 0),
    ],
)
def test_both_cores_are_taken_for_as_many_rows_as_gain_more_than_twofold(
    gains: dict[int, float], max_rows: int, most: int
) -> None:
    assert most_rows(lambda rows: gains[rows], lambda _: 1.0, max_rows) == most


def test_what_cannot_be_cut_keeps_to_its_own_core(
    models_dir: Path, graph: Path, neighbours: list[Cores], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.paired.MIN_S", 0.0)
    monkeypatch.setattr("service.paired.most_rows", lambda *_: 4)
    manifest = Manifest.read(models_dir / "vowels" / "1").model_copy(update={"states": []})
    assert not manifest.chunkable
    engine = OnnxEngine(graph, Manifest.read(models_dir / "vowels" / "1"), provider="cpu")
    assert pair(graph, engine, neighbours[0], 64) is not None
    engine.manifest = manifest
    assert pair(graph, engine, neighbours[0], 64) is None
