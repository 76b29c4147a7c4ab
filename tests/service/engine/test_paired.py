"""A call on two cores answers bit for bit as one on one does, whichever way a sequence's chunks go."""

import asyncio
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engine.cores import Cores, Lent
from service.engine.cost import TwoCosts
from service.engine.onnx import OnnxEngine
from service.engine.paired import PairedEngine, most_rows
from service.errors import StartupError
from service.manifest import GRAPH_FILE, MANIFEST_FILE, Manifest
from service.repository.rehearsal import Batching
from service.repository.repository import Hardware, Prepared, prepare
from service.sequence import Array, Batch, Chunk, Result, Sequence

pytestmark = pytest.mark.skipif(
    len(os.sched_getaffinity(0)) < 2, reason="this machine has no second core to share"
)
BATCHING = Batching(max_batch=4, chunk_steps=5, max_waiting=999, inline_s=0.0)


class Noted:
    """Notes how many rows each call has."""

    def __init__(self, engine: OnnxEngine) -> None:
        self.engine = engine
        self.rows: list[int] = []

    def run(self, batch: Batch) -> list[Result]:
        self.rows.append(len(batch.chunks))
        return self.engine.run(batch)


@pytest.fixture(scope="module")
def vowels_folder(models_dir: Path) -> Path:
    return models_dir / "vowels" / "1"


@pytest.fixture(scope="module")
def graph(vowels_folder: Path) -> Path:
    return vowels_folder / GRAPH_FILE


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


def shared(cores: Cores) -> Hardware:
    return Hardware("cpu", 1, cores=lambda: cores)


def gain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the trial find what it would not with a small model: that up to two rows gain from both cores."""
    monkeypatch.setattr("service.engine.paired.MIN_S", 0.0)
    monkeypatch.setattr("service.engine.paired.most_rows", lambda *_: 2)


def alone(engine: OnnxEngine, x: Array) -> bytes:
    sequence = Sequence((x,), engine.initial_state)
    output: bytes = engine.run(Batch([Chunk(sequence, 0, len(x))]))[0].output[-1].tobytes()
    return output


def test_few_rows_take_both_cores_and_more_take_one(one: OnnxEngine, both: list[OnnxEngine]) -> None:
    on_one, on_both = Noted(one), Noted(both[0])
    paired = PairedEngine(on_one, on_both, 2)
    for rows in (1, 2, 3, 4):
        sequences = [Sequence((np.ones((3, 12), np.float32),), one.initial_state) for _ in range(rows)]
        paired.run(Batch([Chunk(sequence, 0, 3) for sequence in sequences]))
    assert (on_both.rows, on_one.rows) == ([1, 2], [3, 4])


@pytest.fixture(scope="module")
def prepared(vowels_folder: Path, neighbours: list[Cores]) -> Iterator[list[Prepared]]:
    """A model in two workers: up to two rows take both cores, and whatever waits is worth a second call."""
    with pytest.MonkeyPatch.context() as patch:
        gain(patch)
        patch.setattr("service.engine.cores.QUIET_S", -1.0)
        yield [prepare(vowels_folder, BATCHING, shared(cores)) for cores in neighbours]


@given(st.lists(st.integers(1, 40), min_size=1, max_size=16), st.integers(0, 2**32 - 1))
def test_two_workers_that_share_their_cores_answer_as_one_shot_does(
    prepared: list[Prepared], one: OnnxEngine, lengths: list[int], seed: int
) -> None:
    random = np.random.default_rng(seed)
    inputs = [random.standard_normal((length, 12), np.float32) for length in lengths]

    async def serve() -> list[Sequence]:
        workers = [each.start(died).worker for each in prepared]
        sequences = [Sequence((x,), one.initial_state) for x in inputs]
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
    vowels_folder: Path,
    neighbours: list[Cores],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    gain(monkeypatch)
    with caplog.at_level(logging.INFO):
        prepare(vowels_folder, BATCHING, shared(neighbours[0]))
    assert "exact; calls of up to 2 sequences on 2 cores" in caplog.text


def test_a_call_waits_for_its_cores_in_the_thread_not_on_the_event_loop(
    prepared: list[Prepared], one: OnnxEngine, neighbours: list[Cores]
) -> None:
    async def serve() -> None:
        worker = prepared[0].start(died).worker
        sequence = Sequence((np.ones((3, 12), np.float32),), one.initial_state)
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


def write_changed(source: Path, folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    shutil.copytree(source, folder)
    manifest = json.loads((folder / MANIFEST_FILE).read_text())
    change(manifest)
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest))


class Stand:
    """An engine that stands for a sound one; compiled, that one is no class to inherit from."""

    def __init__(self, *given: Any, **named: Any) -> None:
        self.sound = OnnxEngine(*given, **named)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sound, name)


class Forger(Stand):
    """Answers wrongly on two cores."""

    def run(self, batch: Batch) -> list[Result]:
        return [Result(result.output + 1, result.state) for result in self.sound.run(batch)]


class Breaker(Stand):
    """Cannot compute on two cores."""

    def run(self, batch: Batch) -> list[Result]:  # noqa: ARG002
        raise RuntimeError("no such kernel")


def test_what_both_cores_answer_is_held_against_the_example(
    vowels_folder: Path, neighbours: list[Cores], monkeypatch: pytest.MonkeyPatch
) -> None:
    gain(monkeypatch)
    monkeypatch.setattr("service.engine.paired.OnnxEngine", Forger)
    with pytest.raises(StartupError, match="the example gives"):
        prepare(vowels_folder, BATCHING, shared(neighbours[0]))


def test_a_faulty_model_is_told_of_as_ever(
    vowels_folder: Path, neighbours: list[Cores], tmp_path: Path
) -> None:
    folder = tmp_path / "faulty" / "1"

    def widen(manifest: dict[str, Any]) -> None:
        manifest["inputs"][0] |= {"dims": [13], "features": []}
        manifest["example"]["steps"] = [[*row, 0.0] for row in manifest["example"]["steps"]]

    write_changed(vowels_folder, folder, widen)
    with pytest.raises(StartupError, match="the graph fails on its example"):
        prepare(folder, BATCHING, shared(neighbours[0]))


def test_a_graph_that_fails_only_on_two_cores_is_told_of_too(
    vowels_folder: Path, neighbours: list[Cores], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.engine.paired.MIN_S", 0.0)
    monkeypatch.setattr("service.engine.paired.OnnxEngine", Breaker)
    with pytest.raises(StartupError, match="no such kernel"):
        prepare(vowels_folder, BATCHING, shared(neighbours[0]))


def test_the_trial_is_not_beside_a_call_of_the_neighbour(
    vowels_folder: Path, neighbours: list[Cores]
) -> None:
    mine, theirs = neighbours
    with ThreadPoolExecutor(1) as pool:
        with theirs.take_own():
            loading = pool.submit(prepare, vowels_folder, BATCHING, shared(mine))
            with pytest.raises(TimeoutError):
                loading.result(0.3)
        assert loading.result(20).cores is mine


def test_what_cannot_be_cut_shares_no_cores(
    vowels_folder: Path, neighbours: list[Cores], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gain(monkeypatch)
    folder = tmp_path / "whole" / "1"
    write_changed(vowels_folder, folder, lambda manifest: manifest.update(causal=False))
    prepared = prepare(folder, BATCHING, shared(neighbours[0]))
    assert not prepared.manifest.chunkable
    assert (prepared.cores, prepared.paired) == (None, None)


def test_a_server_does_without_what_it_cannot_share(
    vowels_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def missing() -> Cores:
        raise FileNotFoundError("no such folder")

    prepared = prepare(vowels_folder, BATCHING, Hardware("cpu", 1, cores=missing))
    assert (prepared.cores, prepared.paired) == (None, None)
    assert "cores are not shared: no such folder" in caplog.text


def test_costs_of_few_rows_are_apart_where_they_run_apart(prepared: list[Prepared]) -> None:
    assert isinstance(prepared[0].scheduler.cost, TwoCosts)


def test_most_of_what_one_worker_gets_runs_on_a_borrowed_core_too(
    prepared: list[Prepared], one: OnnxEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = list[Lent]()
    borrow = Cores.borrow

    def noted(self: Cores) -> Lent | None:
        lent = borrow(self)
        given.extend([lent] if lent is not None else [])
        return lent

    monkeypatch.setattr(Cores, "borrow", noted)

    async def serve(count: int) -> None:
        worker = prepared[0].start(died).worker
        x = np.ones((40, 12), np.float32)
        await asyncio.gather(*(worker.predict(Sequence((x,), one.initial_state)) for _ in range(count)))
        await worker.stop()

    asyncio.run(serve(2))
    assert not given, "few rows need both cores themselves"
    asyncio.run(serve(16))
    assert given
