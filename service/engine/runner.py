"""Where an engine call runs: on the event loop, in a thread, or beside another call on a borrowed core.

A worker process on one core:           Two workers that share two cores (see `service.engine.shared_cores`):

    event loop ─ short calls                event loop ─ short calls
    thread ───── long calls                 thread 1 ─── long calls, on its own core or on both
                                            thread 2 ─── a second call, on the other worker's core

The worker asks its runner and knows nothing of cores. A runner knows nothing of requests, queues or asyncio.
"""

import time
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from service.engine.cost import Cost
from service.engine.paired import PairedEngine
from service.engine.shared_cores import BorrowedCore, Cores
from service.sequence import Batch, Engine, Result


class Outcome(NamedTuple):
    """The result of one engine call."""

    results: list[Result] | Exception  # the exception that the engine raised
    seconds: float  # of the engine call alone, without waiting for cores


class Place(Protocol):
    """A reserved place for a second call, beside the one under way."""

    def run(self, batch: Batch) -> Outcome:
        """Run a batch in this thread, and release the place."""
        ...

    def release(self) -> None:
        """Release the place unused."""
        ...


class Runner(Protocol):
    """All that the worker knows of engines and cores."""

    @property
    def num_threads(self) -> int:
        """How many calls can be under way in threads at once. With 1, `borrow` is never called."""
        ...

    def is_inline(self, batch: Batch) -> bool:
        """Whether the call is short enough for the event loop: handing it to a thread would cost more."""
        ...

    def run(self, batch: Batch) -> Outcome:
        """Run a batch at once. Called on the event loop, so it never waits for a core."""
        ...

    def run_in_thread(self, batch: Batch) -> Outcome:
        """Run a batch; may wait for cores."""
        ...

    def borrow(self, num_waiting: int, wait_s: float) -> Place | None:
        """A place for a second call, if one is free and the waiting work justifies it.

        `num_waiting`: sequences in the queue; `wait_s`: seconds of work that they are.
        """
        ...


def run_timed(engine: Engine, batch: Batch) -> Outcome:
    """Run a batch. An exception is part of the outcome: the worker answers the batch with an error."""
    started = time.perf_counter()
    try:
        return Outcome(engine.run(batch), time.perf_counter() - started)
    except Exception as error:  # noqa: BLE001
        return Outcome(error, time.perf_counter() - started)


class SingleCoreRunner:
    """Calls on whatever CPUs the kernel chooses, one at a time."""

    num_threads = 1

    def __init__(self, engine: Engine, cost: Cost, *, inline_s: float) -> None:
        """`inline_s`: a call that is expected to take longer runs in a thread."""
        self._engine = engine
        self._cost = cost
        self._inline_s = inline_s

    def is_inline(self, batch: Batch) -> bool:
        """Whether the call is expected to take at most `inline_s`."""
        return self._cost.predict(len(batch.chunks), batch.steps) <= self._inline_s

    def run(self, batch: Batch) -> Outcome:
        """Run a batch."""
        return run_timed(self._engine, batch)

    def run_in_thread(self, batch: Batch) -> Outcome:
        """Run a batch."""
        return run_timed(self._engine, batch)

    def borrow(self, num_waiting: int, wait_s: float) -> Place | None:  # noqa: ARG002
        """No second place."""
        return None


class SharedCoresRunner:
    """Calls on the cores that two workers share: on its own, on both, or on the other's."""

    num_threads = 2

    def __init__(
        self,
        engine: Engine,
        cost: Cost,
        cores: Cores,
        *,
        inline_s: float,
        paired: PairedEngine | None = None,
    ) -> None:
        """`paired`: an engine that runs few rows on both cores."""
        self._engine = engine
        self._main: Engine = engine if paired is None else paired
        self._max_paired = 0 if paired is None else paired.max_rows
        self._cost = cost
        self._cores = cores
        self._inline_s = inline_s

    def is_inline(self, batch: Batch) -> bool:
        """Whether the call is short. With a paired engine none is inline: the event loop must not wait."""
        return not self._max_paired and self._cost.predict(len(batch.chunks), batch.steps) <= self._inline_s

    def run(self, batch: Batch) -> Outcome:
        """Run a batch without the lock of the core, which a short call is not worth."""
        outcome = run_timed(self._main, batch)
        self._cores.mark_busy()
        return outcome

    def run_in_thread(self, batch: Batch) -> Outcome:
        """Run a batch on this worker's core, or a few rows on both. Waits for them."""
        with self._cores.hold_both() if len(batch.chunks) <= self._max_paired else self._cores.hold_own():
            outcome = run_timed(self._main, batch)
        self._cores.mark_busy()
        return outcome

    def borrow(self, num_waiting: int, wait_s: float) -> Place | None:
        """The other worker's core, if it is idle, for more rows than run on both and enough work."""
        if num_waiting <= self._max_paired or wait_s < self._inline_s:
            return None
        core = self._cores.borrow()
        return None if core is None else _BorrowedPlace(self._engine, core)


@dataclass(slots=True, frozen=True)
class _BorrowedPlace:
    """A call on the other worker's core, of the engine that the first call may be using."""

    engine: Engine
    core: BorrowedCore

    def run(self, batch: Batch) -> Outcome:
        with self.core.in_use():
            return run_timed(self.engine, batch)

    def release(self) -> None:
        self.core.release()
