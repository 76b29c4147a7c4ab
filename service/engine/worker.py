"""Turns the scheduler's crank and answers whoever waits, each exactly once.

Everything but `engine.run` happens on the event loop, so there is nothing to lock. A call of the engine
runs on the loop itself, where the hand-over to a thread would cost more than a small call does, or in a
thread, so that HTTP goes on during a long one. While one is under way in a thread there may be a second one
beside it, of other sequences, where there is a core to spare.
"""

import asyncio
import functools
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from service.engine.cores import Lent
from service.engine.scheduler import Scheduler
from service.errors import CellgateError, DeadlineExceeded, Draining, InternalError
from service.sequence import Batch, Engine, Result, Sequence

_Outcome = tuple[list[Result] | Exception, float]  # and the seconds it took

MAX_DEFERRED = 4

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Reply:
    """What somebody waits for: done when the last of their sequences is, or the first has failed."""

    future: asyncio.Future[None]
    num_waiting: int


@dataclass(slots=True)
class Spare:
    """What a second call beside the one under way takes."""

    engine: Engine  # which the first call may be using
    borrow: Callable[[], Lent | None]  # a core
    note: Callable[[], None]  # that a call has been made: who lends and borrows cores is to know
    min_waiting: int  # sequences
    min_wait_s: float  # of work

    def is_worth(self, scheduler: Scheduler) -> bool:
        """Whether enough waits."""
        return len(scheduler) >= self.min_waiting and scheduler.wait_s >= self.min_wait_s


class Worker:
    """Owns the scheduler and the engine of one model version."""

    def __init__(
        self,
        scheduler: Scheduler,
        engine: Engine,
        *,
        on_death: Callable[[], None],
        in_thread: Callable[[Batch], bool] = lambda _: False,
        turn: Callable[[Batch], AbstractContextManager[object]] = nullcontext,
        spare: Spare | None = None,
    ) -> None:
        """`turn` is held during a call in a thread, but for one in `spare`, and may have to be waited for."""
        self.scheduler = scheduler
        self.engine = engine
        self._on_death = on_death
        self._in_thread = in_thread
        self._turn = turn
        self._spare = spare
        self._replies: dict[Sequence, _Reply] = {}
        self._running = False  # a crank is due or an engine call is under way
        self._in_call = False  # that call, in a thread
        self._in_spare = False  # one beside it
        self._stopping = False
        self._num_seen = 0  # sequences queued at the last turn of the event loop
        self._num_deferred = 0  # turns that a batch has been put off for latecomers
        self._idle = asyncio.Event()
        self._idle.set()
        self._death: BaseException | None = None
        self._executor = ThreadPoolExecutor(1 if spare is None else 2, thread_name_prefix="inference")
        self._loop = asyncio.get_running_loop()

    @property
    def is_alive(self) -> bool:
        """Whether a sequence added now would be answered."""
        return self._death is None and not self._stopping

    async def predict(self, *sequences: Sequence) -> None:
        """Run sequences to their ends, together with whatever else is queued.

        Cancelling the caller drops them at their next chunk; so does an error of one of them.
        Raises Overloaded, DeadlineExceeded, InternalError, or Draining once stopped.
        """
        if not self.is_alive:
            raise Draining("the server is stopping")
        reply = _Reply(self._loop.create_future(), len(sequences))
        if not self._running:
            self._start()
        try:
            for sequence in sequences:
                self.scheduler.add(sequence)
                self._replies[sequence] = reply
            if self._in_call and self._spare is not None:
                self._loop.call_soon(self._use_spare)
            await reply.future
        except BaseException:
            for sequence in sequences:
                sequence.cancelled = True
                self._replies.pop(sequence, None)
            raise

    async def stop(self) -> None:
        """Take nothing new, finish what is queued, and let the thread go."""
        self._stopping = True
        await self._idle.wait()
        self._executor.shutdown(wait=False)

    def _start(self) -> None:
        self._running = True
        self._idle.clear()
        self._loop.call_soon(self._crank)

    def _crank(self) -> None:
        """One batch: schedule, run, commit, answer; then HTTP has its turn before the next."""
        try:
            if self._is_gathering():
                self._loop.call_soon(self._crank)
                return
            batch = self._schedule()
            if batch is None:
                self._running = False
                self._rest()
            elif self._in_thread(batch):
                self._in_call = True
                call = self._loop.run_in_executor(self._executor, self._run_in_turn, batch)
                call.add_done_callback(functools.partial(self._finish_call, batch))
                self._loop.call_soon(self._use_spare)
            else:
                self._finish(batch, self._run(self.engine, batch))
        except BaseException as error:
            self._die(error)
            raise

    def _schedule(self) -> Batch | None:
        batch = self.scheduler.schedule(self._loop.time())
        for sequence in self.scheduler.take_late():
            self._settle(sequence, DeadlineExceeded("not computed before the request's deadline"))
        return batch

    def _use_spare(self) -> None:
        """Beside a call: make another one, if enough waits and there is a core for it."""
        spare = self._spare
        if spare is None or not self._in_call or self._in_spare or self._death is not None:
            return
        core = spare.borrow() if spare.is_worth(self.scheduler) else None
        if core is None:
            return
        try:
            batch = self._schedule()
            if batch is None:  # all of them hung up
                core.leave()
                return
            call = self._loop.run_in_executor(self._executor, self._run_beside, spare.engine, core, batch)
            call.add_done_callback(functools.partial(self._finish_spare, batch))
            self._in_spare = True
        except BaseException as error:
            core.leave()
            self._die(error)
            raise

    def _rest(self) -> None:
        if not self._running and not self._in_spare:
            self._idle.set()

    def _is_gathering(self) -> bool:
        """Whether the last turn of the event loop brought more sequences: then the next may bring some too.

        A turn costs microseconds, a call of its own for the latecomer many times that.
        """
        queued = len(self.scheduler)
        has_grown, self._num_seen = queued > self._num_seen, queued
        if not has_grown or self._num_deferred >= MAX_DEFERRED:
            self._num_seen = self._num_deferred = 0
            return False
        self._num_deferred += 1
        return True

    def _run_in_turn(self, batch: Batch) -> _Outcome:
        with self._turn(batch):
            return self._run(self.engine, batch)

    def _run_beside(self, engine: Engine, core: Lent, batch: Batch) -> _Outcome:
        with core.used():
            return self._run(engine, batch)

    def _run(self, engine: Engine, batch: Batch) -> _Outcome:
        started = time.perf_counter()
        try:
            return engine.run(batch), time.perf_counter() - started
        except Exception as error:  # noqa: BLE001  a failing batch is answered, the crank goes on
            return error, time.perf_counter() - started

    def _finish_call(self, batch: Batch, call: asyncio.Future[_Outcome]) -> None:
        self._in_call = False
        try:
            self._finish(batch, call.result())
        except BaseException as error:  # also what `_run` lets through: the thread has no one to tell
            self._die(error)
            raise

    def _finish_spare(self, batch: Batch, call: asyncio.Future[_Outcome]) -> None:
        self._in_spare = False
        try:
            self._commit(batch, call.result()[0])
            if self._in_call:
                self._loop.call_soon(self._use_spare)
            elif not self._running and len(self.scheduler) and self._death is None:
                self._start()
            self._rest()
        except BaseException as error:
            self._die(error)
            raise

    def _finish(self, batch: Batch, outcome: _Outcome) -> None:
        results, seconds = outcome
        if self._spare is not None:
            self._spare.note()
        if not isinstance(results, Exception):
            self.scheduler.cost.observe(len(batch.chunks), batch.steps, seconds)
        self._commit(batch, results)
        if self._death is None:
            self._loop.call_soon(self._crank)

    def _commit(self, batch: Batch, results: list[Result] | Exception) -> None:
        if isinstance(results, Exception):
            logger.error("engine call of %d sequences failed", len(batch.chunks), exc_info=results)
            for chunk in batch.chunks:
                self._settle(chunk.sequence, InternalError("the model failed on this batch"))
        else:
            for sequence in self.scheduler.commit(batch, results):
                self._settle(sequence)

    def _settle(self, sequence: Sequence, error: CellgateError | None = None) -> None:
        """The one place where a reply is given."""
        reply = self._replies.pop(sequence, None)
        if reply is None or reply.future.done():  # the client hung up
            return
        reply.num_waiting -= 1
        if error is not None:
            reply.future.set_exception(error)
        elif not reply.num_waiting:
            reply.future.set_result(None)

    def _die(self, error: BaseException) -> None:
        """A bug of ours in the crank: fail every waiter, become unready, and let the process be replaced."""
        if self._death is not None:  # two calls, and the same bug
            return
        self._death = error
        for sequence in list(self._replies):
            self._settle(sequence, InternalError("the inference loop has failed"))
        self._running = False
        self._idle.set()
        logger.critical("the inference loop has failed; the server stops", exc_info=error)
        self._on_death()
