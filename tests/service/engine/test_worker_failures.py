"""Errors, late sequences and bugs in calls: each request is answered, and the others are not harmed."""

import asyncio
import logging
from typing import Any, cast

import pytest

from service.engine.scheduler import Scheduler
from service.engine.worker import Worker
from service.errors import (
    CellgateError,
    DeadlineExceeded,
    Draining,
    InternalError,
    NonFiniteOutput,
    WrongShape,
)
from service.sequence import Batch, Origin, Result, Sequence
from service.trace import Trace, current
from tests.service.engine.workers import (
    MODES,
    ONE_BY_ONE,
    FakePlace,
    FakeRunner,
    ForgetfulEngine,
    Mode,
    Snare,
    outcomes,
    run,
    with_worker,
)
from tests.service.fakes import SumEngine, ones, total


class Panic(BaseException):
    """Not an Exception: a panic in a library written in Rust becomes one like this."""


class PanickingEngine(SumEngine):
    """Raises an error that no `except Exception` catches."""

    def run(self, batch: Batch) -> list[Result]:  # noqa: ARG002
        raise Panic


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
    logging.getLogger("service.engine.waiters").addHandler(handler)
    try:
        with_worker(body, mode=mode)
    finally:
        logging.getLogger("service.engine.waiters").removeHandler(handler)
    (fields,) = [vars(record)["fields"] for record in caplog.records if record.levelno == logging.ERROR]
    assert fields == traces[1].fields and seen == [None]
