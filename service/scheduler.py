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

from service.errors import Overloaded
from service.sequence import Batch, Chunk, Result, Sequence


class Scheduler:
    """Picks the sequences that have waited longest since their last turn; arrival breaks ties.

    With `ragged` false (a graph that is not told row lengths), all chunks of a batch are equally long.
    """

    def __init__(self, *, max_batch: int, chunk_steps: int, max_waiting: int, ragged: bool = True) -> None:
        self.max_batch = max_batch
        self.chunk_steps = chunk_steps
        self.max_waiting = max_waiting
        self.ragged = ragged
        # Whoever had a turn goes to the back, so the order of this queue is the order of the last turns.
        self._waiting: deque[Sequence] = deque()
        self._late: list[Sequence] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence. Raises Overloaded when `max_waiting` are queued."""
        if len(self._waiting) >= self.max_waiting:
            raise Overloaded(f"{self.max_waiting} sequences are waiting already")
        self._waiting.append(sequence)

    def schedule(self, now: float) -> Batch | None:
        """Take the sequences whose turn it is, one chunk of each; None when none is ready.

        Cancelled sequences are dropped; those past their deadline are kept for `take_late`.
        """
        ready: list[Sequence] = []
        while self._waiting and len(ready) < self.max_batch:
            sequence = self._waiting.popleft()
            if sequence.cancelled:
                continue
            (self._late if sequence.deadline < now else ready).append(sequence)
        if not ready:
            return None
        steps = self.chunk_steps if self.ragged else min(self.chunk_steps, *(s.remaining for s in ready))
        return Batch([Chunk(s, s.done, s.done + min(steps, s.remaining)) for s in ready])

    def take_late(self) -> list[Sequence]:
        """The sequences dropped, since the last call, because their deadline had passed."""
        late, self._late = self._late, []
        return late

    def commit(self, batch: Batch, results: list[Result]) -> list[Sequence]:
        """Give each sequence its result; return the finished ones, requeue the others at the back."""
        finished: list[Sequence] = []
        for chunk, result in zip(batch.chunks, results, strict=True):
            sequence = chunk.sequence
            sequence.done = chunk.stop
            sequence.state = result.state
            if sequence.keep_all or chunk.is_last:
                sequence.outputs.append(result.output)
            if chunk.is_last:
                finished.append(sequence)
            else:
                self._waiting.append(sequence)
        return finished
