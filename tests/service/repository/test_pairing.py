"""A call on two cores answers bit for bit as a call on one core, however the chunks of a sequence are run."""

import asyncio
import json
import logging
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engine import (
    Batching,
    OnnxEngine,
    Outcome,
    Runner,
    SharedCoresRunner,
    SingleCoreRunner,
    Trial,
    TwoCosts,
    WorkerSlot,
)
from service.engine.runner import Place
from service.errors import StartupError
from service.manifest import GRAPH_FILE, MANIFEST_FILE, Manifest
from service.repository import Hardware, Loader, Model, PreparedModel
from service.repository.model import OpenEngine
from service.sequence import Array, Batch, Chunk, Result, Sequence
from tests.service.fakes import WrappedEngine

pytestmark = pytest.mark.skipif(
    len(os.sched_getaffinity(0)) < 2, reason="this machine has no second core to share"
)
BATCHING = Batching(max_batch=4, chunk_steps=5, max_waiting=999, inline_s=0.0)
# A trial that finds, other than with a small model, that up to two rows gain from both cores.
GAINS = Trial(rows=(1, 2), min_s=0.0, min_gain=0.0)


@pytest.fixture(scope="module")
def vowels_folder(models_dir: Path) -> Path:
    return models_dir / "vowels" / "1"


@pytest.fixture(scope="module")
def on_one(vowels_folder: Path, vowels: Manifest) -> OnnxEngine:
    return OnnxEngine(vowels_folder / GRAPH_FILE, vowels, provider="cpu")


@pytest.fixture(scope="module")
def slots(tmp_path_factory: pytest.TempPathFactory) -> list[WorkerSlot]:
    """The slots of two workers that share cores, which always count as idle between calls."""
    folder = tmp_path_factory.mktemp("cores")
    return [WorkerSlot(folder, 2, idle_s=-1.0) for _ in range(2)]


def loader(slot: WorkerSlot, *, trial: Trial = GAINS, open_engine: OpenEngine = OnnxEngine) -> Loader:
    return Loader(BATCHING, Hardware("cpu", 1, slot), _fail, open_engine, trial)


def _fail() -> None:
    pytest.fail("an inference loop failed")


@pytest.fixture(scope="module")
def prepared(vowels_folder: Path, slots: list[WorkerSlot]) -> list[PreparedModel]:
    """A model in two workers: up to two rows take both cores, and any waiting work justifies a second."""
    return [loader(slot).prepare(vowels_folder) for slot in slots]


def start(prepared: PreparedModel) -> Model:
    return prepared.start(_fail)


def compute_alone(engine: OnnxEngine, x: Array) -> bytes:
    sequence = Sequence((x,), engine.initial_state)
    output: bytes = engine.run(Batch([Chunk(sequence, 0, len(x))]))[0].output[-1].tobytes()
    return output


@given(st.lists(st.integers(1, 40), min_size=1, max_size=16), st.integers(0, 2**32 - 1))
def test_two_workers_that_share_their_cores_answer_as_one_shot_does(
    prepared: list[PreparedModel], on_one: OnnxEngine, lengths: list[int], seed: int
) -> None:
    random = np.random.default_rng(seed)
    inputs = [random.standard_normal((length, 12), np.float32) for length in lengths]

    async def serve() -> list[Sequence]:
        workers = [start(each).worker for each in prepared]
        sequences = [Sequence((x,), on_one.initial_state) for x in inputs]
        # Most of them in one worker, which borrows the core of the other.
        await asyncio.gather(*(workers[i % 5 == 0].predict(each) for i, each in enumerate(sequences)))
        for worker in workers:
            await worker.stop()
        return sequences

    for x, sequence in zip(inputs, asyncio.run(serve()), strict=True):
        assert sequence.output().tobytes() == compute_alone(on_one, x)


def test_a_model_that_gains_is_logged(
    vowels_folder: Path, slots: list[WorkerSlot], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        loader(slots[0]).prepare(vowels_folder)
    assert "exact; calls of up to 2 sequences on 2 cores" in caplog.text


def test_a_model_that_does_not_gain_runs_every_call_on_one_core(
    vowels_folder: Path, slots: list[WorkerSlot], caplog: pytest.LogCaptureFixture
) -> None:
    for trial in (replace(GAINS, min_gain=1e9), replace(GAINS, min_s=1e9)):
        with caplog.at_level(logging.INFO):
            prepared = loader(slots[0], trial=trial).prepare(vowels_folder)
        assert "on 2 cores" not in caplog.text
        assert not isinstance(prepared.scheduler.cost, TwoCosts)


def test_a_call_waits_for_its_cores_in_the_thread_not_on_the_event_loop(
    prepared: list[PreparedModel], on_one: OnnxEngine, slots: list[WorkerSlot]
) -> None:
    async def serve() -> None:
        worker = start(prepared[0]).worker
        sequence = Sequence((np.ones((3, 12), np.float32),), on_one.initial_state)
        cores = slots[1].open_cores()
        assert cores is not None
        with cores.hold_own():
            answer = asyncio.create_task(worker.predict(sequence))
            await asyncio.sleep(0.05)  # the event loop runs, the call does not
            assert not answer.done()
        await answer
        await worker.stop()

    asyncio.run(serve())


def write_changed(source: Path, folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    shutil.copytree(source, folder)
    manifest = json.loads((folder / MANIFEST_FILE).read_text())
    change(manifest)
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest))


class WrongOnTwoCores(WrappedEngine):
    """Answers wrongly on two cores."""

    def run(self, batch: Batch) -> list[Result]:
        results = self.wrapped.run(batch)
        return [result._replace(output=result.output + self.has_helper) for result in results]


class FailsOnTwoCores(WrappedEngine):
    """Cannot compute on two cores."""

    def run(self, batch: Batch) -> list[Result]:
        if self.has_helper:
            raise RuntimeError("no such kernel")
        return self.wrapped.run(batch)


def test_the_answer_of_both_cores_is_compared_with_the_example(
    vowels_folder: Path, slots: list[WorkerSlot]
) -> None:
    with pytest.raises(StartupError, match="the example gives"):
        loader(slots[0], open_engine=WrongOnTwoCores).prepare(vowels_folder)


def test_a_faulty_model_is_reported_as_without_sharing(
    vowels_folder: Path, slots: list[WorkerSlot], tmp_path: Path
) -> None:
    folder = tmp_path / "faulty" / "1"

    def expect_zeros(manifest: dict[str, Any]) -> None:
        manifest["example"]["output"] = [0.0] * 9

    write_changed(vowels_folder, folder, expect_zeros)
    with pytest.raises(StartupError, match="the example gives"):
        loader(slots[0], trial=Trial()).prepare(folder)


def test_a_graph_that_fails_only_on_two_cores_is_reported_too(
    vowels_folder: Path, slots: list[WorkerSlot]
) -> None:
    with pytest.raises(StartupError, match="no such kernel"):
        loader(slots[0], trial=Trial(min_s=0.0), open_engine=FailsOnTwoCores).prepare(vowels_folder)


def test_the_trial_does_not_run_beside_a_call_of_the_other_worker(
    vowels_folder: Path, slots: list[WorkerSlot]
) -> None:
    cores = slots[1].open_cores()
    assert cores is not None
    with ThreadPoolExecutor(1) as pool:
        pool.submit(os.getpid).result()  # starts the thread now: it inherits the CPUs of this one
        with cores.hold_own():
            loading = pool.submit(loader(slots[0], trial=Trial()).prepare, vowels_folder)
            with pytest.raises(TimeoutError):
                loading.result(0.3)
        assert isinstance(loading.result(20).runner, SharedCoresRunner)


def test_a_model_that_cannot_be_cut_shares_no_cores(
    vowels_folder: Path, slots: list[WorkerSlot], tmp_path: Path
) -> None:
    folder = tmp_path / "whole" / "1"
    write_changed(vowels_folder, folder, lambda manifest: manifest.update(causal=False))
    prepared = loader(slots[0]).prepare(folder)
    assert not prepared.manifest.chunkable
    assert isinstance(prepared.runner, SingleCoreRunner)


def test_a_model_is_served_without_cores_that_cannot_be_opened(
    vowels_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "shared").mkdir()
    slot = WorkerSlot(tmp_path / "shared", 2)
    shutil.rmtree(tmp_path / "shared")
    prepared = loader(slot).prepare(vowels_folder)
    assert isinstance(prepared.runner, SingleCoreRunner)
    assert "cores are not shared: " in caplog.text and "No such file" in caplog.text


def test_costs_of_few_rows_are_learnt_separately_where_they_run_on_both_cores(
    prepared: list[PreparedModel],
) -> None:
    assert isinstance(prepared[0].scheduler.cost, TwoCosts)


class CountingRunner:
    """Counts the second calls that another runner allows."""

    num_threads = 2

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self.num_borrowed = 0

    def is_inline(self, batch: Batch) -> bool:
        return self._runner.is_inline(batch)

    def run(self, batch: Batch) -> Outcome:
        return self._runner.run(batch)

    def run_in_thread(self, batch: Batch) -> Outcome:
        return self._runner.run_in_thread(batch)

    def borrow(self, num_waiting: int, wait_s: float) -> Place | None:
        place = self._runner.borrow(num_waiting, wait_s)
        self.num_borrowed += place is not None
        return place


def test_much_work_in_one_worker_also_runs_on_a_borrowed_core(
    prepared: list[PreparedModel], on_one: OnnxEngine
) -> None:
    runner = CountingRunner(prepared[0].runner)

    async def serve(count: int) -> None:
        worker = start(replace(prepared[0], runner=runner)).worker
        x = np.ones((40, 12), np.float32)
        await asyncio.gather(*(worker.predict(Sequence((x,), on_one.initial_state)) for _ in range(count)))
        await worker.stop()

    asyncio.run(serve(2))
    assert not runner.num_borrowed, "few rows need both cores themselves"
    asyncio.run(serve(16))
    assert runner.num_borrowed
