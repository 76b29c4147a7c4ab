"""Exactly one answer per request, whatever happens: the engine on the loop, in a thread, in two at once."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, cast

import pytest

from service.engine.cores import Lent
from service.engine.scheduler import Scheduler
from service.engine.worker import Spare, Worker
from service.errors import CellgateError, DeadlineExceeded, Draining, InternalError, Overloaded
from service.sequence import Batch, Result, Sequence
from tests.service.fakes import SumEngine, ones, sequence_of, total

Body = Callable[[Worker, SumEngine], Awaitable[Any]]
Mode = Literal["inline", "in a thread", "two at once"]
ONE_BY_ONE = pytest.mark.parametrize("mode", ["inline", "in a thread"])
MODES = pytest.mark.parametrize("mode", ["inline", "in a thread", "two at once"])


async def run(worker: Worker, sequence: Sequence) -> Sequence:
    await worker.predict(sequence)
    return sequence


class Snare:
    """An input that cannot be looked at any more once it has been queued: a bug in the next schedule."""

    def __init__(self) -> None:
        self.is_set = False

    def __len__(self) -> int:
        if self.is_set:
            raise ZeroDivisionError("a bug")
        return 5


class ForgetfulEngine(SumEngine):
    """Gives one result too few: a bug in the next commit."""

    def run(self, batch: Batch) -> list[Result]:
        return super().run(batch)[:-1]


class Core(Lent):
    """A core that can be borrowed, which notes who computes there and whether it was given back."""

    def __init__(self) -> None:
        self.is_taken = False
        self.threads: list[str] = []

    def try_take(self) -> bool:
        if self.is_taken:
            return False
        self.is_taken = True
        return True

    @contextmanager
    def used(self) -> Iterator[None]:
        assert self.is_taken
        self.threads.append(threading.current_thread().name)
        try:
            yield
        finally:
            self.leave()

    def leave(self) -> None:
        assert self.is_taken
        self.is_taken = False

    def borrow(self) -> Lent | None:
        return self if self.try_take() else None


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
    """Holds the calls whose first sequence is of ones until their gate is opened, likewise those of twos."""

    def __init__(self) -> None:
        super().__init__()
        self.gates = {1.0: threading.Event(), 2.0: threading.Event()}
        self.inside: set[float] = set()

    def run(self, batch: Batch) -> list[Result]:
        value = value_of(batch)
        self.inside.add(value)
        assert self.gates[value].wait(10)
        return super().run(batch)


class Panic(BaseException):
    """Not an Exception: what a panic in a library written in Rust becomes."""


class PanickingEngine(SumEngine):
    """Raises what no `except Exception` catches."""

    def run(self, batch: Batch) -> list[Result]:  # noqa: ARG002
        raise Panic


def with_worker(
    body: Body,
    *,
    mode: Mode = "inline",
    scheduler: Scheduler | None = None,
    engine: SumEngine | None = None,
    core: Core | None = None,
    strays: int = 0,
) -> tuple[Any, list[str]]:
    """Run `body` beside a worker and stop it; its result, and whether on_death was called."""
    stray: list[dict[str, Any]] = []
    deaths: list[str] = []
    lent = core or Core()

    async def main() -> Any:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: stray.append(context))
        used = engine or SumEngine()
        worker = Worker(
            Scheduler(max_batch=4, chunk_steps=4, max_waiting=99) if scheduler is None else scheduler,
            used,
            on_death=lambda: deaths.append("dead"),
            in_thread=lambda _: mode != "inline",
            spare=Spare(used, lent.borrow, lambda: None, 0, 0.0) if mode == "two at once" else None,
        )
        try:
            return await asyncio.wait_for(body(worker, used), 10)
        finally:
            if used.gate:
                used.gate.set()
            await asyncio.wait_for(worker.stop(), 10)

    result = asyncio.run(main())
    assert len(stray) == strays, stray
    assert not lent.is_taken
    return result, deaths


async def outcomes(tasks: list[asyncio.Task[Sequence]]) -> list[Any]:
    return await asyncio.gather(*tasks, return_exceptions=True)


@MODES
def test_every_request_gets_its_own_answer(mode: Mode) -> None:
    async def body(worker: Worker, _: SumEngine) -> list[float]:
        lengths = [1, 30, 4, 17, 2, 9, 5, 8, 3]
        return [total(s) for s in await asyncio.gather(*(run(worker, ones(n)) for n in lengths))]

    assert with_worker(body, mode=mode)[0] == [1, 30, 4, 17, 2, 9, 5, 8, 3]


@ONE_BY_ONE
def test_who_comes_while_another_is_computed_joins_the_next_batch(mode: Mode) -> None:
    async def body(worker: Worker, engine: SumEngine) -> list[int]:
        first = asyncio.create_task(run(worker, ones(40)))
        while not engine.batches:
            await asyncio.sleep(0)
        await asyncio.gather(first, run(worker, ones(8)))
        return [len(batch.chunks) for batch in engine.batches]

    sizes = with_worker(body, mode=mode)[0]
    assert sizes.count(2) == 2 and sizes[-1] == 1, "8 steps in two chunks of 4, each beside the long one"


def test_a_hung_up_client_harms_no_neighbour() -> None:
    """One batch is held inside the engine while the client in its middle hangs up."""

    async def body(worker: Worker, engine: SumEngine) -> list[Any]:
        engine.gate = threading.Event()
        tasks = [asyncio.create_task(run(worker, ones(20, value))) for value in (1, 2, 3)]
        await asyncio.to_thread(engine.entered.wait, 10)
        tasks[1].cancel()
        await asyncio.sleep(0)
        engine.gate.set()
        done = await outcomes(tasks)
        return [*done, [len(batch.chunks) for batch in engine.batches]]

    first, second, third, sizes = with_worker(body, mode="in a thread")[0]
    assert isinstance(second, asyncio.CancelledError) and total(first) == 20 and total(third) == 60
    assert sizes == [3, 2, 2, 2, 2], "the dropped sequence is not computed to its end"


@MODES
def test_hanging_up_between_the_answer_and_its_delivery_raises_nothing(mode: Mode) -> None:
    async def body(worker: Worker, engine: SumEngine) -> list[Any]:
        leaves, stays = (asyncio.create_task(run(worker, ones(n))) for n in (1, 3))
        while not leaves.done() and not engine.batches:
            await asyncio.sleep(0)
        leaves.cancel()  # its answer may be there already, and not yet delivered
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
        assert all(sequence.cancelled for sequence in failing), "nobody waits for the others any more"
        return [[total(s) for s in together], lengths, total(await run(worker, ones(3)))]

    totals, lengths, later = with_worker(body, mode=mode)[0]
    assert totals == lengths and later == 3


def test_a_request_that_does_not_fit_whole_leaves_nothing_behind() -> None:
    scheduler = Scheduler(max_batch=2, chunk_steps=4, max_waiting=3)

    async def body(worker: Worker, engine: SumEngine) -> list[Any]:
        with pytest.raises(Overloaded):
            await worker.predict(*[ones(5) for _ in range(4)])
        while len(scheduler):
            await asyncio.sleep(0)
        done = total(await run(worker, ones(5)))
        return [done, sum(len(batch.chunks) for batch in engine.batches)]

    done, chunks = with_worker(body, scheduler=scheduler)[0]
    assert done == 5 and chunks == 2, "the refused are not computed"


@MODES
def test_a_failing_batch_is_answered_and_the_crank_lives_on(mode: Mode) -> None:
    async def body(worker: Worker, engine: SumEngine) -> list[Any]:
        engine.fail_on = 13.0
        tasks = [asyncio.create_task(run(worker, ones(5, value))) for value in (13.0, 1.0)]
        failed = await outcomes(tasks)
        assert worker.is_alive
        return [*failed, await run(worker, ones(5))]

    bad, neighbour, later = with_worker(body, mode=mode)[0]
    assert isinstance(bad, InternalError) and isinstance(neighbour, InternalError)
    assert "boom" not in bad.detail, "the model's own words are for the log"
    assert total(later) == 5


@MODES
@pytest.mark.parametrize("where", ["schedule", "commit"])
def test_a_bug_in_the_crank_fails_every_waiter_and_asks_for_the_end(where: str, mode: Mode) -> None:
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
    done, deaths = with_worker(body, mode=mode, engine=engine, strays=1)
    assert all(isinstance(error, InternalError) for error in done) and deaths == ["dead"]


@MODES
def test_an_engine_that_panics_leaves_nobody_waiting(mode: Mode) -> None:
    """A panic in the thread came out of the call's callback, where nobody answered for it."""

    async def body(worker: Worker, _: SumEngine) -> list[Any]:
        done = await outcomes([asyncio.create_task(run(worker, ones(5)))])
        assert not worker.is_alive
        return done

    (error,), deaths = with_worker(body, mode=mode, engine=PanickingEngine(), strays=1)
    assert isinstance(error, InternalError) and deaths == ["dead"]


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("after", [0, 4])
def test_a_second_call_runs_beside_the_first_for_those_who_come_and_those_left_over(after: int) -> None:
    core = Core()

    async def body(worker: Worker, engine: SumEngine) -> list[Any]:
        assert isinstance(engine, Crowded)
        engine.gate = threading.Event()
        tasks = [asyncio.create_task(run(worker, ones(3))) for _ in range(8 - after)]
        await until(lambda: engine.inside == (1 if after else 2))
        assert core.is_taken is not bool(after)
        tasks += [asyncio.create_task(run(worker, ones(3))) for _ in range(after)]
        await until(lambda: engine.inside == 2)
        assert len(worker.scheduler) == 0
        engine.gate.set()
        return await outcomes(tasks)

    done, _ = with_worker(body, mode="two at once", engine=Crowded(), core=core)
    assert [total(each) for each in done] == [3.0] * 8
    assert len(core.threads) == 1 and core.threads[0].startswith("inference")


def test_there_are_never_more_than_two_calls_and_the_second_has_its_own_engine() -> None:
    main, beside, core, noted = Crowded(), Crowded(), Core(), list[str]()

    async def body() -> None:
        worker = Worker(
            Scheduler(max_batch=2, chunk_steps=4, max_waiting=99),
            main,
            on_death=lambda: noted.append("death"),
            in_thread=lambda _: True,
            spare=Spare(beside, core.borrow, lambda: noted.append("a call"), 1, 0.0),
        )
        main.gate = threading.Event()
        tasks = [asyncio.create_task(run(worker, ones(9))) for _ in range(20)]
        await until(lambda: len(beside.batches) == 9 * 3)  # one after the other, while the first is held
        assert (main.inside, len(main.batches)) == (1, 0)
        main.gate.set()
        assert [total(each) for each in await outcomes(tasks)] == [9.0] * 20
        await worker.stop()

    asyncio.run(body())
    assert (main.most, beside.most) == (1, 1)
    assert noted == ["a call"] * len(main.batches), "the borrowed core is not ours to note"
    assert not core.is_taken


def test_a_core_borrowed_in_vain_is_given_back() -> None:
    core = Core()

    async def body(worker: Worker, engine: SumEngine) -> None:
        assert isinstance(engine, Crowded)
        engine.gate = threading.Event()
        first = asyncio.create_task(run(worker, ones(3)))
        await until(lambda: engine.inside == 1)
        gone = ones(3)
        gone.cancelled = True
        second = asyncio.create_task(run(worker, gone))
        await asyncio.sleep(0.02)
        assert not core.is_taken and engine.inside == 1
        second.cancel()
        engine.gate.set()
        assert total(await first) == 3

    with_worker(body, mode="two at once", engine=Crowded(), core=core)
    assert core.threads == []


def test_a_bug_while_a_core_is_borrowed_gives_it_back_and_fails_every_waiter() -> None:
    async def body(worker: Worker, engine: SumEngine) -> list[Any]:
        assert isinstance(engine, Crowded)
        engine.gate = threading.Event()
        tasks = [asyncio.create_task(run(worker, ones(3)))]
        await until(lambda: engine.inside == 1)
        snare = Snare()
        tasks.append(asyncio.create_task(run(worker, Sequence((cast(Any, snare),), ()))))
        asyncio.get_running_loop().call_soon(setattr, snare, "is_set", True)
        return await outcomes(tasks)

    done, deaths = with_worker(body, mode="two at once", engine=Crowded(), strays=1)
    assert all(isinstance(error, InternalError) for error in done) and deaths == ["dead"]


def test_what_a_second_call_leaves_is_computed_though_the_first_ended_before_it() -> None:
    async def body(worker: Worker, engine: SumEngine) -> list[Any]:
        assert isinstance(engine, Gated)
        first = [asyncio.create_task(run(worker, ones(3, 1.0))) for _ in range(4)]
        await until(lambda: 1.0 in engine.inside)
        second = [asyncio.create_task(run(worker, ones(8, 2.0))) for _ in range(4)]  # two chunks each
        await until(lambda: 2.0 in engine.inside)
        engine.gates[1.0].set()
        await outcomes(first)
        stopping = asyncio.create_task(worker.stop())
        await asyncio.sleep(0.02)
        assert not stopping.done(), "the second call is still there"
        engine.gates[2.0].set()
        await stopping
        return await outcomes(second)

    done, _ = with_worker(body, mode="two at once", engine=Gated())
    assert [total(each) for each in done] == [16.0] * 4


def test_a_bug_after_a_second_call_fails_those_of_the_first_too() -> None:
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

    done, deaths = with_worker(body, mode="two at once", engine=Forgets(), strays=1)
    assert all(isinstance(error, InternalError) for error in done) and deaths == ["dead"]


def test_little_work_is_not_worth_a_second_core() -> None:
    scheduler = Scheduler(max_batch=4, chunk_steps=4, max_waiting=99)
    spare = Spare(SumEngine(), Core().borrow, lambda: None, min_waiting=2, min_wait_s=1.0)
    scheduler.cost.learn((rows, steps, 0.1 * steps) for rows in (1, 4) for steps in (1, 8))
    scheduler.add(ones(20))
    assert not spare.is_worth(scheduler), "one sequence"
    scheduler.add(ones(1))
    assert spare.is_worth(scheduler)
    scheduler = Scheduler(max_batch=4, chunk_steps=4, max_waiting=99, cost=scheduler.cost)
    scheduler.add(ones(1))
    scheduler.add(ones(1))
    assert not spare.is_worth(scheduler), "a moment's work"


@MODES
def test_stop_answers_everyone_and_takes_nobody_new(mode: Mode) -> None:
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
def test_the_late_are_told_and_not_computed(mode: Mode) -> None:
    async def body(worker: Worker, engine: SumEngine) -> list[Any]:
        past = asyncio.get_running_loop().time() - 1
        late = asyncio.create_task(run(worker, sequence_of([1.0] * 5, deadline=past)))
        in_time = asyncio.create_task(run(worker, ones(5)))
        done = await outcomes([late, in_time])
        return [*done, max(len(batch.chunks) for batch in engine.batches)]

    late, in_time, size = with_worker(body, mode=mode)[0]
    assert isinstance(late, DeadlineExceeded) and total(in_time) == 5 and size == 1


def test_overload_is_refused_at_once_and_the_others_are_served() -> None:
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
    """Hang-ups, failures and deadlines in one crowd; then one honest request."""

    async def body(worker: Worker, engine: SumEngine) -> float:
        engine.fail_on = 13.0
        past = asyncio.get_running_loop().time() - 1
        crowd = [ones(7, 13.0 if n % 7 == 0 else 1.0) for n in range(60)]
        for sequence in crowd[::5]:
            sequence.deadline = past
        tasks = [asyncio.create_task(run(worker, sequence)) for sequence in crowd]
        await asyncio.sleep(0)
        for task in tasks[::3]:
            task.cancel()
        done = await outcomes(tasks)
        assert all(isinstance(r, asyncio.CancelledError | CellgateError) or total(r) == 7 for r in done)
        engine.fail_on = None
        return total(await run(worker, ones(6)))

    assert with_worker(body, mode=mode)[0] == 6
