"""A second call beside the first: its sequences, its place, and its errors."""

import asyncio
import threading
from typing import Any, cast

import pytest

from service.engine.scheduler import Scheduler
from service.engine.worker import Worker
from service.errors import (
    InternalError,
)
from service.sequence import Batch, Result, Sequence
from tests.service.engine.workers import (
    FakePlace,
    FakeRunner,
    Snare,
    outcomes,
    run,
    turns,
    until,
    with_worker,
)
from tests.service.fakes import SumEngine, ones, total


class Crowded(SumEngine):
    """Counts the calls that are inside it at once."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = self.most = 0

    def run(self, batch: Batch) -> list[Result]:
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            return super().run(batch)
        finally:
            self.inside -= 1


def value_of(batch: Batch) -> float:
    return float(batch.chunks[0].sequence.inputs[0][0, 0])


class Gated(SumEngine):
    """Holds a call whose first sequence is of ones until their gate is opened; likewise for twos."""

    def __init__(self) -> None:
        super().__init__()
        self.gates = {1.0: threading.Event(), 2.0: threading.Event()}
        self.inside: set[float] = set()

    def run(self, batch: Batch) -> list[Result]:
        value = value_of(batch)
        self.inside.add(value)
        assert self.gates[value].wait(60)
        return super().run(batch)


@pytest.mark.parametrize("after", [0, 4])
def test_a_second_call_runs_beside_the_first_for_added_and_for_remaining_sequences(after: int) -> None:
    place = FakePlace()

    async def body(worker: Worker, engine: SumEngine) -> list[Any]:
        assert isinstance(engine, Crowded)
        engine.gate = threading.Event()
        tasks = [asyncio.create_task(run(worker, ones(3))) for _ in range(8 - after)]
        await until(lambda: engine.inside == (1 if after else 2))
        assert place.is_borrowed is not bool(after)
        tasks += [asyncio.create_task(run(worker, ones(3))) for _ in range(after)]
        await until(lambda: engine.inside == 2)
        assert len(worker.scheduler) == 0
        engine.gate.set()
        return await outcomes(tasks)

    done, _ = with_worker(body, mode="two at once", engine=Crowded(), place=place)
    assert [total(each) for each in done] == [3.0] * 8
    assert len(place.threads) == 1 and place.threads[0].startswith("inference")


def test_there_are_never_more_than_two_calls_and_the_second_has_its_own_engine() -> None:
    main, place = Crowded(), FakePlace()
    place.engine = second = Crowded()

    async def body() -> None:
        worker = Worker(
            Scheduler(max_batch=2, chunk_steps=4, max_waiting=99), FakeRunner(main, "two at once", place)
        )
        main.gate = threading.Event()
        tasks = [asyncio.create_task(run(worker, ones(9))) for _ in range(20)]
        await until(lambda: len(second.batches) == 9 * 3)  # one after the other, while the first is held
        assert (main.inside, len(main.batches)) == (1, 0)
        main.gate.set()
        assert [total(each) for each in await outcomes(tasks)] == [9.0] * 20
        await worker.stop()

    asyncio.run(body())
    assert (main.most, second.most) == (1, 1)
    assert not place.is_borrowed


def test_a_place_borrowed_for_cancelled_sequences_is_released() -> None:
    place = FakePlace()

    async def body(worker: Worker, engine: SumEngine) -> None:
        assert isinstance(engine, Crowded)
        engine.gate = threading.Event()
        first = asyncio.create_task(run(worker, ones(3)))
        await until(lambda: engine.inside == 1)
        cancelled = ones(3)
        cancelled.cancelled = True
        second = asyncio.create_task(run(worker, cancelled))
        await turns()
        assert not place.is_borrowed and engine.inside == 1
        second.cancel()
        engine.gate.set()
        assert total(await first) == 3

    with_worker(body, mode="two at once", engine=Crowded(), place=place)
    assert place.threads == []


def test_a_bug_while_a_place_is_borrowed_releases_it_and_fails_every_request() -> None:
    async def body(worker: Worker, engine: SumEngine) -> list[Any]:
        assert isinstance(engine, Crowded)
        engine.gate = threading.Event()
        tasks = [asyncio.create_task(run(worker, ones(3)))]
        await until(lambda: engine.inside == 1)
        snare = Snare()
        tasks.append(asyncio.create_task(run(worker, Sequence((cast(Any, snare),), ()))))
        asyncio.get_running_loop().call_soon(setattr, snare, "is_set", True)
        return await outcomes(tasks)

    done, failures = with_worker(body, mode="two at once", engine=Crowded(), num_unhandled=1)
    assert all(isinstance(error, InternalError) for error in done) and failures == ["failed"]


def test_the_rest_of_a_second_call_is_computed_though_the_first_ended_before_it() -> None:
    async def body(worker: Worker, engine: SumEngine) -> list[Any]:
        assert isinstance(engine, Gated)
        first = [asyncio.create_task(run(worker, ones(3, 1.0))) for _ in range(4)]
        await until(lambda: 1.0 in engine.inside)
        second = [asyncio.create_task(run(worker, ones(8, 2.0))) for _ in range(4)]  # two chunks each
        await until(lambda: 2.0 in engine.inside)
        engine.gates[1.0].set()
        await outcomes(first)
        stopping = asyncio.create_task(worker.stop())
        await turns()
        assert not stopping.done(), "the second call is still under way"
        engine.gates[2.0].set()
        await stopping
        return await outcomes(second)

    done, _ = with_worker(body, mode="two at once", engine=Gated())
    assert [total(each) for each in done] == [16.0] * 4


def test_a_bug_after_a_second_call_fails_the_requests_of_the_first_too() -> None:
    class Forgets(Gated):
        def run(self, batch: Batch) -> list[Result]:
            results = super().run(batch)
            return results[:-1] if value_of(batch) == 2.0 else results

    async def body(worker: Worker, engine: SumEngine) -> list[Any]:
        assert isinstance(engine, Gated)
        tasks = [asyncio.create_task(run(worker, ones(3, 1.0)))]
        await until(lambda: 1.0 in engine.inside)
        tasks.append(asyncio.create_task(run(worker, ones(3, 2.0))))
        engine.gates[2.0].set()
        done = await outcomes(tasks)
        engine.gates[1.0].set()
        return done

    done, failures = with_worker(body, mode="two at once", engine=Forgets(), num_unhandled=1)
    assert all(isinstance(error, InternalError) for error in done) and failures == ["failed"]


def test_without_a_free_place_the_waiting_sequences_join_the_next_call() -> None:
    place = FakePlace()

    async def body(worker: Worker, engine: SumEngine) -> list[Any]:
        assert isinstance(engine, Crowded)
        place.is_borrowed = True
        engine.gate = threading.Event()
        tasks = [asyncio.create_task(run(worker, ones(3)))]
        await until(lambda: engine.inside == 1)
        tasks.append(asyncio.create_task(run(worker, ones(3))))
        await turns()
        assert engine.inside == 1
        engine.gate.set()
        done = await outcomes(tasks)
        place.is_borrowed = False
        return done

    done, _ = with_worker(body, mode="two at once", engine=Crowded(), place=place)
    assert [total(each) for each in done] == [3.0] * 2 and place.threads == []


def test_the_same_bug_in_both_calls_is_reported_once() -> None:
    class Forgetful(Gated):
        def run(self, batch: Batch) -> list[Result]:
            return super().run(batch)[:-1]

    async def body(worker: Worker, engine: SumEngine) -> list[Any]:
        assert isinstance(engine, Gated)
        tasks = [asyncio.create_task(run(worker, ones(3, 1.0)))]
        await until(lambda: 1.0 in engine.inside)
        tasks.append(asyncio.create_task(run(worker, ones(3, 2.0))))
        await until(lambda: 2.0 in engine.inside)
        for gate in engine.gates.values():
            gate.set()
        return await outcomes(tasks)

    done, failures = with_worker(body, mode="two at once", engine=Forgetful(), num_unhandled=2)
    assert all(isinstance(error, InternalError) for error in done) and failures == ["failed"]
