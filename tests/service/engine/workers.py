"""Runs a worker beside a test, with runners, places and engines that check or misuse it."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any, Literal

import pytest

from service.engine.runner import Outcome, Place, run_timed
from service.engine.scheduler import Scheduler
from service.engine.worker import Worker
from service.metrics import Calls
from service.sequence import Batch, Result, Sequence
from tests.service.fakes import SumEngine

Body = Callable[[Worker, SumEngine], Awaitable[Any]]
Mode = Literal["inline", "in a thread", "two at once"]
ONE_BY_ONE = pytest.mark.parametrize("mode", ["inline", "in a thread"])
MODES = pytest.mark.parametrize("mode", ["inline", "in a thread", "two at once"])


async def run(worker: Worker, sequence: Sequence) -> Sequence:
    await worker.predict(sequence)
    return sequence


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
