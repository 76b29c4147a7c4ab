"""Exactly one answer per request, whatever happens: calls on the event loop, in a thread, in two threads."""

import asyncio
import threading
from typing import Any

import pytest

from service.engine.scheduler import Scheduler
from service.engine.worker import Worker
from service.errors import (
    CellgateError,
    DeadlineExceeded,
    Draining,
    InternalError,
    Overloaded,
)
from service.metrics import Calls, Metrics, Registry, add_up
from service.sequence import Sequence
from tests.service.engine.workers import (
    MODES,
    ONE_BY_ONE,
    FakePlace,
    FakeRunner,
    Mode,
    outcomes,
    run,
    with_worker,
)
from tests.service.fakes import SumEngine, ones, sequence_of, total


def test_no_sequences_are_answered_at_once() -> None:
    """The reply was settled with its last sequence: so never, without any."""

    async def body() -> None:
        engine = SumEngine()
        scheduler = Scheduler(max_batch=4, chunk_steps=2, max_waiting=9)
        worker = Worker(scheduler, FakeRunner(engine, "inline", FakePlace()))
        await asyncio.wait_for(worker.predict(), 30)
        await asyncio.wait_for(worker.stop(), 30)

    asyncio.run(body())


@MODES
def test_every_request_gets_its_own_answer(mode: Mode) -> None:
    async def body(worker: Worker, _: SumEngine) -> list[float]:
        lengths = [1, 30, 4, 17, 2, 9, 5, 8, 3]
        return [total(s) for s in await asyncio.gather(*(run(worker, ones(n)) for n in lengths))]

    assert with_worker(body, mode=mode)[0] == [1, 30, 4, 17, 2, 9, 5, 8, 3]


@ONE_BY_ONE
def test_a_sequence_added_during_a_call_joins_the_next_batch(mode: Mode) -> None:
    async def body(worker: Worker, engine: SumEngine) -> list[int]:
        first = asyncio.create_task(run(worker, ones(40)))
        while not engine.batches:
            await asyncio.sleep(0)
        await asyncio.gather(first, run(worker, ones(8)))
        return [len(batch.chunks) for batch in engine.batches]

    sizes = with_worker(body, mode=mode)[0]
    assert sizes.count(2) == 2 and sizes[-1] == 1, "8 steps in two chunks of 4, each beside the long one"


def test_a_client_that_disconnects_does_not_harm_its_batch() -> None:
    """One batch is held inside the engine while one of its clients disconnects."""

    async def body(worker: Worker, engine: SumEngine) -> list[Any]:
        engine.gate = threading.Event()
        tasks = [asyncio.create_task(run(worker, ones(20, value))) for value in (1, 2, 3)]
        await asyncio.to_thread(engine.entered.wait, 60)
        tasks[1].cancel()
        await asyncio.sleep(0)
        engine.gate.set()
        done = await outcomes(tasks)
        return [*done, [len(batch.chunks) for batch in engine.batches]]

    first, second, third, sizes = with_worker(body, mode="in a thread")[0]
    assert isinstance(second, asyncio.CancelledError) and total(first) == 20 and total(third) == 60
    assert sizes == [3, 2, 2, 2, 2], "the dropped sequence is not computed to its end"


@MODES
def test_a_disconnect_between_the_answer_and_its_delivery_raises_nothing(mode: Mode) -> None:
    async def body(worker: Worker, engine: SumEngine) -> list[Any]:
        leaves, stays = (asyncio.create_task(run(worker, ones(n))) for n in (1, 3))
        while not leaves.done() and not engine.batches:
            await asyncio.sleep(0)
        leaves.cancel()  # its answer may exist already, and not have been delivered
        return [await stays, engine.batches]

    answer, batches = with_worker(body, mode=mode)[0]
    assert total(answer) == 3 and len(batches) == 1


@MODES
def test_sequences_of_one_request_are_answered_together(mode: Mode) -> None:
    async def body(worker: Worker, engine: SumEngine) -> list[Any]:
        lengths = [1, 9, 4, 30, 2, 2]
        together = [ones(n) for n in lengths]
        await worker.predict(*together)
        failing = [ones(5), sequence_of([13.0]), ones(40)]
        engine.fail_on = 13.0
        with pytest.raises(InternalError):
            await worker.predict(*failing)
        assert all(sequence.cancelled for sequence in failing), "no request waits for the others any more"
        return [[total(s) for s in together], lengths, total(await run(worker, ones(3)))]

    totals, lengths, later = with_worker(body, mode=mode)[0]
    assert totals == lengths and later == 3


def test_a_request_that_does_not_fit_as_a_whole_leaves_nothing_queued() -> None:
    scheduler = Scheduler(max_batch=2, chunk_steps=4, max_waiting=3)

    async def body(worker: Worker, engine: SumEngine) -> list[Any]:
        with pytest.raises(Overloaded):
            await worker.predict(*[ones(5) for _ in range(4)])
        while len(scheduler):
            await asyncio.sleep(0)
        done = total(await run(worker, ones(5)))
        return [done, sum(len(batch.chunks) for batch in engine.batches)]

    done, chunks = with_worker(body, scheduler=scheduler)[0]
    assert done == 5 and chunks == 2, "refused sequences are not computed"


@MODES
def test_stop_answers_every_request_and_accepts_no_more(mode: Mode) -> None:
    async def body(worker: Worker, _: SumEngine) -> list[float]:
        tasks = [asyncio.create_task(run(worker, ones(50))) for _ in range(90)]
        await asyncio.sleep(0)
        stopping = asyncio.create_task(worker.stop())
        await asyncio.sleep(0)
        with pytest.raises(Draining):
            await run(worker, ones(1))
        await stopping
        return [total(sequence) for sequence in await outcomes(tasks)]

    assert with_worker(body, mode=mode)[0] == [50.0] * 90


def test_stopping_an_idle_worker_returns_at_once() -> None:
    async def body(worker: Worker, _: SumEngine) -> bool:
        await worker.stop()
        return worker.is_alive

    assert with_worker(body)[0] is False


@MODES
def test_late_sequences_are_answered_and_not_computed(mode: Mode) -> None:
    async def body(worker: Worker, engine: SumEngine) -> list[Any]:
        past = asyncio.get_running_loop().time() - 1
        late = asyncio.create_task(run(worker, sequence_of([1.0] * 5, deadline=past)))
        in_time = asyncio.create_task(run(worker, ones(5)))
        done = await outcomes([late, in_time])
        return [*done, max(len(batch.chunks) for batch in engine.batches)]

    late, in_time, size = with_worker(body, mode=mode)[0]
    assert isinstance(late, DeadlineExceeded) and total(in_time) == 5 and size == 1


def test_overload_is_refused_at_once_and_the_others_are_answered() -> None:
    async def body(worker: Worker, _: SumEngine) -> list[Any]:
        return await outcomes([asyncio.create_task(run(worker, ones(9))) for _ in range(5)])

    scheduler = Scheduler(max_batch=1, chunk_steps=4, max_waiting=2)
    done = with_worker(body, scheduler=scheduler)[0]
    served = [total(result) for result in done if isinstance(result, Sequence)]
    refused = [error for error in done if isinstance(error, CellgateError)]
    assert served == [9, 9] and [type(error) for error in refused] == [Overloaded] * 3
    assert refused[0].retry_after_s == 1


@ONE_BY_ONE
def test_a_sequence_knows_the_seconds_of_the_calls_that_it_took_part_in(mode: Mode) -> None:
    async def body(worker: Worker, _: SumEngine) -> tuple[Sequence, Sequence]:
        long, short = ones(9), ones(1)
        await asyncio.gather(run(worker, long), run(worker, short))
        return long, short

    (long, short), _ = with_worker(body, mode=mode)
    assert long.run_s > short.run_s > 0, "a shorter one takes part in the first of its calls only"


@MODES
def test_each_call_is_counted_wherever_it_runs(mode: Mode) -> None:
    async def body(worker: Worker, engine: SumEngine) -> list[int]:
        await asyncio.gather(*(run(worker, ones(steps)) for steps in (3, 9, 2, 8, 1)))
        return [len(batch.chunks) for batch in engine.batches]

    metrics = Metrics(Registry())
    sizes, _ = with_worker(body, mode=mode, calls=Calls(metrics, "m", "1"))
    metrics.registry.flush()
    totals = add_up(metrics.registry.described, metrics.registry.read)
    *counts, sequences = totals["cellgate_engine_call_sequences"]["m", "1"]
    assert (sum(counts), sequences) == (len(sizes), sum(sizes))
    timed = totals["cellgate_engine_call_duration_seconds"]
    assert sum(sum(counts) for *counts, _ in timed.values()) == len(sizes)


@MODES
def test_a_submitted_sequence_is_settled_once_and_a_cancelled_one_never(mode: Mode) -> None:
    """As frames of a stream are: there is no task that waits."""

    async def body(worker: Worker, engine: SumEngine) -> list[str]:
        engine.fail_on = 7
        settled: list[str] = []
        done = asyncio.Event()

        def settle(name: str) -> Any:
            def note(error: CellgateError | None) -> None:
                settled.append(f"{name} {getattr(error, 'code', 'ok')}")
                if len(settled) == 2:
                    done.set()

            return note

        cancelled = ones(40)
        worker.submit(cancelled, settle("cancelled"))
        worker.cancel(cancelled)
        worker.submit(ones(3), settle("good"))
        worker.submit(sequence_of([7.0]), settle("bad"))
        await asyncio.wait_for(done.wait(), 30)
        return sorted(settled)

    assert with_worker(body, mode=mode)[0] == ["bad internal", "good ok"]


def test_a_stopped_worker_takes_no_sequence() -> None:
    async def body() -> None:
        scheduler = Scheduler(max_batch=4, chunk_steps=2, max_waiting=9)
        worker = Worker(scheduler, FakeRunner(SumEngine(), "inline", FakePlace()))
        await asyncio.wait_for(worker.stop(), 30)
        with pytest.raises(Draining):
            worker.submit(ones(1), lambda _: None)

    asyncio.run(body())
