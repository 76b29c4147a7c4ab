"""Exactly one answer per request, whatever happens: calls on the event loop, in a thread, in two threads."""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from typing import Any, Literal, cast

import pytest

from service.engine.runner import Outcome, Place, run_timed
from service.engine.scheduler import Scheduler
from service.engine.worker import Worker
from service.errors import (
    CellgateError,
    DeadlineExceeded,
    Draining,
    InternalError,
    NonFiniteOutput,
    Overloaded,
    WrongShape,
)
from service.metrics import Calls, Metrics, Registry, add_up
from service.sequence import Batch, Origin, Result, Sequence
from service.trace import Trace, current
from tests.service.fakes import SumEngine, ones, sequence_of, total

Body = Callable[[Worker, SumEngine], Awaitable[Any]]
Mode = Literal["inline", "in a thread", "two at once"]
ONE_BY_ONE = pytest.mark.parametrize("mode", ["inline", "in a thread"])
MODES = pytest.mark.parametrize("mode", ["inline", "in a thread", "two at once"])


async def run(worker: Worker, sequence: Sequence) -> Sequence:
    await worker.predict(sequence)
    return sequence


def test_no_sequences_are_answered_at_once() -> None:
    """The reply was settled with its last sequence: so never, without any."""

    async def body() -> None:
        engine = SumEngine()
        scheduler = Scheduler(max_batch=4, chunk_steps=2, max_waiting=9)
        worker = Worker(scheduler, FakeRunner(engine, "inline", FakePlace()))
        await asyncio.wait_for(worker.predict(), 30)
        await asyncio.wait_for(worker.stop(), 30)

    asyncio.run(body())


class Snare:
    """An input without a length once it has been queued: a bug in the next schedule."""

    def __init__(self) -> None:
        self.is_set = False

    def __len__(self) -> int:
        if self.is_set:
            raise ZeroDivisionError("a bug")
        return 5


class ForgetfulEngine(SumEngine):
    """Returns one result too few: a bug in the next commit."""

    def run(self, batch: Batch) -> list[Result]:
        return super().run(batch)[:-1]


class FakePlace:
    """A place for a second call. It records the threads that run there, and fails if it is misused."""

    def __init__(self) -> None:
        self.engine: SumEngine | None = None
        self.is_borrowed = False
        self.threads: list[str] = []

    def run(self, batch: Batch) -> Outcome:
        assert self.is_borrowed and self.engine is not None
        self.threads.append(threading.current_thread().name)
        try:
            return run_timed(self.engine, batch)
        finally:
            self.release()

    def release(self) -> None:
        assert self.is_borrowed
        self.is_borrowed = False


class FakeRunner:
    """Runs calls where the mode says, and lends its place to any second call."""

    def __init__(self, engine: SumEngine, mode: Mode, place: FakePlace) -> None:
        self.num_threads = 2 if mode == "two at once" else 1
        self._engine = engine
        self._mode = mode
        self._place = place
        place.engine = place.engine or engine

    def is_inline(self, _: Batch) -> bool:
        return self._mode == "inline"

    def run(self, batch: Batch) -> Outcome:
        assert self._mode == "inline"
        return run_timed(self._engine, batch)

    def run_in_thread(self, batch: Batch) -> Outcome:
        assert self._mode != "inline"
        return run_timed(self._engine, batch)

    def borrow(self, num_waiting: int, wait_s: float) -> Place | None:
        assert self.num_threads == 2 and num_waiting >= 0 and wait_s >= 0
        if self._place.is_borrowed:
            return None
        self._place.is_borrowed = True
        return self._place


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


class Panic(BaseException):
    """Not an Exception: a panic in a library written in Rust becomes one like this."""


class PanickingEngine(SumEngine):
    """Raises an error that no `except Exception` catches."""

    def run(self, batch: Batch) -> list[Result]:  # noqa: ARG002
        raise Panic


def with_worker(
    body: Body,
    *,
    mode: Mode = "inline",
    scheduler: Scheduler | None = None,
    engine: SumEngine | None = None,
    place: FakePlace | None = None,
    num_unhandled: int = 0,
    calls: Calls | None = None,
) -> tuple[Any, list[str]]:
    """Run `body` beside a worker and stop it; its result, and the calls of `on_failure`."""
    unhandled: list[dict[str, Any]] = []
    failures: list[str] = []
    place = place or FakePlace()
    engine = engine or SumEngine()

    async def main() -> Any:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
        worker = Worker(
            Scheduler(max_batch=4, chunk_steps=4, max_waiting=99) if scheduler is None else scheduler,
            FakeRunner(engine, mode, place),
            on_failure=lambda: failures.append("failed"),
            calls=calls,
        )
        try:
            result = await asyncio.wait_for(body(worker, engine), 60)
            await until(lambda: len(unhandled) >= num_unhandled)  # of a call that another has outrun
            return result
        finally:
            if engine.gate:
                engine.gate.set()
            await asyncio.wait_for(worker.stop(), 60)

    result = asyncio.run(main())
    assert len(unhandled) == num_unhandled, unhandled
    assert not place.is_borrowed
    return result, failures


async def outcomes(tasks: list[asyncio.Task[Sequence]]) -> list[Any]:
    return await asyncio.gather(*tasks, return_exceptions=True)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():
            await asyncio.sleep(0.001)


async def turns() -> None:
    """Let the event loop run everything that is due, and what follows from it."""
    for _ in range(20):
        await asyncio.sleep(0)


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
def test_a_sequence_that_fails_its_batch_fails_alone_and_the_loop_continues(mode: Mode) -> None:
    async def body(worker: Worker, engine: SumEngine) -> list[Any]:
        engine.fail_on = 13.0
        tasks = [asyncio.create_task(run(worker, ones(5, value))) for value in (13.0, 1.0, 2.0)]
        done = await outcomes(tasks)
        assert worker.is_alive
        calls = [
            [float(chunk.sequence.inputs[0][0, 0]) for chunk in batch.chunks] for batch in engine.batches
        ]
        return [*done, sum(13.0 in call for call in calls), await run(worker, ones(5))]

    bad, *neighbours, num_calls, later = with_worker(body, mode=mode)[0]
    assert isinstance(bad, InternalError)
    assert "boom" not in bad.detail, "the model's message is for the log"
    assert [total(neighbour) for neighbour in neighbours] == [5, 10]
    assert num_calls <= 2, "in its batch, and alone"
    assert total(later) == 5


class RefusingEngine(SumEngine):
    """Refuses what the clients of 13 and of 14 send: one with the whole batch, one with a result."""

    def _step(self, sequence: Sequence, start: int, stop: int) -> Result:
        result = super()._step(sequence, start, stop)
        if (sequence.inputs[0] == 13.0).any():
            raise WrongShape("not 13")
        if (sequence.inputs[0] == 14.0).any():
            return result._replace(error=NonFiniteOutput("NaN"))
        return result


@MODES
def test_an_error_that_the_engine_names_reaches_its_sequence_alone(mode: Mode) -> None:
    async def body(worker: Worker, _: SumEngine) -> list[Any]:
        tasks = [asyncio.create_task(run(worker, ones(5, value))) for value in (1.0, 14.0, 13.0, 2.0)]
        return await outcomes(tasks)

    first, non_finite, refused, last = with_worker(body, mode=mode, engine=RefusingEngine())[0]
    assert isinstance(non_finite, NonFiniteOutput) and isinstance(refused, WrongShape)
    assert (total(first), total(last)) == (5, 10)


class SlowEngine(SumEngine):
    """While a batch of several fails, one of its clients disconnects and the time of another is up."""

    def run(self, batch: Batch) -> list[Result]:
        if len(batch.chunks) > 1:
            _, late, gone = [chunk.sequence for chunk in batch.chunks]
            late.origin, gone.cancelled = Origin(deadline=-1.0), True
            raise RuntimeError("boom")
        return super().run(batch)


@ONE_BY_ONE
def test_a_sequence_that_is_to_be_run_alone_can_be_late_or_cancelled(mode: Mode) -> None:
    async def body(worker: Worker, engine: SumEngine) -> list[Any]:
        sequences = [ones(3), ones(5), ones(7)]
        tasks = [asyncio.create_task(run(worker, sequence)) for sequence in sequences]
        done = await outcomes(tasks[:2])
        tasks[2].cancel()
        return [
            *done,
            await run(worker, ones(5)),
            [batch.chunks[0].sequence.steps for batch in engine.batches],
        ]

    first, late, later, steps = with_worker(body, mode=mode, engine=SlowEngine())[0]
    assert isinstance(late, DeadlineExceeded)
    assert (total(first), total(later)) == (3, 5)
    assert steps == [3, 5, 5], "neither of the two was computed"


@MODES
@pytest.mark.parametrize("where", ["schedule", "commit"])
def test_a_bug_in_the_loop_fails_every_request_and_ends_the_process(where: str, mode: Mode) -> None:
    async def body(worker: Worker, _: SumEngine) -> list[Any]:
        tasks = [asyncio.create_task(run(worker, ones(5))) for _ in range(3)]
        if where == "schedule":
            snare = Snare()
            tasks.append(asyncio.create_task(run(worker, Sequence((cast(Any, snare),), ()))))
            asyncio.get_running_loop().call_soon(setattr, snare, "is_set", True)
        done = await outcomes(tasks)
        assert not worker.is_alive
        with pytest.raises(Draining):
            await run(worker, ones(1))
        return done

    engine = ForgetfulEngine() if where == "commit" else None
    done, failures = with_worker(body, mode=mode, engine=engine, num_unhandled=1)
    assert all(isinstance(error, InternalError) for error in done) and failures == ["failed"]


@MODES
def test_an_engine_that_panics_leaves_no_request_waiting(mode: Mode) -> None:
    """A panic in the thread was raised in the call's callback, which answered no request."""

    async def body(worker: Worker, _: SumEngine) -> list[Any]:
        done = await outcomes([asyncio.create_task(run(worker, ones(5)))])
        assert not worker.is_alive
        return done

    (error,), failures = with_worker(body, mode=mode, engine=PanickingEngine(), num_unhandled=1)
    assert isinstance(error, InternalError) and failures == ["failed"]


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


def test_a_worker_without_a_callback_fails_its_requests_too() -> None:
    async def body() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        scheduler = Scheduler(max_batch=4, chunk_steps=4, max_waiting=99)
        worker = Worker(scheduler, FakeRunner(ForgetfulEngine(), "inline", FakePlace()))
        with pytest.raises(InternalError):
            await worker.predict(ones(1))
        assert not worker.is_alive
        await worker.stop()

    asyncio.run(body())


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


@MODES
def test_after_everything_at_once_it_still_answers(mode: Mode) -> None:
    """Disconnects, failures and deadlines at once; then one valid request."""

    async def body(worker: Worker, engine: SumEngine) -> float:
        engine.fail_on = 13.0
        past = asyncio.get_running_loop().time() - 1
        crowd = [ones(7, 13.0 if n % 7 == 0 else 1.0) for n in range(60)]
        for sequence in crowd[::5]:
            sequence.origin = Origin(deadline=past)
        tasks = [asyncio.create_task(run(worker, sequence)) for sequence in crowd]
        await asyncio.sleep(0)
        for task in tasks[::3]:
            task.cancel()
        done = await outcomes(tasks)
        assert all(isinstance(r, asyncio.CancelledError | CellgateError) or total(r) == 7 for r in done)
        engine.fail_on = None
        return total(await run(worker, ones(6)))

    assert with_worker(body, mode=mode)[0] == 6


@ONE_BY_ONE
def test_a_sequence_knows_the_seconds_of_the_calls_that_it_took_part_in(mode: Mode) -> None:
    async def body(worker: Worker, _: SumEngine) -> tuple[Sequence, Sequence]:
        long, short = ones(9), ones(1)
        await asyncio.gather(run(worker, long), run(worker, short))
        return long, short

    (long, short), _ = with_worker(body, mode=mode)
    assert long.run_s > short.run_s > 0, "a shorter one takes part in the first of its calls only"


@MODES
def test_a_line_about_one_sequence_names_its_trace_and_no_other(
    mode: Mode, caplog: pytest.LogCaptureFixture
) -> None:
    """The loop ran in the context of the request that had started it, and so named that one's trace."""
    traces = [Trace(digit * 32, digit * 16, is_sampled=True) for digit in "12"]
    seen: list[Trace | None] = []

    class Watched(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.levelno == logging.ERROR:
                seen.append(current.get())

    async def body(worker: Worker, engine: SumEngine) -> None:
        engine.fail_on = 5.0
        current.set(traces[0])
        origin = Origin(trace=traces[1])
        failing = ones(1, 5.0)
        failing.origin = origin
        await asyncio.gather(run(worker, ones(3)), run(worker, failing), return_exceptions=True)

    handler = Watched()
    logging.getLogger("service.engine.worker").addHandler(handler)
    try:
        with_worker(body, mode=mode)
    finally:
        logging.getLogger("service.engine.worker").removeHandler(handler)
    (fields,) = [vars(record)["fields"] for record in caplog.records if record.levelno == logging.ERROR]
    assert fields == traces[1].fields and seen == [None]


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
