"""Cellular batching: which chunks of which sequences go into the next engine call.

A request is not a unit of work; a chunk is:

    sequence A  ████ ████ ██          call 1:  A[0:4] B[0:3] C[0:4]
    sequence B  ███                   call 2:  A[4:8]        C[4:8]  D[0:4]   <- B has left, D joined
    sequence C  ████ ████ ████        call 3:  A[8:10]       C[8:12] D[4:5]
    sequence D       ████ █

The scheduler is synchronous and single-threaded. It knows no clock, no HTTP and no ONNX Runtime:
`add` sequences, `schedule` a batch, `commit` what the engine returned, repeat.
"""

from collections import deque
from itertools import accumulate
from math import ceil, inf

from service.engine.cost import Cost
from service.errors import Overloaded
from service.metrics import Counts
from service.sequence import Batch, Chunk, Result, Sequence

MIN_CHUNK = 8  # shorter chunks are mostly overhead: a call has fewer rows instead
TAIL = 1.5  # a chunk that would leave less than half a call for later is computed whole


class Scheduler:
    """Picks the sequences that have waited longest since their last turn; arrival breaks ties.

    `max_batch` and `chunk_steps` are bounds. Within them the cost model chooses: as many rows as fit into
    `target_s` per call, and the chunk length that computes the most true steps (not padding) per second.
    With `ragged` false (a graph without row lengths), all chunks of a batch are equally long.
    With `cuts` false (a graph without state, or one that reads from both ends), every sequence is one chunk.
    With `whole_chunks` (a graph with a fixed number of steps), every chunk has exactly `chunk_steps`.
    """

    def __init__(
        self,
        *,
        max_batch: int,
        chunk_steps: int,
        max_waiting: int,
        ragged: bool = True,
        cuts: bool = True,
        whole_chunks: bool = False,
        cost: Cost | None = None,
        target_s: float = inf,
        max_wait_s: float = inf,
    ) -> None:
        self.cost = cost or Cost()
        self.target_s = target_s
        self.max_wait_s = max_wait_s
        self.max_batch = max_batch
        self.chunk_steps = chunk_steps
        self.max_waiting = max_waiting
        self.ragged = ragged
        self.cuts = cuts
        self.whole_chunks = whole_chunks
        # A sequence goes to the back after each turn, so the queue is ordered by last turn.
        self._waiting: deque[Sequence] = deque()
        self._late: list[Sequence] = []
        self._queued_steps = 0
        self.counts = Counts()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def wait_s(self) -> float:
        """Seconds until all queued steps are computed, by the costs learnt so far."""
        return self.cost.queued(self._queued_steps, min(self.max_batch, len(self._waiting)) or 1)

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence. Raises Overloaded if the queue is full, or longer than `max_wait_s` of work."""
        if len(self._waiting) >= self.max_waiting:
            raise Overloaded(f"{self.max_waiting} sequences are waiting already")
        if self._queued_steps and self.wait_s > self.max_wait_s:
            wait = ceil(self.wait_s)
            raise Overloaded(f"about {wait} s of work are waiting already", retry_after_s=wait)
        self._waiting.append(sequence)
        self._queued_steps += sequence.remaining

    def schedule(self, now: float) -> Batch | None:
        """Take the sequences that are next, one chunk of each; None if no sequence is ready.

        Cancelled sequences are dropped; those past their deadline are returned by `take_late`.
        """
        ready: list[Sequence] = []
        remaining: list[int] = []
        longest, room = 0, float(self.max_batch)
        while self._waiting and len(ready) < self.max_batch:
            sequence = self._waiting[0]
            left = sequence.remaining
            if not sequence.cancelled and sequence.deadline >= now:
                if longest < left and longest < MIN_CHUNK:
                    longest = min(left, MIN_CHUNK)
                    room = self.cost.rows_within(self.target_s, longest)
                if ready and len(ready) + 1 > room:
                    break
                ready.append(sequence)
                remaining.append(left)
            elif not sequence.cancelled:
                self._late.append(sequence)
            self._waiting.popleft()
            self._queued_steps -= left
        if not ready:
            return None
        steps = self._choose_steps(remaining)
        return Batch(
            [
                Chunk(sequence, sequence.done, sequence.done + min(steps, left))
                for sequence, left in zip(ready, remaining, strict=True)
            ]
        )

    def _choose_steps(self, remaining: list[int]) -> int:
        """The chunk length of a call, by the steps that each of its rows has left."""
        if not self.cuts:
            return max(remaining)
        if self.whole_chunks:
            return self.chunk_steps
        bound = min(self.chunk_steps, max(remaining) if self.ragged else min(remaining))
        within = self.cost.steps_within(self.target_s, len(remaining))
        if within * TAIL < bound:
            bound = min(bound, max(MIN_CHUNK, int(within)))
        if min(remaining) >= bound:
            return bound  # no row is padded
        # A row that ends early is computed to the end of the call nevertheless, as padding. Only the end of a
        # row can be the best length: between two ends, each further step adds no more padding than the last.
        ends = sorted(min(steps, bound) for steps in remaining)
        best_rate, best = 0.0, bound
        for index, (end, ended) in enumerate(zip(ends, accumulate(ends), strict=True)):
            true_steps = ended + end * (len(ends) - 1 - index)
            seconds = self.cost.predict(len(ends), end)
            if seconds and true_steps / seconds > best_rate:
                best_rate, best = true_steps / seconds, end
        return best

    def take_late(self) -> list[Sequence]:
        """The sequences dropped since the last call because their deadline had passed."""
        late, self._late = self._late, []
        return late

    def commit(self, batch: Batch, results: list[Result]) -> list[Sequence]:
        """Store each result in its sequence; return those that ended or failed, requeue the others."""
        finished: list[Sequence] = []
        steps = sum([chunk.stop - chunk.start for chunk in batch.chunks])
        self.counts.add(rows=len(batch.chunks), longest=batch.steps, steps=steps)
        for chunk, result in zip(batch.chunks, results, strict=True):
            sequence, _, stop = chunk
            if result.error is not None:
                sequence.error = result.error
                finished.append(sequence)
                continue
            is_last = chunk.is_last
            sequence.done = stop
            sequence.state = result.state
            if is_last or sequence.keep_all:
                sequence.outputs.append(result.output)
                if result.extra:
                    sequence.extras.append(result.extra)
            if is_last:
                finished.append(sequence)
            else:
                self._waiting.append(sequence)
                self._queued_steps += sequence.remaining
        return finished
