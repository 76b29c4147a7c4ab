"""Cellular batching: which chunks of which sequences go into the next engine call.

A request is not a unit of work; a chunk is:

    sequence A  ████ ████ ██          call 1:  A[0:4] B[0:3] C[0:4]
    sequence B  ███                   call 2:  A[4:8]        C[4:8]  D[0:4]   <- B has left, D joined
    sequence C  ████ ████ ████        call 3:  A[8:10]       C[8:12] D[4:5]
    sequence D       ████ █

The scheduler is synchronous and single-threaded. It knows no clock, no HTTP and no ONNX Runtime:
`add` sequences, `schedule` a batch, `commit` what the engine returned, repeat.
"""

from math import ceil, inf

from service.engine.cost import Cost, best_steps
from service.engine.fair_queue import START, FairQueue, Share
from service.engine.throughput import Throughput
from service.errors import Overloaded
from service.metrics import Counts
from service.sequence import Batch, Chunk, Result, Sequence

MIN_CHUNK = 8  # shorter chunks are mostly overhead: a call has fewer rows instead
TAIL = 1.5  # a chunk that would leave less than half a call for later is computed whole
SLOWDOWN = 2.0  # the most by which a call may exceed the first sequence's share of the time
MAX_FAVOURED = 8  # calls in a row that others wait for because the first sequence is favoured
PROMISE = 1.5  # of `max_wait_s`: by when a sequence that is queued is to be computed
PATIENCE = 0.25  # of `max_wait_s`: by how much later arrivals can precede a sequence


class Scheduler:
    """Picks the sequences whose turn it is: fair by tenant, then by request, then by age (see `FairQueue`).

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
        self._queue = FairQueue()
        self._throughput = Throughput()
        self._late: list[Sequence] = []
        self._num_favoured = 0  # calls in a row
        self._short = 0.0  # work that waits for `PATIENCE` at most, as of the last call
        self._unfinished: dict[int, list[Sequence]] = {}  # by batch: those that continue after their chunks
        self.counts = Counts()

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def wait_s(self) -> float:
        """Seconds until all that waits is computed, without what is in a call."""
        in_calls = sum([sequence.remaining for batch in self._unfinished.values() for sequence in batch])
        return self._seconds_for(max(0, self._queue.work - in_calls))

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence. What is queued of the same request does not count as ahead of it.

        Raises Overloaded if the queue is full or longer than `max_wait_s`, or if it is not short and this
        sequence would take longer than `PROMISE` times that. A tenant that has less than its share of the
        queue is not refused because of the others.
        """
        queue = self._queue
        if len(queue) >= self.max_waiting:
            self._check_room(sequence)
        if (
            queue.work > self._short  # so that the rest is seldom calculated
            and self._seconds_for(queue.work) > PATIENCE * self.max_wait_s
            and not self._is_in_time(self._work_before(sequence), sequence.remaining)
        ):
            self._check_share(sequence)
        queue.push(sequence, inf if self._throughput.seconds is None else self._patience)

    def _check_room(self, sequence: Sequence) -> None:
        """Raises Overloaded if the queue is full, and the tenant has its share of it."""
        share = self._queue.share_of(sequence)
        waiting = share.singles if sequence.origin.num_sequences == 1 else share.waiting
        if waiting * self._num_tenants_with(share) >= self.max_waiting:
            raise Overloaded(f"{self.max_waiting} sequences are waiting already")

    def _work_before(self, sequence: Sequence) -> int:
        """The most work of other requests that is done before a new sequence ends.

        If all fit into a call, each is in every call: a long one delays it by no more than its own length.
        """
        queue = self._queue
        ahead = queue.work - queue.own_work(sequence)
        num_ahead = len(queue) + sum([len(batch) for batch in self._unfinished.values()])
        if num_ahead < min(self.max_batch, self.cost.rows_within(self.target_s, MIN_CHUNK)) and self.cuts:
            return min(ahead, num_ahead * (max(sequence.remaining, self.chunk_steps) + START))
        return ahead

    def _check_share(self, sequence: Sequence) -> None:
        """Raises Overloaded if the tenant has its share of the queue, which is too long."""
        share = self._queue.share_of(sequence)
        num_tenants = self._num_tenants_with(share)
        own = self._queue.own_work(sequence)
        ahead_here, scale = share.work - own, float(num_tenants)
        if sequence.origin.num_sequences == 1:  # each larger request gets the share of one
            ahead_here, scale = share.single_work, num_tenants * (share.requests + 1) / (share.singles + 1)
        is_shared = scale > 1
        if is_shared and self._is_in_time(ahead_here * scale, sequence.remaining * scale):
            return
        wait = ceil(self._seconds_for(self._queue.work - own))
        raise Overloaded(f"about {wait} s of work are waiting already", retry_after_s=wait)

    @property
    def _patience(self) -> float:
        """The most virtual time by which later arrivals can precede a sequence."""
        seconds = self._throughput.seconds or 0.0
        return PATIENCE * self.max_wait_s / (seconds * max(self._queue.num_tenants, 1))

    def _is_in_time(self, ahead: float, own: float) -> bool:
        """Whether `own` work behind so much other is done in time; the first of all is never refused."""
        wait_s = self._seconds_for(ahead)
        if wait_s <= PATIENCE * self.max_wait_s:
            return True
        return wait_s <= self.max_wait_s and wait_s + self._seconds_for(own) <= PROMISE * self.max_wait_s

    def _num_tenants_with(self, share: Share) -> int:
        """How many tenants share the queue, that of `share` included."""
        return self._queue.num_tenants + (not share.waiting)

    def _seconds_for(self, work: float) -> float:
        """How long work takes: as measured under load, or, before that, by the learnt costs of full calls."""
        seconds = self._throughput.seconds
        if seconds is not None:
            return work * seconds
        return self.cost.queued(work, min(self.max_batch, len(self._queue)) or 1)

    def _work_within_patience(self) -> float:
        """Work for which `_seconds_for` is at most `PATIENCE`, however many sequences it is."""
        most_s, queued = self._throughput.seconds, self.cost.queued
        most_s = max(queued(1, 1), queued(1, self.max_batch)) if most_s is None else most_s
        return PATIENCE * self.max_wait_s / most_s if most_s else inf

    def schedule(self, now: float) -> Batch | None:
        """Take the sequences that are next, one chunk of each; None if no sequence is ready.

        Cancelled sequences are dropped; those past their deadline are returned by `take_late`.
        """
        ready, remaining = self._take_ready(now)
        if not ready:
            self._throughput.forget()
            return None
        if self._throughput.tick(now):
            self._queue.hasten(self._patience)
        self._short = self._work_within_patience()
        steps = self._choose_steps(remaining)
        if steps < remaining[0] and len(ready) > 1:
            ready, remaining, steps = self._favour_first(ready, remaining, steps)
        chunks, work, rest = [], 0, 0
        for sequence, left in zip(ready, remaining, strict=True):
            done, taken = sequence.done, steps if steps < left else left
            chunks.append(Chunk(sequence, done, done + taken))
            work += taken if done else taken + START
            rest += left - taken
        self._queue.advance(work, ready[0].tag if steps < remaining[0] else self._queue.first_tag)
        batch = Batch(chunks)
        if rest:  # sequences that continue after their chunks keep their share of the queue during the call
            self._unfinished[id(batch)] = [each for each in ready if each.remaining > steps]
            ready = [each for each in ready if each.remaining <= steps]
        self._queue.leave(ready, None if rest else work)
        return batch

    def _take_ready(self, now: float) -> tuple[list[Sequence], list[int]]:
        """As many of the next sequences as fit into a call, and the steps that each has left."""
        queue = self._queue
        ready: list[Sequence] = []
        remaining: list[int] = []
        longest, room = 0, float(self.max_batch)
        while (sequence := queue.take()) is not None:
            left = len(sequence.inputs[0]) - sequence.done
            if sequence.cancelled or sequence.origin.deadline < now:
                queue.leave((sequence,))
                if not sequence.cancelled:
                    self._late.append(sequence)
                continue
            if longest < left and longest < MIN_CHUNK:
                longest = min(left, MIN_CHUNK)
                room = min(room, self.cost.rows_within(self.target_s, longest))
                if ready and len(ready) + 1 > room:  # it has more steps than those before
                    queue.put_back(sequence)
                    break
            ready.append(sequence)
            remaining.append(left)
            if len(ready) + 1 > room:
                break
        return ready, remaining

    def _favour_first(
        self, ready: list[Sequence], remaining: list[int], steps: int
    ) -> tuple[list[Sequence], list[int], int]:
        """Fewer rows and longer chunks, if the first sequence would get less than its share of the time.

        Alone, the first would compute `full` steps in a call. As one of several requests it may take as many
        times longer, but not longer than it can wait, and `SLOWDOWN` times that. The rows that do not fit
        keep their places in the queue, but not for more than `MAX_FAVOURED` calls: of a larger request, the
        first sequence may be far from its end although its time has come.
        """
        first = ready[0].origin
        shares = self._queue.num_tenants * self._queue.share_of(ready[0]).requests
        if shares <= 1:
            return ready, remaining, steps
        full = self._choose_steps(remaining[:1])
        num_own = 1 if first.num_sequences == 1 else sum([sequence.origin is first for sequence in ready])
        alone_s = self.cost.predict(1, full)
        in_time_s = PATIENCE * self.max_wait_s * full / (ready[0].steps * self._throughput.slowness)
        allowed_s = SLOWDOWN * min(shares * num_own * alone_s, max(alone_s, in_time_s))
        is_slow = self.cost.predict(len(ready), steps) * full > allowed_s * steps
        self._num_favoured = (self._num_favoured + 1) % (MAX_FAVOURED + 1) if is_slow else 0
        if not self._num_favoured:
            return ready, remaining, steps
        room = max(1, int(min(self.cost.rows_within(allowed_s, full), len(ready))))
        kept: list[Sequence] = []
        for sequence, left in zip(ready, remaining, strict=True):
            if len(kept) < room and 2 * left >= full:  # a shorter one would be padding for the most part
                kept.append(sequence)
            else:
                self._queue.put_back(sequence)
        remaining = [sequence.remaining for sequence in kept]
        return kept, remaining, self._choose_steps(remaining)

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
        return best_steps(self.cost, remaining, bound)

    def take_late(self) -> list[Sequence]:
        """The sequences dropped since the last call because their deadline had passed."""
        late, self._late = self._late, []
        return late

    def end(self, batch: Batch) -> None:
        """The call of a batch has ended, with results or with an error."""
        if self._unfinished:
            self._queue.leave(self._unfinished.pop(id(batch), ()))

    def commit(self, batch: Batch, results: list[Result]) -> list[Sequence]:
        """Store each result in its sequence; return those that ended or failed, requeue the others."""
        self.end(batch)
        finished: list[Sequence] = []
        unfinished: list[Sequence] = []
        rows, steps, begun = len(batch.chunks), 0, 0
        for (sequence, start, stop), result in zip(batch.chunks, results, strict=True):
            steps += stop - start
            if not start:
                begun += 1
            if result.error is not None:
                sequence.error = result.error
                finished.append(sequence)
                continue
            is_last = stop == len(sequence.inputs[0])
            sequence.done, sequence.state = stop, result.state
            if is_last or sequence.keep_all:
                sequence.outputs.append(result.output)
                if result.extra:
                    sequence.extras.append(result.extra)
            if is_last:
                finished.append(sequence)
            else:
                unfinished.append(sequence)
        self.counts.add(rows=rows, longest=batch.steps, steps=steps)
        self._throughput.add(steps + START * begun, self.cost.predict(rows, batch.steps))
        if unfinished:
            self._queue.requeue(unfinished)
        return finished
