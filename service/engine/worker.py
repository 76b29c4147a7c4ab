"""The inference loop of one model version: schedule a batch, run it, commit, answer each request once.

Everything but the engine call happens on the event loop, so there is nothing to lock. The runner decides
where a call runs: on the event loop, where handing a small call to a thread would cost more than the call, or
in a thread, so that HTTP continues during a long one. During a call in a thread a second one, of other
sequences, may run beside it if the runner has a place for it.

A call of several sequences that fails is made again, once, for each of them alone: one that fails then has an
error of its own, the others have their answers.
"""

import asyncio
import contextvars
import functools
import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from service.engine.runner import Outcome, Place, Runner
from service.engine.scheduler import Scheduler
from service.engine.waiters import Reply, Settle, error_of, late, settle_one
from service.errors import CellgateError, Draining, InternalError
from service.metrics import Calls
from service.sequence import Batch, Sequence

MAX_DEFERRED = 4

logger = logging.getLogger(__name__)


class Worker:
    """Owns the scheduler and the inference loop of one model version."""

    def __init__(
        self,
        scheduler: Scheduler,
        runner: Runner,
        *,
        on_failure: Callable[[], None] | None = None,
        calls: Calls | None = None,
    ) -> None:
        """`on_failure` is called once, if a bug ends the loop: the process should then be replaced.

        `calls`: counts engine calls, if given.
        """
        self.scheduler = scheduler
        self._runner = runner
        self._on_failure = on_failure
        self._calls = calls
        self._can_borrow = runner.num_threads > 1
        self._waiting: dict[Sequence, Settle] = {}
        self._retries: deque[Batch] = deque()  # each of one chunk, of a call that failed
        self._is_running = False  # a step is due or the first call is under way
        self._is_in_thread = False  # the first call is under way in a thread
        self._has_second = False  # a second call is under way
        self._is_stopping = False
        self._num_seen = 0  # sequences queued at the last iteration of the event loop
        self._num_deferred = 0  # iterations that a batch has been deferred for latecomers
        self._idle = asyncio.Event()
        self._idle.set()
        self._failure: BaseException | None = None
        self._executor = ThreadPoolExecutor(runner.num_threads, thread_name_prefix="inference")
        self._loop = asyncio.get_running_loop()
        # Not that of the request which happens to start the loop: log lines would name its trace.
        self._context = contextvars.copy_context()

    @property
    def is_alive(self) -> bool:
        """Whether a sequence added now would be answered."""
        return self._failure is None and not self._is_stopping

    async def predict(self, *sequences: Sequence) -> None:
        """Run sequences to their ends, together with all others that are queued.

        If the caller is cancelled, or one of the sequences fails, the others are dropped at their next chunk.
        Raises Overloaded, DeadlineExceeded, InternalError, or Draining once stopped.
        """
        if not self.is_alive:
            raise Draining("the server is stopping")
        if not sequences:  # nothing would ever end, and so settle it
            return
        reply = Reply(self._loop.create_future(), len(sequences))
        if not self._is_running:
            self._start()
        try:
            for sequence in sequences:
                self.scheduler.add(sequence)
                self._waiting[sequence] = reply.settle
            if self._is_in_thread and self._can_borrow:
                self._loop.call_soon(self._start_second, context=self._context)
            await reply.future
        except BaseException:
            for sequence in sequences:
                sequence.cancelled = True
                self._waiting.pop(sequence, None)
            raise

    async def compute(self, sequence: Sequence) -> Sequence:
        """`predict` of one sequence, which is returned: without loops, since most requests have one."""
        if self._is_stopping or self._failure is not None:  # `is_alive`, without a call
            raise Draining("the server is stopping")
        future = self._loop.create_future()
        if not self._is_running:
            self._start()
        try:
            self.scheduler.add(sequence)
            self._waiting[sequence] = functools.partial(settle_one, future)
            if self._is_in_thread and self._can_borrow:
                self._loop.call_soon(self._start_second, context=self._context)
            await future
        except BaseException:
            self.cancel(sequence)
            raise
        return sequence

    def submit(self, sequence: Sequence, settle: Settle) -> None:
        """Run one sequence to its end, without a task that waits for it. `settle` gets its error, or None.

        Raises Overloaded, or Draining once stopped; then `settle` is not called.
        """
        if not self.is_alive:
            raise Draining("the server is stopping")
        self.scheduler.add(sequence)
        self._waiting[sequence] = settle
        if not self._is_running:
            self._start()
        if self._is_in_thread and self._can_borrow:
            self._loop.call_soon(self._start_second, context=self._context)

    def cancel(self, sequence: Sequence) -> None:
        """Drop a sequence at its next chunk. It is not settled any more."""
        sequence.cancelled = True
        self._waiting.pop(sequence, None)

    async def stop(self) -> None:
        """Refuse new sequences, finish those that are queued, and end the threads."""
        self._is_stopping = True
        await self._idle.wait()
        self._executor.shutdown(wait=False)

    def _start(self) -> None:
        self._is_running = True
        self._idle.clear()
        self._loop.call_soon(self._step, context=self._context)

    def _step(self) -> None:
        """One batch: schedule, run, commit, answer. The event loop serves HTTP before the next step."""
        try:
            if self._is_gathering():
                self._loop.call_soon(self._step)
                return
            batch = self._schedule()
            if batch is None:
                self._is_running = False
                self._update_idle()
            elif self._runner.is_inline(batch):
                self._finish(batch, self._runner.run(batch))
            else:
                self._is_in_thread = True
                call = self._loop.run_in_executor(self._executor, self._runner.run_in_thread, batch)
                call.add_done_callback(functools.partial(self._finish_first, batch))
                if self._can_borrow:
                    self._loop.call_soon(self._start_second)
        except BaseException as error:
            self._fail(error)
            raise

    def _schedule(self) -> Batch | None:
        batch = self._next_retry() if self._retries else None
        if batch is None:
            batch = self.scheduler.schedule(self._loop.time())
        for sequence in self.scheduler.take_late():
            self._settle(sequence, late())
        return batch

    def _next_retry(self) -> Batch | None:
        """The next chunk to be tried alone, unless its client has disconnected or its time is up."""
        now = self._loop.time()
        while self._retries:
            batch = self._retries.popleft()
            sequence = batch.chunks[0].sequence
            if sequence.cancelled:
                continue
            if sequence.origin.deadline >= now:
                return batch
            self._settle(sequence, late())
        return None

    def _is_gathering(self) -> bool:
        """Whether sequences were added since the last iteration of the event loop: more may be about to be.

        An iteration takes microseconds; a call of its own for each latecomer takes many times that.
        """
        num_queued = len(self.scheduler)
        has_grown, self._num_seen = num_queued > self._num_seen, num_queued
        if not has_grown or self._num_deferred >= MAX_DEFERRED:
            self._num_seen = self._num_deferred = 0
            return False
        self._num_deferred += 1
        return True

    def _start_second(self) -> None:
        """Make a second call beside the one in a thread, if the runner has a place for it."""
        if not self._is_in_thread or self._has_second or self._failure is not None:
            return
        place = self._runner.borrow(len(self.scheduler), self.scheduler.wait_s)
        if place is None:
            return
        try:
            batch = self._schedule()
            if batch is None:  # all that waited had been cancelled, or were late
                place.release()
                return
            self._run_second(place, batch)
        except BaseException as error:
            place.release()
            self._fail(error)
            raise

    def _run_second(self, place: Place, batch: Batch) -> None:
        call = self._loop.run_in_executor(self._executor, place.run, batch)
        call.add_done_callback(functools.partial(self._finish_second, batch))
        self._has_second = True

    def _finish_first(self, batch: Batch, call: asyncio.Future[Outcome]) -> None:
        self._is_in_thread = False
        try:
            self._finish(batch, call.result())
        except BaseException as error:  # including what the runner does not catch
            self._fail(error)
            raise

    def _finish_second(self, batch: Batch, call: asyncio.Future[Outcome]) -> None:
        self._has_second = False
        try:
            self._commit(batch, call.result())
            if self._is_in_thread:
                self._loop.call_soon(self._start_second)
            elif not self._is_running and self._has_work() and self._failure is None:
                self._start()
            self._update_idle()
        except BaseException as error:
            self._fail(error)
            raise

    def _finish(self, batch: Batch, outcome: Outcome) -> None:
        if not isinstance(outcome.results, Exception):
            self.scheduler.cost.observe(len(batch.chunks), batch.steps, outcome.seconds)
        self._commit(batch, outcome)
        if self._failure is None:
            self._loop.call_soon(self._step)

    def _commit(self, batch: Batch, outcome: Outcome) -> None:
        results, seconds = outcome
        if self._calls is not None:
            self._calls.add(len(batch.chunks), batch.steps, seconds)
        for chunk in batch.chunks:
            chunk.sequence.run_s += seconds
        if not isinstance(results, Exception):
            for sequence in self.scheduler.commit(batch, results):
                self._settle(sequence, sequence.error)
            return
        self.scheduler.end(batch)
        if len(batch.chunks) > 1:
            logger.warning(
                "engine call of %d sequences failed; each is run alone: %s", len(batch.chunks), results
            )
            self._retries.extend(Batch([chunk]) for chunk in batch.chunks)
        else:
            sequence = batch.chunks[0].sequence
            self._settle(sequence, error_of(results, sequence))

    def _has_work(self) -> bool:
        return bool(self._retries) or len(self.scheduler) > 0

    def _settle(self, sequence: Sequence, error: CellgateError | None = None) -> None:
        """The only function that answers a request."""
        settle = self._waiting.pop(sequence, None)
        if settle is not None:
            settle(error)

    def _update_idle(self) -> None:
        if not self._is_running and not self._has_second:
            self._idle.set()

    def _fail(self, error: BaseException) -> None:
        """A bug in the loop: fail every waiting request, become unready, and have the process replaced."""
        if self._failure is not None:  # the same bug in both calls
            return
        self._failure = error
        for sequence in list(self._waiting):
            self._settle(sequence, InternalError("the inference loop has failed"))
        self._is_running = False
        self._idle.set()
        logger.critical("the inference loop has failed; the server stops", exc_info=error)
        if self._on_failure is not None:
            self._on_failure()
