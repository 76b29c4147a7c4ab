"""Bounds the memory of one call of a graph that needs each sequence whole.

A sequence that can be cut takes at most `chunk_steps` steps of a call. One that cannot takes all of them, and
what the graph computes in between is many times what the client sent.
"""

from collections.abc import Iterator

from service.errors import SequenceTooLong
from service.sequence import Batch, Chunk, Engine, Result


class WholeSequences:
    """An engine that makes several calls of a batch whose arrays would be too large for one."""

    def __init__(self, engine: Engine, *, step_bytes: int, max_call_bytes: float) -> None:
        """`step_bytes`: of what the graph computes for one step of one row, estimated."""
        self._engine = engine
        self._step_bytes = step_bytes
        self._max_steps = max_call_bytes / step_bytes  # of all rows together, with padding

    def run(self, batch: Batch) -> list[Result]:
        """One result per chunk, in order. Raises SequenceTooLong if one alone is too large."""
        if len(batch.chunks) * batch.steps <= self._max_steps:
            return self._engine.run(batch)
        return [result for part in self._parts(batch.chunks) for result in self._engine.run(part)]

    def _parts(self, chunks: list[Chunk]) -> Iterator[Batch]:
        rows: list[Chunk] = []
        longest = 0
        for chunk in chunks:
            self._check(chunk)
            longest = max(longest, chunk.steps)
            if rows and (len(rows) + 1) * longest > self._max_steps:
                yield Batch(rows)
                rows, longest = [], chunk.steps
            rows.append(chunk)
        yield Batch(rows)

    def _check(self, chunk: Chunk) -> None:
        if chunk.steps > self._max_steps:
            raise SequenceTooLong(
                "the model computes a sequence in one call, which takes about "
                f"{self._step_bytes} bytes for each step; "
                f"this server has memory for {int(self._max_steps)} steps, got {chunk.steps}"
            )
